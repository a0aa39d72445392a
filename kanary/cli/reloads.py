"""Whether running proxies can load a configuration without a reload of HAProxy, as their agents decide it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_DATA = ("proc.digest", "proc.split", "proc.slots", "proc.turns", "proc.revision")
"""The variables that an agent sets in a running HAProxy."""
_SLOTS = "proc.slots"
_CHANGED_AT_ONCE = 400
"""Servers; more need a reload."""


class _Content(NamedTuple):
    fixed: list[str]
    servers: dict[tuple[str, str], list[str]]
    slots: list[str]


def reload_reason(before: str, after: str) -> str:
    """What HAProxy has to reload for to get from one configuration to the other; empty if it need not."""
    former, latest = _content(before), _content(after)
    if changed := next(_changed(former.fixed, latest.fixed), ""):
        return changed
    if any(former.servers.get(key, words) != words for key, words in latest.servers.items()):
        return "the parameters of servers change"
    for slot, backend in zip(former.slots, latest.slots, strict=False):
        if slot and backend and slot != backend:
            return f"no slot is free, and {backend} takes that of {slot}"
    if (count := len(former.servers.keys() ^ latest.servers.keys())) > _CHANGED_AT_ONCE:
        return f"{count} servers change at once"
    return ""


def _changed(before: list[str], after: list[str]) -> Iterator[str]:
    """The lines that only one of them has, those of the latter first."""
    if before != after:
        yield from (line.strip() for line in after if line not in before)
        yield from (line.strip() for line in before if line not in after)
        yield "the order of the lines"


def _content(text: str) -> _Content:
    content, section = _Content([], {}, []), ""
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if line[:1].isalpha():
            section = values[0] if values else keyword
        if keyword == "server":
            content.servers[section, values[0]] = values[1:]
        elif keyword == "set-var" and values[0] in _DATA:
            if values[0] == _SLOTS:
                content.slots[:] = values[1].removeprefix("str(").removesuffix(")").split("/")
        elif keyword and not keyword.startswith("#"):
            content.fixed.append(line)
    return content
