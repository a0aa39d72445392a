"""Adds servers to a running worker and removes them, without a reload and its drain time.

A removed server is set to maintenance: its open connections continue. It is never deleted (`del server` has crashed
several versions of HAProxy), so a reload is necessary when many servers were removed.
"""

from collections.abc import Iterator

from kanary_agent import counters, texts
from kanary_agent.counters import Place, State
from kanary_agent.master import Master

CHANGES = 100
"""Maximum number of servers that are added and removed at once: each addition stops HAProxy's threads."""
REMOVED = 500
"""Maximum number of removed servers: each takes about 5 KiB."""


def update(master: Master, served: str, text: str) -> str:
    """Change the servers of the worker that serves the text `served` to those of `text`, if nothing else differs.

    Returns what was changed, or '' if a reload is necessary. Raises SilentError if HAProxy does not respond.
    """
    rest, _ = texts.split_servers(served)
    other, servers = texts.split_servers(text)
    if rest != other:
        return ""
    desired = {Place(*key): words for key, words in servers.items()}
    present = _states(master)
    # Some servers may be changed already: a former agent may have been killed in the middle.
    added = [place for place in desired if place not in present or present[place].is_in_maintenance]
    removed = [place for place, state in present.items() if place not in desired and not state.is_in_maintenance]
    if len(added) + len(removed) > CHANGES or sum(place not in desired for place in present) > REMOVED:
        return ""
    new = {place: f"{desired[place]} {texts.server_defaults(text)}" for place in added if place not in present}
    master.execute(*_commands(new, added, removed))
    if {place for place, state in _states(master).items() if not state.is_in_maintenance} != desired.keys():
        return ""
    master.set_digest(texts.digest_of(text))
    return f"{len(added)} added, {len(removed)} removed"


def _commands(new: dict[Place, str], added: list[Place], removed: list[Place]) -> Iterator[str]:
    for place, words in new.items():
        yield f"@1 add server {place} {words}"
    for place in added:
        yield f"@1 enable health {place}"
        yield f"@1 set server {place} state ready"
    for place in removed:
        yield f"@1 set server {place} state maint"


def _states(master: Master) -> dict[Place, State]:
    return dict(counters.states(master.stream(counters.STATES)))
