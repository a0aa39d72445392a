"""Builds a history with the code of the operator, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from engine.model.entries import ChangeResult, Configuration, Entry, PhaseChange, Share, WeightChange
from kanary.history.database import open_database
from kanary.history.pending import Pending
from kanary.history.tables import KANARIES

START = datetime(2026, 11, 23, 13, 31, 2, 250_000, tzinfo=UTC)
NAME = "simple-kanary-rule"

Shares = tuple[Share, ...]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def shares(**weights: float) -> Shares:
    return tuple(Share(backend=f"{name.replace('_', '-')}:http", weight=w) for name, w in weights.items())


def change(
    revision: int,
    seconds: float,
    after: Shares,
    cause: str = "spec changed",
    author: str = "kubectl",
    *,
    before: Shares = (),
    digest: str | None = None,
) -> WeightChange:
    return WeightChange(
        number=revision,
        revision=revision,
        at=at(seconds),
        generation=revision,
        before=before,
        after=after,
        cause=cause,
        author=author,
        digest=digest,
    )


def result(revision: int, seconds: float, took: float, word: str = "Ready") -> ChangeResult:
    return ChangeResult(number=1, at=at(seconds), revision=revision, result=word, seconds=took)


def phase(seconds: float, move: str, trigger: str, reason: str) -> PhaseChange:
    source, _, to = move.partition(" ")
    message = f"because of {reason}"
    return PhaseChange(number=1, at=at(seconds), source=source, to=to, trigger=trigger, reason=reason, message=message)


def history_of(
    *entries: Entry, uid: str = "u-1", namespace: str = "shop", name: str = NAME, numbers_from: int = 1
) -> Pending:
    """A Kanary with these entries, numbered in the order of their times."""
    in_order = sorted(entries, key=lambda entry: entry.at)
    numbered = (entry.model_copy(update={"number": n}) for n, entry in enumerate(in_order, numbers_from))
    return Pending(uid, namespace, name, START, tuple(numbered), CONFIGURATIONS)


ONE = shares(myapp_v1=100)
TWO = shares(myapp_v1=80, myapp_v2=20)
THREE = shares(myapp_v1=50, myapp_v2=50)
V1, V2 = "myapp-v1:http", "myapp-v2:http"
CONFIGURATIONS = tuple(
    Configuration(
        digest=digest,
        text="\n".join(["frontend split", *(f"  server {e} {e}" for each in endpoints.values() for e in each), ""]),
        endpoints=endpoints,
    )
    for digest, endpoints in {
        "a1": {V1: ("10.0.0.1:8080",)},
        "b2": {V1: ("10.0.0.1:8080",), V2: ("10.0.1.1:8080",)},
        "c3": {V1: ("10.0.0.1:8080", "10.0.0.2:8080"), V2: ("10.0.1.9:8080",)},
    }.items()
)
CHANGES = (
    change(1, 0, ONE, "created", digest="a1"),
    change(2, 593, TWO, author="argocd", before=ONE, digest="b2"),
    change(3, 1868, THREE, "raise to half (JIRA-12)", before=TWO, digest="c3"),
)
RESULTS = (result(1, 9.4, 9.4), result(2, 598.8, 5.8), result(3, 1874.1, 6.1))
PHASES = (
    phase(0, "Pending Rendering", "render", "Rendering"),
    phase(1, "Rendering Rolling", "roll", "RollingOut"),
    phase(9.4, "Rolling Ready", "complete", "Serving"),
    phase(593, "Ready Rolling", "roll", "RollingOut"),
    phase(598.8, "Rolling Ready", "complete", "Serving"),
    phase(1200, "Ready Degraded", "degrade", "NoReadyEndpoints"),
    phase(1500, "Degraded Rolling", "roll", "RollingOut"),
    phase(1560, "Rolling Ready", "complete", "Serving"),
    phase(1868, "Ready Rolling", "roll", "RollingOut"),
    phase(1874.1, "Rolling Ready", "complete", "Serving"),
)


def story(uid: str = "u-1", namespace: str = "shop", name: str = NAME) -> Pending:
    """Three revisions, their results and ten phase changes."""
    return history_of(*CHANGES, *RESULTS, *PHASES, uid=uid, namespace=namespace, name=name)


def record(path: Path, kanaries: Sequence[Pending], deleted: dict[str, datetime] | None = None) -> str:
    """Write Kanaries, and mark some as deleted; returns the URL of the database."""
    times = deleted or {}
    gone = [Pending(k.uid, k.namespace, k.name, times[k.uid], is_deleted=True) for k in kanaries if k.uid in times]
    url = f"sqlite:///{path}"
    database = open_database(url)
    try:
        database.write(kanaries)
        database.write(gone)
    finally:
        database.close()
    return url


def record_namesakes(url: str, count: int, namespace: str = "shop", name: str = NAME) -> None:
    """Add deleted Kanaries with one name, with uids before those of all others."""
    row = {"namespace": namespace, "name": name, "first_seen": at(0), "deleted_at": at(5)}
    database = open_database(url)
    try:
        with database.transaction() as connection:
            connection.execute(sa.insert(KANARIES), [{**row, "uid": f"!{n}"} for n in range(count)])
    finally:
        database.close()
