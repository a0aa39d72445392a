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
`make bench` writes this file (on Debian, as root), but for the last section. Everything runs on one machine, on
loopback in network namespaces of its own. What is compared runs in turns, round after round, in another order each
time. Clients, proxies and pods share the machine's cores, so only ratios mean anything: each is against the plain
configuration in the same round, and told as **median** (lower to upper quartile). **The plain configuration takes
part twice: its ratio to itself shows the noise.**

All proxies have two threads (nginx: two workers). "HAProxy, plain round robin" is written by hand, knows no
weights, and has Kanary's timeouts and health checks: it is the limit. Kanary's configuration is what the operator
writes with its defaults. HAProxy runs without its master process, which carries no traffic. The pods are one nginx
that answers at all of their addresses.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure Kanary's data plane beside its peers."
    )
    parser.add_argument("--quick", action="store_true", help="little of everything, and only print it")
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
    """Each section as soon as it is there: what comes later cannot lose it."""
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
