"""Since when proxies' pods have been requested to renew a configuration, and when they are late."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.fleet.refresh import RefreshRequest, next_request, read_request
from engine.model.times import exact_time_text
from states.timing import LATE_REFRESH_INTERVAL, LOAD_LIMIT, REFRESH_INTERVAL, SETTLE_LIMIT
from tests.unit.observations import DIGEST, OTHER
from tests.unit.snapshots import NOW

SECOND = timedelta(seconds=1)


def asked_until(end: timedelta) -> tuple[RefreshRequest, list[timedelta]]:
    """The last request to a pod that is checked every 0.2 s from now on, and the times of all requests."""
    request, times = None, []
    for tick in range(end // (SECOND / 5) + 1):
        due = next_request(request, DIGEST, NOW + tick * SECOND / 5)
        if due != request:
            request, times = read_request(str(due)), [*times, tick * SECOND / 5]
    assert request
    return request, times


def test_requests_are_rare_after_the_longest_limit() -> None:
    _, times = asked_until(timedelta(minutes=5))
    assert [time.total_seconds() for time in times] == [*range(0, 61, 4), 120, 180, 240, 300]


@pytest.mark.parametrize("limit", [LOAD_LIMIT, SETTLE_LIMIT])
def test_a_pod_is_late_as_soon_as_either_limit_has_passed(limit: timedelta) -> None:
    request, _ = asked_until(limit - SECOND / 5)
    assert not request.is_late(DIGEST, NOW + limit - SECOND / 5, None, limit)
    assert request.is_late(DIGEST, NOW + limit, None, limit)


def test_another_configuration_is_requested_at_once() -> None:
    request, _ = asked_until(10 * SECOND)
    at = NOW + 10 * SECOND
    assert str(next_request(request, OTHER, at)) == f"{OTHER} {exact_time_text(at)} {exact_time_text(at)}"


def test_a_pod_is_late_after_the_limit() -> None:
    request, _ = asked_until(LOAD_LIMIT)
    before, at = NOW + LOAD_LIMIT - SECOND, NOW + LOAD_LIMIT
    assert not request.is_late(DIGEST, before, None)
    assert request.next_limit(before, None) <= at - before
    assert request.is_late(DIGEST, at, None)
    assert not request.is_late(OTHER, at, None)


def test_a_pod_that_became_ready_late_has_its_time_from_then() -> None:
    request, times = asked_until(30 * SECOND)
    at = NOW + times[-1] + 3 * SECOND
    assert not request.is_late(DIGEST, at, NOW + 20 * SECOND)
    assert request.is_late(DIGEST, at, NOW)


@pytest.mark.parametrize("asked_for", [SECOND, 14 * SECOND, timedelta(minutes=10)])
@pytest.mark.parametrize("gone_for", [15 * SECOND, timedelta(hours=1)])
def test_a_new_leader_does_not_count_a_pod_as_late_at_once(asked_for: timedelta, gone_for: timedelta) -> None:
    request, times = asked_until(asked_for)
    assert not request.is_late(DIGEST, NOW + times[-1] + gone_for, None)


def test_nor_in_the_very_moment_of_a_request() -> None:
    request, _ = asked_until(16 * SECOND)
    assert request.has_missed(DIGEST, NOW + 16 * SECOND, None)
    assert not request.is_late(DIGEST, NOW + 16 * SECOND, None)


def test_an_operator_that_was_ended_did_not_wait_for_an_answer() -> None:
    request, _ = asked_until(SECOND)
    at = NOW + timedelta(minutes=1)
    again = next_request(request, DIGEST, at)
    assert (again.first, again.last) == (at, at)
    assert not again.is_late(DIGEST, at + REFRESH_INTERVAL, None)


@pytest.mark.parametrize("ahead", [SECOND / 10, timedelta(hours=1)])
def test_a_request_by_a_clock_that_is_ahead_is_none_and_is_made_anew(ahead: timedelta) -> None:
    request, _ = asked_until(20 * SECOND)
    at = NOW + 16 * SECOND - ahead
    assert not request.is_late(DIGEST, at, None)
    assert next_request(request, DIGEST, at) == RefreshRequest(DIGEST, at, at)


def test_each_request_and_each_limit_is_due_in_time() -> None:
    """A reconcile at these moments misses none of them."""
    moments, at = [], NOW
    request = next_request(None, DIGEST, at)
    while (wait := request.next_limit(at, NOW + 2 * SECOND)) and at + wait <= NOW + 200 * SECOND:
        at += wait
        moments.append((at - NOW).total_seconds())
        request = next_request(request, DIGEST, at)
    requests = {*range(4, 61, 4), 120, 180}
    assert set(moments) == requests | {moment + 3 for moment in requests if moment < 180} | {3, 17, 62, 183}


def test_a_late_pod_that_is_not_replaced_stays_late_after_each_request() -> None:
    request, times = asked_until(timedelta(minutes=5))
    assert request.is_late(DIGEST, NOW + times[-1] + 3 * SECOND, None)
    assert times[-1] - times[-2] == LATE_REFRESH_INTERVAL


@given(st.none() | st.text() | st.text().map(f"{DIGEST} {{}}".format))
def test_any_annotation_can_be_replaced_by_a_request(text: str | None) -> None:
    request = read_request(text)
    assert request is None or not request.is_late(DIGEST, NOW, None)
    again = read_request(str(next_request(request, DIGEST, NOW)))
    assert again
    assert next_request(again, DIGEST, NOW + REFRESH_INTERVAL).digest == DIGEST
