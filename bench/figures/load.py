"""Connections per second of a saturated proxy, and the CPU time that each takes."""

from __future__ import annotations

import json
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

_TEXT = f"""
`wrk` opens a connection for each request, {CLIENTS_AT_ONCE} at once, as fast as they are served. CPU is user and
system time of the proxy's processes. Clients and pods use the same cores, so a more expensive proxy differs less in
connections per second than in CPU. If the kernel splits, there is no process whose CPU could be measured.
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
        samples = _samples(session, mix)
        rows = [_row(name, samples) for name in samples]
        header = [
            f"{len(mix.weights)} routes: {mix}",
            "connections/s",
            "ratio",
            "CPU per connection",
            "ratio",
        ]
        parts.append(table(header, rows + session.rows_of_missing(PEERS, len(header))))
        verdicts.append(_verdict(mix, samples))
        failed = {name: sum(s.failed for s in found) for name, found in samples.items()}
        parts += [f"Failed connections: {count} of {name}." for name, count in failed.items() if count]
    header = ["bar", f"connections/s, at least {LEAST_RATE}", f"CPU, at most {MOST_CPU}", "noise: connections/s, CPU"]
    return "\n\n".join([*parts, table(header, verdicts)])


def _samples(session: Session, mix: Mix) -> dict[str, list[Sample]]:
    scale = session.scale
    with session.serving(PEERS, mix) as services:
        rounds = f"{scale.load_rounds} rounds of {len(services)} and {scale.load_rounds_more} of {len(_CLOSE)}"
        say(f"load, {mix}: {rounds} times {scale.load_seconds} s")
        found = in_turns(list(services), scale.load_rounds, lambda name: _sample(session, services[name]))
        close = [peer.name for peer in _CLOSE]
        more = in_turns(close, scale.load_rounds_more, lambda name: _sample(session, services[name]))
    return {name: samples + more.get(name, []) for name, samples in found.items()}


def _sample(session: Session, service: Service) -> Sample:
    seconds = session.scale.load_seconds
    before = cpu_seconds(service.process) if service.process else 0
    said = service.namespace.run(
        session.lab.programs.wrk,
        *("--threads", "1", "--connections", str(CLIENTS_AT_ONCE), "--duration", f"{seconds}s"),
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


def _verdict(mix: Mix, samples: dict[str, list[Sample]]) -> list[str]:
    plain, own, noise = (samples[peer.name] for peer in (PLAIN, KANARY, PLAIN_AGAIN))
    rate, cpu = ratios(_rates(own), _rates(plain)).median, ratios(_cpus(own), _cpus(plain)).median
    noises = ratios(_rates(noise), _rates(plain)).median, ratios(_cpus(noise), _cpus(plain)).median
    return [
        f"Kanary, {len(mix.weights)} routes",
        f"{rate:.2f}: {'met' if round(rate, 2) >= LEAST_RATE else 'missed'}",
        f"{cpu:.2f}: {'met' if round(cpu, 2) <= MOST_CPU else 'missed'}",
        f"{noises[0]:.2f}, {noises[1]:.2f}",
    ]
