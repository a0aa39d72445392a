"""Since when a proxy has had time to load what is sent to it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from engine.fleet.sent import Sent, send
from states.timing import LOAD_LIMIT, SETTLE_LIMIT
from tests.unit.observations import DIGEST, NEWER, OTHER
from tests.unit.snapshots import NOW

SECOND = timedelta(seconds=1)
SENT = Sent(DIGEST, NOW, was_ready=True)


@pytest.mark.parametrize("limit", [LOAD_LIMIT, SETTLE_LIMIT])
def test_the_time_to_load_it_ends_with_the_limit(limit: timedelta) -> None:
    assert SENT.left(limit, DIGEST, NOW, is_ready=True) == limit
    assert SENT.left(limit, DIGEST, NOW + limit - SECOND, is_ready=True) == SECOND
    assert SENT.left(limit, DIGEST, NOW + limit, is_ready=True) == timedelta()


def test_a_configuration_that_is_not_being_sent_has_no_limit() -> None:
    assert SENT.left(LOAD_LIMIT, OTHER, NOW + LOAD_LIMIT, is_ready=True) is None


def test_a_proxy_that_becomes_ready_has_its_time_from_then_whatever_the_clock_of_its_node_is() -> None:
    starting, later = replace(SENT, was_ready=False), NOW + 20 * SECOND
    assert starting.left(LOAD_LIMIT, DIGEST, later, is_ready=True) == LOAD_LIMIT
    assert send(starting, DIGEST, later, OTHER, is_ready=True) == Sent(DIGEST, later, was_ready=True)
    assert send(starting, DIGEST, later, OTHER, is_ready=False) is starting
    assert send(SENT, DIGEST, later, OTHER, is_ready=False) == starting


@pytest.mark.parametrize("step", [timedelta(seconds=-10), timedelta(hours=-1)])
def test_a_clock_that_is_set_back_does_not_extend_it_beyond_the_limit(step: timedelta) -> None:
    remaining = SENT.left(LOAD_LIMIT, DIGEST, NOW + step, is_ready=True)
    assert remaining is not None
    assert remaining <= LOAD_LIMIT


def test_the_time_of_the_same_configuration_and_of_the_same_new_weights_runs_on() -> None:
    later = NOW + SECOND
    assert send(SENT, DIGEST, later, OTHER, is_ready=True) is SENT
    assert send(SENT, NEWER, later, OTHER, is_ready=True) == replace(SENT, digest=NEWER)


@pytest.mark.parametrize(
    ("sent", "digest", "serves"),
    [(None, DIGEST, OTHER), (SENT, OTHER, ""), (SENT, NEWER, DIGEST)],
    ids=["the first one", "other weights", "other endpoints of weights that it serves"],
)
def test_any_other_configuration_has_its_own_time(sent: Sent | None, digest: str, serves: str) -> None:
    assert send(sent, digest, NOW + SECOND, serves, is_ready=True) == Sent(digest, NOW + SECOND, was_ready=True)
