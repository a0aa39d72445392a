"""Measures the history: `python -m bench.record [--changes N]`. Writes its section of docs/performance.md.

On SQLite as the operator keeps it, and on a PostgreSQL server of the tests' own.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

from bench.report import REPORT, put
from bench.session import say
from bench.stats import figures, ratios, table
from engine.model.entries import ChangeResult, Configuration, Entry, PhaseChange, Result, Share, WeightChange
from engine.ports import Json
from kanary.history.database import Database, open_database
from kanary.history.pending import Pending
from kanary.history.queries import PAGE, ChangeQuery
from kanary.history.reader import Reader
from tests.history.postgres import running
from tests.traces.world import World, routes

KANARIES = 100
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_INSERTS = 300
_V1, _V2 = "myapp-v1:http", "myapp-v2:9090"
_PHASES = ("Ready", "Rendering"), ("Rendering", "Rolling"), ("Rolling", "Ready")

_HOW = """
`make bench` writes this section. A change is recorded together with three phase changes and its result, each change in
a transaction of its own, as the operator does it (SQLite with a write-ahead log and full synchronisation; PostgreSQL on
this machine, without synchronisation). A reconcile is measured in memory, without the API server's response times,
which are many times as long. Recording runs in its own thread and is never part of a reconcile: the ratio only compares
the two.
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
        steps = 1
        while (requeue := world.step().requeue) and requeue.after <= timedelta():
            steps += 1
        taken.append((time.perf_counter() - began) / steps)
        world.settle()
    return statistics.median(taken)


def _measured(name: str, url: str, changes: int, reconcile: float) -> list[str]:
    with closing(open_database(url)) as database:
        inserts = [
            _seconds(database, _pending(number % KANARIES, [1 + number // KANARIES])) for number in range(_INSERTS)
        ]
        _fill(database, changes)
        size = database.figures().size
    with closing(Reader(url)) as reader:
        first, last, everything = _pages(reader)
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


def _seconds(database: Database, pending: Pending) -> float:
    began = time.perf_counter()
    database.write([pending])
    return time.perf_counter() - began


def _fill(database: Database, changes: int) -> None:
    """All revisions of each Kanary, a hundred at a time."""
    per_kanary = changes // KANARIES
    for kanary in range(KANARIES):
        for start in range(1, per_kanary + 1, 100):
            database.write([_pending(kanary, range(start, min(start + 100, per_kanary + 1)))])


def _pending(kanary: int, revisions: Sequence[int]) -> Pending:
    """These changes of one Kanary, with the configuration of the last one."""
    entries = tuple(entry for revision in revisions for entry in _entries(kanary, revision))
    digest = _digest(kanary, revisions[-1])
    text = f"# Written by Kanary.\n# {digest}\n" + "  server 10.0.0.1:9000 10.0.0.1:9000\n" * 20
    endpoints = {_V1: ("10.0.0.1:9000", "10.0.0.2:9000"), _V2: ("10.0.1.1:9000",)}
    configuration = Configuration(digest=digest, text=text, endpoints=endpoints)
    return Pending(f"uid-{kanary}", "shop", f"rule-{kanary}", entries[-1].at, entries, (configuration,))


def _entries(kanary: int, revision: int) -> Iterator[Entry]:
    """A change, the phases that it goes through, and its result."""
    at = _BEGAN + timedelta(minutes=revision, seconds=kanary / 10)
    first = (len(_PHASES) + 2) * (revision - 1) + 1
    weight = revision % 101
    yield WeightChange(
        number=first,
        revision=revision,
        at=at,
        generation=revision,
        before=(Share(backend=_V1, weight=80), Share(backend=_V2, weight=20)),
        after=(Share(backend=_V1, weight=weight), Share(backend=_V2, weight=100 - weight)),
        cause="raise by a step (JIRA-12)",
        author="kubectl",
        digest=_digest(kanary, revision),
    )
    for number, (source, to) in enumerate(_PHASES, first + 1):
        yield PhaseChange(
            number=number,
            at=at,
            source=source,
            to=to,
            trigger="roll",
            reason="RollingOut",
            message="2 of 2 proxies serve revision 7",
        )
    ended = first + len(_PHASES) + 1
    yield ChangeResult(number=ended, at=at + timedelta(seconds=1), revision=revision, result=Result.READY, seconds=1)


def _digest(kanary: int, revision: int) -> str:
    """A hundred changes share a configuration."""
    return f"{kanary:012x}{revision // 100:012x}"


def _pages(reader: Reader) -> tuple[float, float, float]:
    """Seconds for the first page, for the last whole one, and for all."""
    taken: list[float] = []
    after = None
    # The first connection is not the first page.
    reader.changes(ChangeQuery())
    while True:
        began = time.perf_counter()
        page = reader.changes(ChangeQuery(after=after))
        taken.append(time.perf_counter() - began)
        after = page.next
        if after is None:
            return taken[0], statistics.median(taken[-5:]), sum(taken)


if __name__ == "__main__":
    main()
