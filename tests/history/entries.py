"""Entries as an operator records them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kanary.history.model import Change, Configuration, Entry, Outcome, Result, Route, Transition, Weight

START = datetime(2026, 11, 23, 13, 31, 2, 123456, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def change(revision: int, *, minutes: float | None = None, config_hash: str | None = None) -> Change:
    """A change, a minute after the one before; each is told from the others by its weights."""
    share = revision % 101
    return Change(
        revision=revision,
        at=at(revision if minutes is None else minutes),
        generation=revision + 1,
        before=(Weight("myapp-v1", 100),),
        after=(Route("myapp-v1", 100 - share, "myapp-v1", "http"), Route("myapp-v2", share, "myapp-v2", 8080)),
        cause=f"raise to {share}",
        manager="kubectl",
        config_hash=config_hash or f"{revision:016x}",
        endpoints=(("10.0.0.1:8080", "10.0.0.2:8080"), ("[fd00::1]:8080",)),
    )


def outcome(revision: int, result: Result = Result.READY) -> Outcome:
    return Outcome(revision, result, at(revision + 0.1), 6.125)


def transition(number: int) -> Transition:
    return Transition(number, at(number / 10), "Ready", "Rendering", "changed", "SpecChanged", f"transition {number}")


def entry(
    uid: str = "u-1", *, namespace: str = "shop", name: str = "web", first: int = 1, last: int = 3, moves: int = 0
) -> Entry:
    """The entry of a Kanary whose status has the changes from the first to the last."""
    return Entry(
        namespace=namespace,
        name=name,
        uid=uid,
        changes=tuple(change(revision) for revision in range(first, last + 1)),
        transitions=tuple(transition(number) for number in range(1, moves + 1)),
        outcomes=tuple(outcome(revision) for revision in range(first, last)),
        configuration=Configuration(f"{last:016x}", f"# configuration {last}\n" * 10),
    )
