"""What the history's API answers, from the record and the values of a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import TypeVar

from kanary.history import wire
from kanary.history.model import KnownKanary
from kanary.history.pages import fill
from kanary.history.parameters import (
    AFTER,
    AT,
    CONFIGURATION,
    DELETED,
    HASH,
    LIMIT,
    NAME,
    NAMESPACE,
    REVISION,
    SINCE,
    UID,
    UNTIL,
    BadParameterError,
    Values,
    is_usable,
)
from kanary.history.selection import BadCursorError, Page, Selection, read_place
from kanary.history.source import Source, find_kanary

T = TypeVar("T")
Read = Callable[[str | None, int], Page[T]]


class Refusal(StrEnum):
    """Why a request is not answered; the reasons of the record itself stand beside these."""

    BAD_PARAMETER = "BadParameter"
    BAD_CURSOR = "BadCursor"
    UNKNOWN_PATH = "UnknownPath"
    UNKNOWN_KANARY = "UnknownKanary"
    UNKNOWN_REVISION = "UnknownRevision"
    UNKNOWN_CONFIGURATION = "UnknownConfiguration"
    BUSY = "Busy"


class MissingError(Exception):
    """The record has nothing of what was named."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def kanaries(source: Source, values: Values) -> bytes:
    """A page of Kanaries."""
    selection = _selection(values)
    return _listed(source, selection, values, lambda after, limit: source.kanaries(selection, after, limit), _kanary)


def changes(source: Source, values: Values) -> bytes:
    """A page of changes, or of those that were in force at a time."""
    selection, at = _selection(values), values[AT]
    if at is None:
        read = _from_place(lambda after, limit: source.changes(selection, after, limit))
        return _listed(source, selection, values, read, wire.Change.of)
    if (selection.since, selection.until) != (None, None):
        raise BadParameterError("at is one time, since and until are a span: give the one or the other")
    return _listed(
        source, selection, values, lambda after, limit: source.in_force(selection, at, after, limit), wire.Change.of
    )


def transitions(source: Source, values: Values) -> bytes:
    """A page of changes of phase."""
    selection = _selection(values)
    read = _from_place(lambda after, limit: source.transitions(selection, after, limit))
    return _listed(source, selection, values, read, wire.Transition.of)


def revisions(source: Source, values: Values) -> bytes:
    """Which revisions of a Kanary are kept."""
    kanary = _one(source, values)
    first, last = source.revisions(kanary) or (None, None)
    return wire.Revisions(kanary=_kanary(kanary), first=first, last=last).encoded()


def revision(source: Source, values: Values) -> bytes:
    """One change of a Kanary."""
    kanary, number = _one(source, values), values[REVISION]
    found = source.revision(kanary, number)
    if found is None:
        kept = source.revisions(kanary)
        there = f"there are {kept[0]} to {kept[1]}" if kept else "none is kept"
        there += " without it" if kept and kept[0] < number < kept[1] else ""
        raise MissingError(
            Refusal.UNKNOWN_REVISION, f"{kanary.namespace}/{kanary.name} has no revision {number} on record: {there}"
        )
    config_hash = found.change.config_hash if values[CONFIGURATION] else None
    text = source.configuration(config_hash) if config_hash else None
    return wire.Revision.with_configuration(found, text).encoded()


def configuration(source: Source, values: Values) -> bytes:
    """One configuration."""
    config_hash = values[HASH]
    text = source.configuration(config_hash)
    if text is None:
        raise MissingError(Refusal.UNKNOWN_CONFIGURATION, f"no configuration {config_hash} is kept")
    return wire.Configuration(hash=config_hash, text=text).encoded()


def _kanary(kanary: KnownKanary) -> wire.Kanary:
    return wire.Kanary.model_validate(kanary)


def _selection(values: Values) -> Selection:
    return Selection(
        namespace=values.get(NAMESPACE),
        name=values.get(NAME),
        include_deleted=values[DELETED],
        since=values.get(SINCE),
        until=values.get(UNTIL),
    )


def _from_place(read: Read[T]) -> Read[T]:
    """The same, with a check of where it is to read on: not every database has every time."""

    def checked(after: str | None, limit: int) -> Page[T]:
        place = read_place(after)
        if place is not None and not is_usable(place.at):
            raise BadCursorError("there is no history of that year to read on from: give what the page before said")
        return read(after, limit)

    return checked


def _listed(
    source: Source, selection: Selection, values: Values, read: Read[T], shape: Callable[[T], wire.Shape]
) -> bytes:
    after = values[AFTER]
    body, has_items = fill(read, shape, after, values[LIMIT])
    if not has_items and after is None and selection.name is not None:
        _require_known(source, selection)
    return body


def _require_known(source: Source, selection: Selection) -> None:
    """Raises where the record has nothing of the Kanary that the selection names."""
    everyone = replace(selection, include_deleted=True, since=None, until=None)
    who = f"{selection.namespace}/{selection.name}"
    if not source.kanaries(everyone, None, 1).items:
        raise MissingError(Refusal.UNKNOWN_KANARY, f"there is no Kanary {who} on record")
    if not selection.include_deleted and not source.kanaries(replace(everyone, include_deleted=False), None, 1).items:
        raise MissingError(Refusal.UNKNOWN_KANARY, f"Kanary {who} is deleted: ask with deleted=true for what was")


def _one(source: Source, values: Values) -> KnownKanary:
    """The Kanary of that uid; else the one that exists, or with `deleted` the one that was deleted last."""
    selection, uid = _selection(values), values[UID]
    if uid is not None:
        selection = replace(selection, include_deleted=True)
    if found := find_kanary(source, selection, uid):
        return found
    _require_known(source, selection)
    raise MissingError(
        Refusal.UNKNOWN_KANARY, f"no Kanary {selection.namespace}/{selection.name} on record has the uid {uid}"
    )
