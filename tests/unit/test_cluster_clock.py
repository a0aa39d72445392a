"""The cluster's time comes from the API server's responses, independent of this machine's clock."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kanary.kube.client import ClusterClient
from kanary.kube.clock import ClusterClock
from kanary.kube.resources import PODS
from tests.unit.responder import Reply, responding, write_kubeconfig

SECOND = timedelta(seconds=1)
START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def offset(clock: ClusterClock) -> timedelta:
    while True:
        before, found, after = datetime.now(UTC), clock.now(), datetime.now(UTC)
        if after - before < SECOND / 20:  # a busy machine may stop the process in between
            return found - before


def answered(clock: ClusterClock, error: timedelta, at: datetime, took: timedelta = timedelta()) -> None:
    """The answer of a server whose clock is ahead of this machine's by `error`; it took so long."""
    date = format_datetime((at + error).replace(microsecond=0), usegmt=True)
    clock.observe(date, at - took, at + took)


@pytest.mark.parametrize("error", [-3600, -7, 7, 3600])
def test_the_time_is_that_of_the_server(error: float, tmp_path: Path) -> None:
    with responding() as server:
        server.clock_error = error
        server.say(Reply({"metadata": {"name": "a", "namespace": "shop"}}))
        client = ClusterClient.connect(kubeconfig=write_kubeconfig(tmp_path / "config", server.url))
        assert abs(offset(client.clock)) < SECOND
        began = datetime.now(UTC)
        client.get(PODS, "shop", "a")
        took = datetime.now(UTC) - began
        found = offset(client.clock)
    assert error * SECOND - 1.1 * SECOND - took < found < error * SECOND + SECOND / 10


@given(st.lists(st.integers(0, 999), min_size=1))
def test_a_clock_that_agrees_is_left_alone(milliseconds: list[int]) -> None:
    clock = ClusterClock()
    for number, fraction in enumerate(milliseconds):
        at = START + number * SECOND + fraction * SECOND / 1000
        clock.observe(format_datetime(at.replace(microsecond=0), usegmt=True), at, at)
    assert abs(offset(clock)) < SECOND / 10


@given(
    st.integers(-100_000, 100_000).map(lambda n: n * SECOND / 10),
    st.lists(st.integers(0, 999), min_size=1),
    st.integers(0, 900).map(lambda n: n * SECOND / 1000),
)
def test_the_time_is_never_ahead_of_the_servers(error: timedelta, fractions: list[int], took: timedelta) -> None:
    clock = ClusterClock()
    for number, fraction in enumerate(fractions):
        answered(clock, error, START + number * SECOND + fraction * SECOND / 1000, took)
        found = offset(clock)
        assert error - SECOND - took - SECOND / 10 < found or abs(error) <= 4 * SECOND
        assert found < error + SECOND / 10 or abs(error) <= 4 * SECOND


def test_a_server_whose_clock_is_set_is_followed() -> None:
    clock = ClusterClock()
    for error in (60, -60, 0):
        answered(clock, error * SECOND, START)
        assert abs(offset(clock) - error * SECOND) < SECOND


@pytest.mark.parametrize(
    "date",
    [
        *(None, "", "soon", "Thu, 99 Jan 2026 12:00:00 GMT", "0"),
        *("Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -2359"),
        "Thu, 01 Jan 2026 12:00:00 +999999999999",
    ],
)
def test_an_invalid_date_header_is_ignored(date: str | None) -> None:
    clock = ClusterClock()
    clock.observe(date, START, START)
    assert abs(offset(clock)) < SECOND / 10
