"""HAProxy processes that reloads have left in a proxy, and the memory that they may take.

Each one serves its connections until they end or the drain time has passed, and no process is ended before. A proxy
that has too many of them is replaced instead: its connections drain in a pod that reloads no more. So is one whose
HAProxy has lost many file descriptors to ended processes, because it could not reload any more in the end.
"""

from collections.abc import Iterable

from engine.fleet.proxy import Proxy
from engine.model.placement import DEFAULT_MEMORY, Resources, amount_of

MEBIBYTE = 2**20
PROCESS_BYTES = 7 * MEBIBYTE
"""Of a former process with few servers, as the kernel counts it (PSS) with HAProxy 3.0."""
SERVER_BYTES = 5 * 1024
LEAST = 4
"""A proxy may have as many former processes, whatever its memory."""
MOST_LOST = 64
"""File descriptors that HAProxy may lose; of 1,024, the usual lowest limit, HAProxy uses few without connections."""


def former_bytes(processes: int, servers: int) -> int:
    """About how much memory so many former processes take."""
    return processes * (PROCESS_BYTES + servers * SERVER_BYTES)


def most_former(resources: Resources | None, servers: int) -> int:
    """How many former processes a proxy may have: they may take half of its limit of memory, or twice its request."""
    limits, requests = (resources.limits or {}, resources.requests or {}) if resources else ({}, {})
    limit = amount_of(limits.get("memory", 0)) / 2
    budget = limit or 2 * amount_of(requests.get("memory") or DEFAULT_MEMORY)
    return max(LEAST, int(min(budget, 2.0**60) / former_bytes(1, servers)))


def over_limit(proxies: Iterable[Proxy], most: int) -> Proxy | None:
    """The proxy with the most former processes, if these are more than so many."""
    found = [(proxy.report.draining, proxy.name, proxy) for proxy in proxies if proxy.is_to_run and proxy.report]
    processes, _, proxy = max(found, default=(0, "", None))
    return proxy if processes > most else None


def leaking_descriptors(proxies: Iterable[Proxy]) -> Proxy | None:
    """A proxy whose HAProxy has lost too many file descriptors."""
    found = (proxy for proxy in proxies if proxy.is_to_run and proxy.report and proxy.report.lost > MOST_LOST)
    return next(found, None)


def processes_text(proxy: Proxy, servers: int) -> str:
    """What a proxy still runs."""
    processes, lost = (proxy.report.draining, proxy.report.lost) if proxy.report else (0, 0)
    memory = former_bytes(processes, servers) // MEBIBYTE
    ended = f", and {lost} open files of ended ones" if lost else ""
    return f"pod {proxy.name} has {processes} HAProxy processes of earlier reloads, with about {memory} MiB{ended}"
