"""Builds entries as an operator records them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from engine.model.entries import ChangeResult, Configuration, Entry, PhaseChange, Result, Share, WeightChange
from kanary.history.pending import Pending

START = datetime(2026, 11, 23, 13, 31, 2, 123000, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def change(revision: int, *, minutes: float | None = None, digest: str | None = None) -> WeightChange:
    """A change, a minute after the previous one; no two changes have the same weights."""
    share = revision % 101
    return WeightChange(
        number=10 * revision,
        revision=revision,
        at=at(revision if minutes is None else minutes),
        generation=revision + 1,
        before=(Share(backend="myapp-v1:http", weight=100),),
        after=(Share(backend="myapp-v1:http", weight=100 - share), Share(backend="myapp-v2:8080", weight=share)),
        cause=f"raise to {share}",
        author="kubectl",
        digest=digest or f"{revision:016x}",
    )


def phase_change(revision: int, place: int = 1) -> PhaseChange:
    """One of up to eight phase changes after a weight change."""
    return PhaseChange(
        number=10 * revision + place,
        at=at(revision + place / 100),
        source="Ready",
        to="Rendering",
        trigger="changed",
        reason="SpecChanged",
        message=f"phase change {place}",
    )


def result(revision: int, word: str = Result.READY) -> ChangeResult:
    return ChangeResult(number=10 * revision + 9, at=at(revision + 0.1), revision=revision, result=word, seconds=6.125)


def configuration(digest: str) -> Configuration:
    endpoints = {"myapp-v1:http": ("10.0.0.1:8080", "10.0.0.2:8080"), "myapp-v2:8080": ("[fd00::1]:8080",)}
    return Configuration(digest=digest, text=f"# configuration {digest}\n" * 10, endpoints=endpoints)


def seen(
    uid: str = "u-1",
    *,
    namespace: str = "shop",
    name: str = "web",
    first: int = 1,
    last: int = 3,
    phase_changes: int = 0,
    minutes: float = 0,
) -> Pending:
    """A Kanary whose status has the changes from `first` to `last`, the last one in progress."""
    entries = [
        entry
        for revision in range(first, last + 1)
        for entry in (
            change(revision),
            *(phase_change(revision, place) for place in range(1, phase_changes + 1)),
            *([result(revision)] if revision < last else []),
        )
    ]
    return Pending(uid, namespace, name, at(minutes), tuple(entries), (configuration(f"{last:016x}"),))


def deleted(uid: str = "u-1", minutes: float = 10, *, namespace: str = "shop", name: str = "web") -> Pending:
    return Pending(uid, namespace, name, at(minutes), is_deleted=True)


def with_entries(pending: Pending, *entries: Entry) -> Pending:
    """The same Kanary with other entries."""
    return replace(pending, entries=entries)
