"""Time from connect to the first byte, at a rate that leaves the machine idle for most of the time."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import quantiles

from bench.lab import Service
from bench.mixes import THREE
from bench.peers import KANARY, PEERS, PLAIN, PLAIN_AGAIN
from bench.session import Session, in_turns, say
from bench.stats import Spread, figures, ratios, table

RATE = 500
MOST_P50 = 1.05

_TEXT = f"""
{RATE} connections per second at a fixed rate, independent of earlier ones; from connect to the first byte of
the pod's answer, in milliseconds, including the client's and the pod's own time. {THREE}. The median
of the rounds.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one stretch, in milliseconds."""

    p50: float
    p99: float
    failed: int


def measure(session: Session) -> str:
    """The section."""
    scale = session.scale
    with session.serving(PEERS, THREE) as services:
        say(f"pace: {scale.pace_rounds} rounds of {len(services)} times {scale.pace_seconds} s")
        samples = in_turns(list(services), scale.pace_rounds, lambda name: _sample(session, services[name]))
    header = ["connect and first byte", "p50, ms", "ratio", "p99, ms", "ratio"]
    rows = [_row(name, samples) for name in samples]
    failed = {name: sum(s.failed for s in found) for name, found in samples.items()}
    notes = [f"Failed connections: {count} of {name}." for name, count in failed.items() if count]
    measured = table(header, rows + session.rows_of_missing(PEERS, len(header)))
    return "\n\n".join([_TEXT.strip(), measured, _verdict(samples), *notes])


def _sample(session: Session, service: Service) -> Sample:
    found = service.namespace.client("pace", service.port, RATE, session.scale.pace_seconds)
    hundredths = quantiles(found["milliseconds"], n=100)
    return Sample(hundredths[49], hundredths[98], found["failed"])


def _verdict(samples: dict[str, list[Sample]]) -> str:
    plain, own, noise = ([sample.p50 for sample in samples[peer.name]] for peer in (PLAIN, KANARY, PLAIN_AGAIN))
    found, noises = ratios(own, plain).median, ratios(noise, plain).median
    verdict = "met" if round(found, 2) <= MOST_P50 else "missed"
    return table(["bar", f"p50, at most {MOST_P50}", "noise"], [["Kanary", f"{found:.2f}: {verdict}", f"{noises:.2f}"]])


def _row(name: str, samples: dict[str, list[Sample]]) -> list[str]:
    own, plain = samples[name], samples[PLAIN.name]
    row = [name]
    for numbers, base in (
        ([s.p50 for s in own], [s.p50 for s in plain]),
        ([s.p99 for s in own], [s.p99 for s in plain]),
    ):
        row += [figures(Spread.of(numbers).median), "1" if name == PLAIN.name else str(ratios(numbers, base))]
    return row
