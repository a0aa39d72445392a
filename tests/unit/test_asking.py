"""Since when proxies' pods have been asked for a configuration, and when they are late."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from engine.asking import REFRESH_INTERVAL, REFRESH_INTERVAL_LIMIT, REPORT_LIMIT, is_in_time, is_late, request
from hypothesis import given
from hypothesis import strategies as st

from engine.render.objects import REFRESH_ANNOTATION
from tests.unit.snapshots import NOW

Json = dict[str, Any]
DIGEST, OTHER = "a" * 16, "b" * 16
SECOND = timedelta(seconds=1)


def pod(told: str = "", ready_at: datetime = NOW - timedelta(hours=1)) -> Json:
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": ready_at.isoformat()}
    annotations = {REFRESH_ANNOTATION: told} if told else {}
    return {"metadata": {"name": "x-1", "annotations": annotations}, "status": {"conditions": [condition]}}


def asked_until(end: timedelta, told: str = "") -> tuple[Json, list[timedelta]]:
    """A pod that has been asked as often as it was to be, every 0.2 s from now on, and after how long each time."""
    found, times = pod(told), []
    for tick in range(end // (SECOND / 5) + 1):
        wanted = request(found, DIGEST, NOW + tick * SECOND / 5)
        if wanted != found["metadata"]["annotations"].get(REFRESH_ANNOTATION):
            found, times = pod(wanted), [*times, tick * SECOND / 5]
    return found, times


def test_a_pod_is_asked_every_four_seconds_while_it_has_time_and_then_less_and_less_often() -> None:
    _, times = asked_until(timedelta(minutes=5))
    assert [time.total_seconds() for time in times] == [0, 4, 8, 12, 16, 32, 64, 124, 184, 244]


def test_another_configuration_is_asked_for_at_once() -> None:
    found, _ = asked_until(10 * SECOND)
    assert request(found, OTHER, NOW + 10 * SECOND).startswith(f"{OTHER} {NOW:%Y-%m-%dT%H:%M}:10.000Z ")


def test_a_pod_is_late_when_it_was_asked_for_long_enough() -> None:
    found, _ = asked_until(REPORT_LIMIT)
    assert not is_late(found, DIGEST, NOW + REPORT_LIMIT - SECOND)
    assert is_in_time(found, DIGEST, NOW + REPORT_LIMIT - SECOND)
    assert is_late(found, DIGEST, NOW + REPORT_LIMIT)
    assert not is_in_time(found, DIGEST, NOW + REPORT_LIMIT)
    assert not is_late(found, OTHER, NOW + REPORT_LIMIT)


def test_a_pod_that_was_never_asked_is_not_late() -> None:
    assert not is_late(pod(), DIGEST, NOW + timedelta(days=1))
    assert is_in_time(pod(), DIGEST, NOW + timedelta(days=1))


def test_a_pod_that_became_ready_late_has_its_time_from_then() -> None:
    found, times = asked_until(30 * SECOND)
    found["status"]["conditions"][0]["lastTransitionTime"] = (NOW + 10 * SECOND).isoformat()
    assert not is_late(found, DIGEST, NOW + times[-1] + 3 * SECOND)
    found["status"]["conditions"][0]["lastTransitionTime"] = NOW.isoformat()
    assert is_late(found, DIGEST, NOW + times[-1] + 3 * SECOND)


@pytest.mark.parametrize("asked_for", [SECOND, 14 * SECOND, timedelta(minutes=10)])
@pytest.mark.parametrize("gone_for", [15 * SECOND, timedelta(hours=1)])
def test_a_new_leader_does_not_take_a_pod_for_late_by_its_first_look(asked_for: timedelta, gone_for: timedelta) -> None:
    found, times = asked_until(asked_for)
    assert not is_late(found, DIGEST, NOW + times[-1] + gone_for)


def test_an_operator_that_was_ended_did_not_wait_for_an_answer() -> None:
    found, _ = asked_until(SECOND)
    at = NOW + timedelta(minutes=1)
    told = request(found, DIGEST, at)
    assert told.count(f"{at:%H:%M:%S}.000Z") == 2
    assert not is_late(pod(told), DIGEST, at + REFRESH_INTERVAL)


@pytest.mark.parametrize("ahead", [SECOND / 10, timedelta(hours=1)])
def test_a_request_by_a_clock_that_is_ahead_is_none_and_is_made_anew(ahead: timedelta) -> None:
    found, _ = asked_until(20 * SECOND)
    at = NOW + 16 * SECOND - ahead
    assert not is_late(found, DIGEST, at)
    assert request(found, DIGEST, at) != found["metadata"]["annotations"][REFRESH_ANNOTATION]


def test_a_late_pod_that_is_not_replaced_stays_late_after_each_request() -> None:
    found, times = asked_until(timedelta(minutes=5))
    assert is_late(found, DIGEST, NOW + times[-1] + 3 * SECOND)
    assert times[-1] - times[-2] == REFRESH_INTERVAL_LIMIT


@given(st.text() | st.text().map(f"{DIGEST} {{}}".format))
def test_whatever_somebody_writes_there_a_pod_can_be_asked(told: str) -> None:
    found = pod(told)
    assert not is_late(found, DIGEST, NOW)
    assert request(pod(request(found, DIGEST, NOW)), DIGEST, NOW + REFRESH_INTERVAL).startswith(DIGEST)
