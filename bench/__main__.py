"""Measures and writes docs/performance.md: `python -m bench [--quick] [--only NAME ...] [--output FILE]`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import machine
from bench.figures import FIGURES
from bench.lab import Lab
from bench.peers import PEERS
from bench.programs import Programs, programs
from bench.report import REPORT, TITLES, put
from bench.session import FULL, QUICK, Session, say
from bench.stats import table

_HOW = """
`make bench` writes this file (on Debian, as root). Everything except the last section runs on one machine, on
loopback in separate network namespaces. The candidates run one after the other in each round, in a random order.
Clients, proxies and pods share the machine's cores, so only ratios are meaningful: each compares a candidate with the
plain configuration in the same round, as **median** (lower to upper quartile). **The plain configuration takes part
twice: its ratio to itself shows the noise.**

All proxies have two threads (nginx: two workers). "HAProxy, plain round robin" is a manual configuration without
weights, with Kanary's time-outs, health checks and TCP keepalive: it is the upper limit. Kanary's configuration is that
of the operator with its defaults, and the namespaces have the kernel parameters of its pods. HAProxy runs without its
master process, which carries no traffic. The pods are one nginx that listens on all of their addresses.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the selected sections."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure Kanary's data plane against its peers."
    )
    parser.add_argument("--quick", action="store_true", help="measure little, and only print the result")
    parser.add_argument(
        "--only", nargs="+", choices=FIGURES, default=list(FIGURES), metavar="NAME", help=str([*FIGURES])
    )
    parser.add_argument("--output", type=Path, help="the file to write, instead of docs/performance.md")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    began = time.monotonic()
    for name, markdown in _measured(options.only, quick=options.quick):
        if options.quick and options.output is None:
            print(f"## {TITLES[name]}\n\n{markdown}\n")
        else:
            put(options.output or REPORT, name, markdown)
    say(f"done in {time.monotonic() - began:.0f} s")


def _measured(names: Sequence[str], quick: bool) -> Iterator[tuple[str, str]]:
    """Each section as soon as it is measured, so that a later failure does not lose it."""
    taking_part = programs()
    yield "how", f"{_HOW.strip()}\n\n{_machine(taking_part)}"
    with Lab(taking_part) as lab:
        session = Session(lab, QUICK if quick else FULL)
        session.probe(PEERS)
        for name in names:
            yield name, f"{FIGURES[name](session)}\n\nMeasured on {_today()}."


def _today() -> str:
    return f"{datetime.now(UTC):%d %B %Y}".lstrip("0")


def _machine(taking_part: Programs) -> str:
    facts = {"date": _today(), **machine.describe(), **taking_part.versions()}
    return table(["", ""], [[name, value] for name, value in facts.items()])


if __name__ == "__main__":
    main()
