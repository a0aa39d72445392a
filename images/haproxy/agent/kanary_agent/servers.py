"""Servers come to a running worker and leave it without a reload, which would end what it holds after the drain time.

A server that leaves is in maintenance: what it holds goes on to its end. It is never deleted (`del server` was behind
several crashes of HAProxy), so a reload takes over when many have left.
"""

from collections.abc import Iterator

from kanary_agent import counters, texts
from kanary_agent.counters import Place, State
from kanary_agent.master import Master

CHANGES = 100
"""The most servers that come and go at once: HAProxy's threads stand still for each one that comes."""
LEFT_OVER = 500
"""The most servers that have left: about 5 KiB each."""


def renew(master: Master, served: str, text: str) -> str:
    """Has the worker that serves the text `served` serve `text`, if they differ in servers alone.

    What was changed, and nothing if a reload has to do it. Raises SilentError if HAProxy does not answer.
    """
    rest, _ = texts.without_servers(served)
    other, servers = texts.without_servers(text)
    if rest != other:
        return ""
    wanted = {Place(*key): words for key, words in servers.items()}
    told = _states(master)
    # A former agent may have been killed half-way.
    come = [place for place in wanted if place not in told or told[place].is_out]
    gone = [place for place, state in told.items() if place not in wanted and not state.is_out]
    left = sum(place not in wanted for place in told)
    if len(come) + len(gone) > CHANGES or left > LEFT_OVER:
        return ""
    new = {place: f"{wanted[place]} {texts.server_defaults(text)}" for place in come if place not in told}
    master.ask(*_commands(new, come, gone))
    if {place for place, state in _states(master).items() if not state.is_out} != wanted.keys():
        return ""
    master.say_digest(texts.digest_of(text))
    return f"{len(come)} came, {len(gone)} left"


def _commands(new: dict[Place, str], come: list[Place], gone: list[Place]) -> Iterator[str]:
    for place, words in new.items():
        yield f"@1 add server {place} {words}"
    for place in come:
        yield f"@1 enable health {place}"
        yield f"@1 set server {place} state ready"
    for place in gone:
        yield f"@1 set server {place} state maint"


def _states(master: Master) -> dict[Place, State]:
    return dict(counters.states(master.lines(counters.STATES)))
