"""Measures the history: `python -m bench.record [--changes N]`. Writes its section of docs/performance.md.

On SQLite as the operator keeps it, and on a PostgreSQL server of the tests' own.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from kanary.history.model import Change, Configuration, Entry, Outcome, Result, Route, Transition, Weight

from bench.report import REPORT, put
from bench.session import say
from bench.stats import figures, ratios, table
from engine.ports import Json
from kanary.history.opening import open_store
from kanary.history.reader import Reader
from kanary.history.rows import pending_entry
from kanary.history.selection import PAGE, Selection
from tests.history.postgres import running
from tests.traces.world import World, routes

KANARIES = 100
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_INSERTS = 300

_HOW = """
`make bench` writes this section. A change is recorded with its outcome and four moves, each change in a transaction of
its own, as the operator does it (SQLite with a write-ahead log and full synchronisation; PostgreSQL on this machine,
its synchronisation off). A reconcile is measured in memory, without the cluster's answers, which take many times as
long. The recording goes on in a thread of its own: it is never part of a reconcile, and its share is what it would be.
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.record", description=__doc__)
    parser.add_argument("--changes", type=int, default=100_000, help="how many changes a full history has")
    options = parser.parse_args()
    reconcile = _reconcile_seconds()
    rows = [_measured(name, url, options.changes, reconcile) for name, url in _databases()]
    page = f"a page of {PAGE} of {options.changes:,}"
    header = ["", "one change recorded", "of a reconcile", page, "last / first page", "all", "10,000 changes take"]
    today = f"{datetime.now(UTC):%d %B %Y}".lstrip("0")
    put(REPORT, "record", f"{_HOW.strip()}\n\n{table(header, rows)}\n\nMeasured on {today}.")


def _databases() -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory(prefix="kanary-bench-") as folder:
        yield "SQLite", f"sqlite:///{folder}/history.db"
    with running() as server:
        yield "PostgreSQL", server.new_database()


def _reconcile_seconds() -> float:
    """The median of reconciles that change weights, in a world in memory."""
    world = World()
    for name in ("myapp-v1", "myapp-v2"):
        world.create_service(name, 3)
    taken = []
    for number in range(40):
        weight = 10 + number
        spec: Json = {"destination": "myapp", "routes": routes(myapp_v1=weight, myapp_v2=100 - weight)}
        world.apply_kanary(**spec)
        began = time.perf_counter()
        steps = 0
        while world.step().again == timedelta() or steps == 0:
            steps += 1
        taken.append((time.perf_counter() - began) / steps)
        world.settle()
    return statistics.median(taken)


def _measured(name: str, url: str, changes: int, reconcile: float) -> list[str]:
    with _opened(url) as record:
        inserts = [_seconds(record, _entry(number % KANARIES, 1 + number // KANARIES)) for number in range(_INSERTS)]
        _fill(record, changes)
    reader = Reader(url)
    first, last, everything = _pages(reader)
    size = _size(url)
    reader.close()
    insert = statistics.median(inserts)
    say(f"{name}: {insert * 1000:.2f} ms for one change, {everything:.1f} s for all pages")
    return [
        name,
        f"{figures(insert * 1000)} ms",
        f"{insert / reconcile:.2f}",
        f"{figures(first * 1000)} ms",
        str(ratios([last], to=[first])),
        f"{figures(everything)} s",
        f"{figures(size / changes * 10_000 / 2**20)} MiB",
    ]


@contextmanager
def _opened(url: str) -> Iterator[Callable[[list[Entry]], object]]:
    store = open_store(url)
    try:
        yield lambda entries: store.write([pending_entry(entry) for entry in entries])
    finally:
        store.close()


def _seconds(record: Callable[[list[Entry]], object], entry: Entry) -> float:
    began = time.perf_counter()
    record([entry])
    return time.perf_counter() - began


def _fill(record: Callable[[list[Entry]], object], changes: int) -> None:
    """All revisions of each Kanary, a hundred at a time."""
    per_kanary = changes // KANARIES
    for kanary in range(KANARIES):
        for start in range(1, per_kanary + 1, 100):
            revisions = range(start, min(start + 100, per_kanary + 1))
            entries = [_entry(kanary, revision) for revision in revisions]
            record([_joined(entries)])


def _joined(entries: list[Entry]) -> Entry:
    last = entries[-1]
    return Entry(
        namespace=last.namespace,
        name=last.name,
        uid=last.uid,
        changes=tuple(change for entry in entries for change in entry.changes),
        transitions=tuple(move for entry in entries for move in entry.transitions),
        outcomes=tuple(outcome for entry in entries for outcome in entry.outcomes),
        configuration=last.configuration,
    )


def _entry(kanary: int, revision: int) -> Entry:
    at = _BEGAN + timedelta(minutes=revision, seconds=kanary / 10)
    weight = revision % 101
    digest = f"{kanary:08x}{revision // 100:08x}"
    moves = [("Ready", "Rendering"), ("Rendering", "Rolling"), ("Rolling", "Ready"), ("Ready", "Ready")]
    return Entry(
        namespace="shop",
        name=f"rule-{kanary}",
        uid=f"uid-{kanary}",
        changes=(
            Change(
                revision=revision,
                at=at,
                generation=revision,
                before=(Weight("v1", 80), Weight("v2", 20)),
                after=(
                    Route("v1", weight, "myapp-v1", "http"),
                    Route("v2", 100 - weight, "myapp-v2", 9090),
                ),
                cause="raise by a step (JIRA-12)",
                manager="kubectl",
                config_hash=digest,
                endpoints=(("10.0.0.1:9000", "10.0.0.2:9000"), ("10.0.1.1:9000",)),
            ),
        ),
        transitions=tuple(
            Transition(4 * revision + place, at, source, to, "roll", "RollingOut", "2 of 2 proxies serve revision 7")
            for place, (source, to) in enumerate(moves)
        ),
        outcomes=(Outcome(revision, Result.READY, at + timedelta(seconds=1), 1.0),),
        configuration=Configuration(digest, f"# Written by Kanary.\n# {digest}\n" + "  server p1 10.0.0.1:9000\n" * 20),
    )


def _pages(reader: Reader) -> tuple[float, float, float]:
    """Seconds for the first page, for the last whole one, and for all."""
    taken: list[float] = []
    after = None
    # The first connection is not the first page.
    reader.changes(Selection())
    while True:
        began = time.perf_counter()
        page = reader.changes(Selection(), after)
        taken.append(time.perf_counter() - began)
        after = page.next
        if after is None:
            return taken[0], statistics.median(taken[-5:]), sum(taken)


def _size(url: str) -> int:
    store = open_store(url)
    try:
        return store.figures().size
    finally:
        store.close()


if __name__ == "__main__":
    main()
