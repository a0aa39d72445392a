"""The weights between two sets of routes, and the times at which steps may start."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.calendar import closed, frozen, unknown_zones
from engine.model.rollout import Freeze, Window
from engine.model.spec import Backend, Route
from engine.shares import Weights, between, weights_of, with_weights

TENTHS = st.integers(0, 1000).map(lambda tenths: Decimal(tenths) / 10)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe"])
CLOCKS = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 15, 30]))
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
TIMES = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def backend(number: int) -> Backend:
    return Backend(service_name=f"v{number}", service_port=80)


@st.composite
def splits(draw: st.DrawFn) -> Weights:
    """The weights of 1 to 100 of 120 backends, in tenths of a percent, in any order."""
    numbers = draw(st.lists(st.integers(0, 119), min_size=1, max_size=100, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, 1000), min_size=len(numbers) - 1, max_size=len(numbers) - 1)))
    tenths = [after - before for before, after in zip([0, *cuts], [*cuts, 1000], strict=True)]
    return {backend(number): Decimal(count) / 10 for number, count in zip(numbers, tenths, strict=True) if count}


# Weights


@given(splits(), splits(), TENTHS)
def test_weights_on_the_way_sum_to_100_and_are_within_a_tenth(start: Weights, goal: Weights, percent: Decimal) -> None:
    found = between(start, goal, percent)
    assert sum(found.values()) == 100
    for each, weight in found.items():
        first, last = start.get(each, Decimal()), goal.get(each, Decimal())
        assert abs(weight - (first + (last - first) * percent / 100)) < Decimal("0.1")
        assert weight * 10 == int(weight * 10)
        assert weight >= 0


@given(splits(), splits())
def test_both_ends_of_the_way_are_exact(start: Weights, goal: Weights) -> None:
    for percent, expected in ((Decimal(), start), (Decimal(100), goal)):
        assert {each: weight for each, weight in between(start, goal, percent).items() if weight} == expected


@given(splits(), st.integers(0, 119), TENTHS, TENTHS)
def test_a_canary_never_loses_weight_by_a_later_step(start: Weights, number: int, one: Decimal, other: Decimal) -> None:
    goal = {backend(number): Decimal(100)}
    first, later = (between(start, goal, percent)[backend(number)] for percent in sorted((one, other)))
    assert first <= later


@given(splits(), splits(), TENTHS, TENTHS)
def test_each_weight_is_monotone_up_to_a_tenth(start: Weights, goal: Weights, one: Decimal, other: Decimal) -> None:
    """The largest remainder may give the same tenth to another backend, but never more than that."""
    early, late = (between(start, goal, percent) for percent in sorted((one, other)))
    for each in early:
        rises = goal.get(each, Decimal()) >= start.get(each, Decimal())
        lost = early[each] - late[each] if rises else late[each] - early[each]
        assert lost <= Decimal("0.1")


@given(splits(), splits())
def test_routes_keep_their_order_and_former_ones_follow(declared: Weights, former: Weights) -> None:
    routes = [Route(backend=each, weight=weight) for each, weight in declared.items()]
    before = [Route(backend=each, weight=weight) for each, weight in former.items()]
    found = with_weights(routes, former, before)
    assert [route.backend for route in found] == list(dict.fromkeys([*declared, *former]))
    assert weights_of(found) == former


# Times


@st.composite
def windows(draw: st.DrawFn) -> Window:
    days = draw(st.lists(st.sampled_from(DAYS), min_size=1, max_size=7, unique=True))
    return Window(days=tuple(days), start=draw(CLOCKS), end=draw(CLOCKS), time_zone=draw(ZONES))  # type: ignore[arg-type]


@given(st.lists(windows(), min_size=1, max_size=3), TIMES)
def test_when_a_window_opens_it_is_open(several: list[Window], now: datetime) -> None:
    found = closed(several, now)
    if found is None:
        return
    _, opens = found
    assert timedelta() < opens <= timedelta(days=8)
    assert closed(several, now + opens) is None
    assert closed(several, now + opens - timedelta(seconds=1)) is not None


@pytest.mark.parametrize(
    ("window", "times"),
    [
        # Over midnight: the day is that of the start.
        (
            {"days": ("Fri",), "start": "22:00", "end": "02:00"},
            {"2026-11-27T21:59": False, "2026-11-27T22:00": True, "2026-11-28T01:59": True, "2026-11-28T02:00": False},
        ),
        # A whole day, which is Saturday in Tokyo while it is Friday in London.
        (
            {"days": ("Sat",), "time_zone": "Asia/Tokyo"},
            {"2026-11-27T14:59": False, "2026-11-27T15:00": True, "2026-11-28T14:59": True, "2026-11-28T15:00": False},
        ),
        # Summer and winter in Berlin: 09:00 is 07:00 or 08:00 UTC.
        (
            {"start": "09:00", "end": "10:00", "time_zone": "Europe/Berlin"},
            {"2026-07-01T07:30": True, "2026-07-01T08:30": False, "2026-12-01T07:30": False, "2026-12-01T08:30": True},
        ),
        # The clock is put forward at 02:00 to 03:00: a window within this hour opens at 03:15 on that day.
        (
            {"start": "02:15", "end": "02:45", "time_zone": "Europe/Berlin"},
            {"2026-03-28T01:30": True, "2026-03-29T01:14": False, "2026-03-29T01:15": True, "2026-03-30T00:30": True},
        ),
        # The clock is put back at 03:00 to 02:00: a window from 01:00 to 04:00 has four hours.
        (
            {"start": "01:00", "end": "04:00", "time_zone": "Europe/Berlin"},
            {"2026-10-24T22:59": False, "2026-10-24T23:00": True, "2026-10-25T02:59": True, "2026-10-25T03:00": False},
        ),
    ],
)
def test_windows_are_open_by_the_clock_of_their_zone(window: dict[str, str], times: dict[str, bool]) -> None:
    read = Window.model_validate(window)
    for time, is_open in times.items():
        assert (closed([read], datetime.fromisoformat(f"{time}+00:00")) is None) is is_open, time


def test_without_windows_steps_start_at_any_time() -> None:
    assert closed([], datetime(2026, 1, 1, tzinfo=UTC)) is None


@given(TIMES, st.timedeltas(timedelta(milliseconds=1), timedelta(days=1000)))
def test_a_freeze_ends_at_its_time(now: datetime, lasts: timedelta) -> None:
    freeze = Freeze(until=now + lasts)
    assert freeze.until
    assert frozen(freeze, freeze.until) is None
    found = frozen(freeze, freeze.until - timedelta(milliseconds=1))
    assert found
    assert found[1] == timedelta(milliseconds=1)


def test_a_freeze_without_end_has_none() -> None:
    found = frozen(Freeze(reason="holidays"), datetime(2026, 1, 1, tzinfo=UTC))
    assert found
    assert found[0].message == "the weights are frozen until spec.freeze is removed (spec.freeze): holidays"
    assert found[1] is None


def test_zones_that_do_not_exist_are_found() -> None:
    several = [Window(time_zone=zone) for zone in ("UTC", "Mars/Olympus", "Europe", "Europe/Paris", "/etc/passwd")]
    assert [number for number, _ in unknown_zones(several)] == [1, 2, 4]
