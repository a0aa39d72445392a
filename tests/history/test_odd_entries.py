"""Unusual entries: those of other Kanaries are recorded, and the fault names only the entry's Kanary."""

import random
import string
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.model.entries import Configuration, Entry, read_entry
from kanary.history.queries import EntryQuery
from kanary.history.reader import Reader
from kanary.history.retention import Retention
from kanary.history.writer import HistoryWriter
from kanary.operator.history_recorder import HistoryRecorder
from tests.history.entries import START, change, result, seen, with_entries
from tests.waiting import PATIENCE

KANARY = {"metadata": {"uid": "u", "namespace": "shop", "name": "web"}}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    return str(request.getfixturevalue("postgres").new_database())


def odd(**fields: Any) -> Entry:
    return Entry.model_validate({"number": 1, "at": START, "kind": "X", **fields})


@pytest.mark.parametrize(
    "entry",
    [
        odd(revision=True),
        odd(kind="".join(random.Random(1).choices(string.ascii_letters, k=4000))),
        odd(revision=2**70),
        odd(number=2**70),
        odd(x={"\0a": "\0"}),
    ],
    ids=["a revision that is no number", "a long kind", "a large revision", "a large number", "NUL"],
)
def test_an_odd_entry_keeps_no_other_kanary_from_being_recorded(url: str, entry: Entry) -> None:
    writer = HistoryWriter(url)
    recorder = HistoryRecorder(writer)
    writer.record(with_entries(seen("u-bad", name="bad", namespace="secret"), entry))
    writer.record(seen("u-1"))
    writer.start()
    assert writer.flush(PATIENCE)
    assert writer.confirmed("u-1")
    assert recorder.recorded("u-1").recording.is_recorded
    writer.stop(PATIENCE)


def test_a_limit_that_reaches_back_before_all_time_is_none(sqlite_url: str) -> None:
    writer = HistoryWriter(sqlite_url, retention=Retention(timedelta(days=999_999)), prune_seconds=0.01)
    writer.record(seen("u-1"))
    writer.start()
    assert writer.flush(PATIENCE)
    writer.stop(PATIENCE)
    assert writer.fault() is None


def configuration(digest: str) -> Configuration:
    return Configuration(digest=digest, text=digest, endpoints={})


def test_the_configuration_of_a_change_outlives_pods_that_come_and_go_while_the_database_is_away(
    sqlite_url: str,
) -> None:
    writer = HistoryWriter(sqlite_url)
    recorder = HistoryRecorder(writer)
    for number in range(20):
        recorder.record(KANARY, (change(1, digest="d0"),), configuration(f"d{number}"))
    writer.start()
    assert writer.flush(PATIENCE)
    writer.stop(PATIENCE)
    assert Reader(sqlite_url).configuration("d0") is not None


def test_an_entry_with_a_large_number_does_not_silence_later_ones(sqlite_url: str) -> None:
    writer = HistoryWriter(sqlite_url)
    recorder = HistoryRecorder(writer)
    large = read_entry({"number": 2**60, "at": datetime(2026, 11, 23, tzinfo=UTC), "kind": "Note"})
    writer.start()
    for entries in ((large,), (large, result(1))):
        recorder.record(KANARY, entries, None)
        assert writer.flush(PATIENCE)
    writer.stop(PATIENCE)
    assert len(Reader(sqlite_url).entries(EntryQuery()).items) == 2
