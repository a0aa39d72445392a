"""Since when a proxy has had time to load what is sent to it."""

from datetime import timedelta

import pytest

from engine.fleet.sent import Sent, send
from states.timing import LOAD_LIMIT, SETTLE_LIMIT
from tests.unit.observations import DIGEST, NEWER, OTHER
from tests.unit.snapshots import NOW

SECOND = timedelta(seconds=1)
SENT = Sent(DIGEST, NOW)


@pytest.mark.parametrize("limit", [LOAD_LIMIT, SETTLE_LIMIT])
def test_the_time_to_load_it_ends_with_the_limit(limit: timedelta) -> None:
    assert SENT.left(limit, DIGEST, NOW) == limit
    assert SENT.left(limit, DIGEST, NOW + limit - SECOND) == SECOND
    assert SENT.left(limit, DIGEST, NOW + limit) == timedelta()


def test_a_configuration_that_is_not_being_sent_has_no_limit() -> None:
    assert SENT.left(LOAD_LIMIT, OTHER, NOW + LOAD_LIMIT) is None


def test_a_pod_that_became_ready_later_has_its_time_from_then() -> None:
    assert SENT.left(LOAD_LIMIT, DIGEST, NOW + 20 * SECOND, NOW + 10 * SECOND) == 5 * SECOND
    assert SENT.left(LOAD_LIMIT, DIGEST, NOW + 20 * SECOND, NOW - 10 * SECOND) == timedelta()


def test_a_node_whose_clock_is_ahead_does_not_extend_it() -> None:
    assert SENT.left(LOAD_LIMIT, DIGEST, NOW + LOAD_LIMIT, NOW + timedelta(hours=1)) == timedelta()


@pytest.mark.parametrize("step", [timedelta(seconds=-10), timedelta(hours=-1)])
def test_a_clock_that_is_set_back_does_not_extend_it_beyond_the_limit(step: timedelta) -> None:
    remaining = SENT.left(LOAD_LIMIT, DIGEST, NOW + step)
    assert remaining is not None
    assert remaining <= LOAD_LIMIT


def test_the_time_of_the_same_configuration_and_of_the_same_new_weights_runs_on() -> None:
    later = NOW + SECOND
    assert send(SENT, DIGEST, later, OTHER) == SENT
    assert send(SENT, NEWER, later, OTHER) == Sent(NEWER, NOW)


@pytest.mark.parametrize(
    ("sent", "digest", "serves"),
    [(None, DIGEST, OTHER), (SENT, OTHER, ""), (SENT, NEWER, DIGEST)],
    ids=["the first one", "other weights", "other endpoints of weights that it serves"],
)
def test_any_other_configuration_has_its_own_time(sent: Sent | None, digest: str, serves: str) -> None:
    assert send(sent, digest, NOW + SECOND, serves) == Sent(digest, NOW + SECOND)
