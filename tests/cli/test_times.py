"""Reading and writing of times."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kanary.cli.parameters import past_second
from kanary.cli.times import local_text, read_duration, read_time, took_text
from tests.cli.conftest import Zone

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=zones)


def read(text: str) -> datetime:
    return read_time(text, NOW)


@given(times)
def test_a_time_with_its_zone_is_read_as_it_was_written(time: datetime) -> None:
    assert read(time.isoformat()) == time
    assert read(time.isoformat(sep=" ")) == time
    assert read(time.astimezone(UTC).isoformat().replace("+00:00", "Z")) == time


@given(times)
def test_what_is_read_is_in_utc(time: datetime) -> None:
    assert read(time.isoformat()).utcoffset() == timedelta(0)


@given(times)
def test_a_time_may_be_cut_at_seconds_and_at_minutes(time: datetime) -> None:
    zone = time.isoformat()[-6:]
    assert read(f"{time:%Y-%m-%dT%H:%M:%S}{zone}") == time.replace(microsecond=0)
    assert read(f"{time:%Y-%m-%dT%H:%M}{zone}") == time.replace(second=0, microsecond=0)


@given(times)
def test_a_second_that_is_meant_to_its_end_is_so_unless_a_fraction_is_given(time: datetime) -> None:
    past = time.replace(year=min(time.year, 2020), day=min(time.day, 28))
    second = past_second(past.isoformat(timespec="seconds"))
    assert second == past.replace(microsecond=999_999)
    assert past_second(past.replace(microsecond=250_000).isoformat()) == past.replace(microsecond=250_000)


@given(st.integers(0, 500), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_an_age_is_a_time_so_long_ago(days: int, hours: int, minutes: int, seconds: int) -> None:
    age = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    assert NOW - read(f"{days}d{hours}h{minutes}m{seconds}s") == age
    assert read_duration(f"{days}d{minutes}m") == timedelta(days=days, minutes=minutes)


@given(st.text(alphabet="0123456789TZtz:.+- wdhmsé", max_size=30) | st.text(max_size=30))
def test_any_text_is_a_time_or_is_refused(text: str) -> None:
    with suppress(ValueError):
        assert read(text).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-23T13:35", "2026-11-23T12:35:00Z"),
        ("2026-11-23 13:35:10", "2026-11-23T12:35:10Z"),
        ("2026-11-23T13:35:10.25", "2026-11-23T12:35:10.250000Z"),
        ("2026-07-01T13:35", "2026-07-01T11:35:00Z"),
        ("2026-11-23", "2026-11-22T23:00:00Z"),
        ("2026-11-23T13:35Z", "2026-11-23T13:35:00Z"),
        ("2026-11-23t13:35:00z", "2026-11-23T13:35:00Z"),
        ("2026-11-23T13:35+05:30", "2026-11-23T08:05:00Z"),
    ],
)
def test_without_a_zone_a_time_is_local(text: str, utc: str, zone: Zone) -> None:
    zone("Europe/Berlin")
    assert read(text) == datetime.fromisoformat(utc)


@pytest.mark.parametrize(
    "text",
    ["", "noon", "13:35", "2026-11", "2026-13-01", "2026-02-30", "2026-11-23T24:01", "2026-11-23T13:35:60", "7", "7 d",
     "-7d", "1h7d", "1.5h", "d", "\u0667d", "99999999999d", "9" * 5000 + "d", "0001-01-01T00:00+14:00"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^invalid time .*, expected 2026-"):
        read(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (6.125, "6.1s"),
        (59.94, "59.9s"),
        (59.96, "1m0s"),
        (125, "2m5s"),
        (3600, "1h0m"),
        (12_059, "3h20m"),
        (187_300, "2d4h"),
    ],
)
def test_how_long_something_took_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert took_text(seconds) == text


def test_a_year_has_four_digits() -> None:
    assert local_text(datetime(110, 4, 5, 12, 0, tzinfo=UTC)) == "0110-04-05 12:00:00"


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York"])
def test_the_first_and_the_last_moment_are_shown(zone: Zone, name: str) -> None:
    zone(name)
    assert [local_text(each.replace(tzinfo=UTC))[:4] for each in (datetime.min, datetime.max)] == ["0001", "9999"]


def test_people_are_shown_local_time(zone: Zone) -> None:
    zone("Europe/Berlin")
    assert local_text(datetime(2026, 7, 1, 12, 0, 0, 999_999, tzinfo=UTC)) == "2026-07-01 14:00:00"
