"""Connections per second of a saturated proxy, and the CPU time that each takes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.lab import Service
from bench.mixes import Mix
from bench.namespaces import CLIENTS
from bench.peers import KANARY, PEERS, PLAIN, PLAIN_AGAIN, WITHOUT_KEEPALIVE
from bench.processes import cpu_seconds
from bench.session import Session, in_turns, say
from bench.stats import Spread, figures, ratios, table

CLIENTS_AT_ONCE = 64
LEAST_RATE = 0.95
MOST_CPU = 1.03
_CLOSE = PLAIN, PLAIN_AGAIN, WITHOUT_KEEPALIVE, KANARY
"""Measured in more rounds than the others."""
_AT_ONCE = PLAIN, PLAIN_AGAIN, KANARY
"""Measured at the same time, for the bar of the CPU."""

_TEXT = f"""
`wrk` opens a connection for each request, {CLIENTS_AT_ONCE} at once, as fast as they are served. CPU is user and
system time of the proxy's processes. Clients and pods use the same cores, so a more expensive proxy differs less in
connections per second than in CPU. If the kernel splits, there is no process whose CPU could be measured.

The bar of the CPU has a measurement of its own, because what else runs on the host changes the CPU time of a connection
by some percent from one second to the next: Kanary and both plain configurations are under load in the same seconds,
each with {CLIENTS_AT_ONCE // len(_AT_ONCE)} connections at once, and share cores and caches. Each second gives one
ratio, and their median decides.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one stretch of load."""

    rate: float
    cpu: float | None
    """Microseconds for each connection."""
    failed: int


def measure(session: Session) -> str:
    """The section."""
    parts = [_TEXT.strip()]
    verdicts = []
    for mix in session.scale.load_mixes:
        samples, at_once = _samples(session, mix)
        rows = [_row(name, samples) for name in samples]
        header = [
            f"{len(mix.weights)} routes: {mix}",
            "connections/s",
            "ratio",
            "CPU per connection",
            "ratio",
        ]
        parts.append(table(header, rows + session.rows_of_missing(PEERS, len(header))))
        verdicts.append(_verdict(mix, samples, at_once))
        failed = {name: sum(s.failed for s in found + at_once.get(name, [])) for name, found in samples.items()}
        parts += [f"Failed connections: {count} of {name}." for name, count in failed.items() if count]
    header = [
        "bar",
        f"connections/s, at least {LEAST_RATE}",
        "noise",
        f"CPU in the same seconds, at most {MOST_CPU}",
        "noise",
    ]
    return "\n\n".join([*parts, table(header, verdicts)])


def _samples(session: Session, mix: Mix) -> tuple[dict[str, list[Sample]], dict[str, list[Sample]]]:
    """The samples of all peers, each alone, and those of _AT_ONCE in the same seconds."""
    scale = session.scale
    with session.serving(PEERS, mix) as services:
        rounds = f"{scale.load_rounds} rounds of {len(services)} and {scale.load_rounds_more} of {len(_CLOSE)}"
        rounds += f", {scale.load_rounds_at_once} of {len(_AT_ONCE)} at once"
        say(f"load, {mix}: {rounds}, {scale.load_seconds} s each")
        found = in_turns(list(services), scale.load_rounds, lambda name: _sample(session, services[name]))
        close = [peer.name for peer in _CLOSE]
        more = in_turns(close, scale.load_rounds_more, lambda name: _sample(session, services[name]))
        at_once = _samples_at_once(session, {peer.name: services[peer.name] for peer in _AT_ONCE})
    return {name: samples + more.get(name, []) for name, samples in found.items()}, at_once


def _samples_at_once(session: Session, services: dict[str, Service]) -> dict[str, list[Sample]]:
    clients = CLIENTS_AT_ONCE // len(services)
    found: dict[str, list[Sample]] = {name: [] for name in services}
    with ThreadPoolExecutor(len(services)) as threads:
        for _ in range(session.scale.load_rounds_at_once):
            samples = threads.map(lambda service: _sample(session, service, clients), services.values())
            for name, sample in zip(services, samples, strict=True):
                found[name].append(sample)
    return found


def _sample(session: Session, service: Service, clients: int = CLIENTS_AT_ONCE) -> Sample:
    before = cpu_seconds(service.process) if service.process else 0
    said = service.namespace.run(
        session.lab.programs.wrk,
        *("--threads", "1", "--connections", str(clients), "--duration", f"{session.scale.load_seconds}s"),
        *("--script", CLIENTS / "wrk.lua", f"http://127.0.0.1:{service.port}/"),
    )
    found = json.loads(said.splitlines()[-1])
    rate = found["connections"] / found["seconds"]
    cpu = (cpu_seconds(service.process) - before) / found["connections"] * 1e6 if service.process else None
    return Sample(rate, cpu, found["failed"])


def _rates(samples: list[Sample]) -> list[float]:
    return [sample.rate for sample in samples]


def _cpus(samples: list[Sample]) -> list[float]:
    return [sample.cpu for sample in samples if sample.cpu is not None]


def _row(name: str, samples: dict[str, list[Sample]]) -> list[str]:
    own, is_plain = samples[name], name == PLAIN.name
    plain = samples[PLAIN.name][: len(own)]
    row = [name, figures(Spread.of(_rates(own)).median), "1" if is_plain else str(ratios(_rates(own), _rates(plain)))]
    if not _cpus(own):
        return [*row, "in the kernel", ""]
    ratio = "1" if is_plain else str(ratios(_cpus(own), _cpus(plain)))
    return [*row, f"{figures(Spread.of(_cpus(own)).median)} µs", ratio]


def _verdict(mix: Mix, samples: dict[str, list[Sample]], at_once: dict[str, list[Sample]]) -> list[str]:
    plain, own, noise = (_rates(samples[peer.name]) for peer in (PLAIN, KANARY, PLAIN_AGAIN))
    plain_cpus, own_cpus, noise_cpus = (_cpus(at_once[peer.name]) for peer in (PLAIN, KANARY, PLAIN_AGAIN))
    rate, cpu = ratios(own, plain), ratios(own_cpus, plain_cpus)
    return [
        f"Kanary, {len(mix.weights)} routes",
        f"{rate}: {'met' if round(rate.median, 2) >= LEAST_RATE else 'missed'}",
        str(ratios(noise, plain)),
        f"{cpu}: {'met' if round(cpu.median, 2) <= MOST_CPU else 'missed'}",
        str(ratios(noise_cpus, plain_cpus)),
    ]
