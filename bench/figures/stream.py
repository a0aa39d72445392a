"""Throughput of one long stream."""

from __future__ import annotations

import contextlib
import json
import subprocess
from dataclasses import dataclass

from bench.lab import STREAM_PORT, Service, running
from bench.mixes import TWO
from bench.peers import PEERS, PLAIN, Peer
from bench.processes import cpu_seconds
from bench.session import Session, in_turns, say
from bench.stats import Spread, figures, ratios, table

_ATTEMPTS = 10

_TEXT = """
One connection of `iperf3` through the proxy, from client to pod. After the choice of a route, the split has no
influence on the stream.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one stream."""

    gigabits: float
    """Per second."""
    cpu: float | None
    """Milliseconds for each gigabit."""


def measure(session: Session) -> str:
    """The section."""
    scale = session.scale
    with contextlib.ExitStack() as stack:
        for room in ("proxies", "iptables", "ipvs"):
            inside = session.lab.room(room).namespace
            server = [session.lab.programs.iperf3, "--server", "--port", str(STREAM_PORT)]
            # It reports an error for each health check.
            stack.enter_context(running(inside, server, silent=True))
        say(f"stream: {scale.stream_rounds} rounds of {len(session.available(PEERS))} times {scale.stream_seconds} s")
        samples = in_turns(session.available(PEERS), scale.stream_rounds, lambda peer: _sample(session, peer))
    named = {peer.name: found for peer, found in samples.items()}
    header = ["one stream", "Gbit/s", "ratio", "CPU per Gbit", "ratio"]
    rows = [_row(name, named) for name in named]
    return f"{_TEXT.strip()}\n\n{table(header, rows + session.rows_of_missing(PEERS, len(header)))}"


def _sample(session: Session, peer: Peer) -> Sample:
    # Alone: the health checks of the others would knock at the one door that iperf3 has.
    with peer.serve(session.lab, TWO, STREAM_PORT) as service:
        before = cpu_seconds(service.process) if service.process else 0
        gigabits, seconds = _stream(session, service)
        after = cpu_seconds(service.process) if service.process else 0
    return Sample(gigabits / seconds, (after - before) / gigabits * 1000 if service.process else None)


def _stream(session: Session, service: Service) -> tuple[float, float]:
    """Gigabits, and the seconds that they took.

    Retries if a health check came between the two connections that start a stream: iperf3 fails, or reports nothing.
    """
    command = [session.lab.programs.iperf3, "--client", "127.0.0.1", "--port", str(service.port), "--json"]
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(subprocess.CalledProcessError, KeyError):
            said = service.namespace.run(*command, "--time", str(session.scale.stream_seconds))
            total = json.loads(said)["end"]["sum_received"]
            return total["bytes"] * 8 / 1e9, total["seconds"]
    raise RuntimeError(f"iperf3 did not get through in {_ATTEMPTS} attempts")


def _row(name: str, samples: dict[str, list[Sample]]) -> list[str]:
    own, plain = samples[name], samples[PLAIN.name]
    rates, base = [sample.gigabits for sample in own], [sample.gigabits for sample in plain]
    cpus, cpu_base = ([s.cpu for s in found if s.cpu is not None] for found in (own, plain))
    is_plain = name == PLAIN.name
    row = [name, figures(Spread.of(rates).median), "1" if is_plain else str(ratios(rates, base))]
    if not cpus:
        return [*row, "in the kernel", ""]
    return [*row, f"{figures(Spread.of(cpus).median)} ms", "1" if is_plain else str(ratios(cpus, cpu_base))]
