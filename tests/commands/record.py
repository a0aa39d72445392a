"""A record as an operator leaves it: filled through the store that it writes with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kanary.history.model import Change, Configuration, Entry, Outcome, Result, Route, Transition, Weight
from kanary.history.opening import open_store
from kanary.history.rows import Pending, pending_entry

START = datetime(2026, 11, 23, 13, 31, 2, 250_000, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def routes(**weights: int) -> tuple[Route, ...]:
    return tuple(Route(name.replace("_", "-"), w, name.replace("_", "-"), "http") for name, w in weights.items())


def change(
    revision: int,
    seconds: float,
    after: tuple[Route, ...],
    cause: str = "spec changed",
    manager: str = "kubectl",
    *,
    before: tuple[Route, ...] = (),
    endpoints: tuple[tuple[str, ...], ...] | None = None,
    config_hash: str | None = None,
) -> Change:
    return Change(
        revision=revision,
        at=at(seconds),
        generation=revision,
        before=tuple(Weight(route.backend, route.weight) for route in before),
        after=after,
        cause=cause,
        manager=manager,
        config_hash=config_hash,
        endpoints=endpoints if endpoints is not None else tuple(("10.0.0.1:8080",) for _ in after),
    )


def transition(number: int, seconds: float, move: str, trigger: str, reason: str) -> Transition:
    source, _, destination = move.partition(" ")
    return Transition(number, at(seconds), source, destination, trigger, reason, f"because of {reason}")


ONE = routes(myapp_v1=100)
TWO = routes(myapp_v1=80, myapp_v2=20)
THREE = routes(myapp_v1=50, myapp_v2=50)
CONFIGURATIONS = {
    "a1": "frontend split\n  server p1 10.0.0.1:8080\n",
    "b2": "frontend split\n  server p1 10.0.0.1:8080\n  server p2 10.0.1.1:8080\n",
}
_POD1, _POD2 = "10.0.0.1:8080", "10.0.1.1:8080"


def story(uid: str = "u-1", namespace: str = "shop", name: str = "simple-kanary-rule") -> Entry:
    """The three revisions that are told of everywhere."""
    return Entry(
        namespace=namespace,
        name=name,
        uid=uid,
        changes=(
            change(1, 0, ONE, "created", endpoints=((_POD1,),), config_hash="a1"),
            change(2, 593, TWO, manager="argocd", before=ONE, endpoints=((_POD1,), (_POD2,)), config_hash="b2"),
            change(
                3, 1868, THREE, "raise to half (JIRA-12)", before=TWO, config_hash="b2",
                endpoints=((_POD1, "10.0.0.2:8080"), ("10.0.1.9:8080",)),
            ),
        ),
        outcomes=(
            Outcome(1, Result.READY, at(9.4), 9.4),
            Outcome(2, Result.READY, at(598.8), 5.8),
            Outcome(3, Result.READY, at(1874.1), 6.1),
        ),
        transitions=(
            transition(1, 0, "Pending Rendering", "render", "Rendering"),
            transition(2, 1, "Rendering Rolling", "roll", "RollingOut"),
            transition(3, 9.4, "Rolling Ready", "complete", "Serving"),
            transition(4, 593, "Ready Rolling", "roll", "RollingOut"),
            transition(5, 598.8, "Rolling Ready", "complete", "Serving"),
            transition(6, 1200, "Ready Degraded", "degrade", "NoReadyEndpoints"),
            transition(7, 1500, "Degraded Rolling", "roll", "RollingOut"),
            transition(8, 1560, "Rolling Ready", "complete", "Serving"),
            transition(9, 1868, "Ready Rolling", "roll", "RollingOut"),
            transition(10, 1874.1, "Rolling Ready", "complete", "Serving"),
        ),
    )  # fmt: skip


def record(path: Path, entries: Sequence[Entry], deleted: dict[str, datetime] | None = None) -> str:
    """Write entries, and mark some as deleted; returns the database's URL."""
    url = f"sqlite:///{path}"
    store = open_store(url)
    try:
        for entry in entries:
            waiting = pending_entry(entry)
            texts = [Configuration(key, text) for key, text in CONFIGURATIONS.items()]
            store.write([Pending(entry.uid, waiting.entry, tuple(texts))])
        store.write([Pending(uid, deleted_at=time) for uid, time in (deleted or {}).items()])
    finally:
        store.close()
    return url
