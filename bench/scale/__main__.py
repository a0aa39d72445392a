"""Measures what many Kanaries cost: `python -m bench.scale [--kanaries N ...] [--only PART ...] [--write]`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.namespaces import Namespace, namespace
from bench.programs import ROOT
from bench.report import REPORT, put
from bench.scale import rows
from bench.scale.parts import ALONE, PARTS
from bench.scale.plan import Plan
from bench.session import say

SECTION = "scale"
_KOPF = "1.45.2"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kanary-e2e"
_HOW = """
`python -m bench.scale --write` writes this section, on Debian as root. The API server is that of `tests/modern`; a
program plays controllers, nodes and agents on the same machine. Each Kanary has two routes with ten pods each, two
proxies, and the strategy Live. A quarter of the proxies has had 137 connections a second to each route for 4 to 7
hours, and reports the counts as the real agent does. CPU and memory are those of the process `kanary run`; writes are
those that the API server counted. An event that the engine does not read changes an annotation; one that it reads, and
that has no effect, is an order to a rollout that is not under way. In the same run, an operator of kopf {kopf} with an
empty handler receives the first kind. Each event is about another Kanary than the one before.
"""


def main() -> None:
    """Measure, print the tables, and write them if requested."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--kanaries", type=int, nargs="+", default=[1_000], metavar="N", help="numbers of Kanaries")
    choices = [*PARTS, *ALONE]
    parser.add_argument("--only", nargs="+", choices=choices, default=choices, metavar="PART", help=str(choices))
    parser.add_argument("--seconds", type=float, default=60, help="how long to measure what takes any time")
    parser.add_argument("--changes", type=int, default=5_000, help="changes of weights that memory is measured over")
    parser.add_argument("--write", action="store_true", help="write the section of docs/performance.md")
    parser.add_argument("--reuse", action="store_true", help="start with the Kanaries that an earlier run has stored")
    options = parser.parse_args()
    parts, alone = ([name for name in options.only if name in names] for names in (PARTS, ALONE))
    plan = Plan(_api_server(), _kopf(), 0, alone, options.seconds, options.changes, stored="")
    tables = []
    with namespace() as inside:
        if parts:
            measured = {}
            for count in options.kanaries:
                stored = str(_CACHE / f"scale-{count}") if options.reuse else ""
                measured[count] = _measured(inside, replace(plan, kanaries=count, parts=parts, stored=stored))
            tables.append(rows.many(measured))
        if alone:
            tables.append(rows.one(_measured(inside, plan)))
    text = "\n\n".join(tables)
    print(text)
    if options.write:
        today = f"{datetime.now(UTC):%d %B %Y}".lstrip("0")
        put(REPORT, SECTION, f"{_HOW.strip().format(kopf=_KOPF)}\n\n{text}\n\nMeasured on {today}.")


def _api_server() -> str:
    """The folder of the API server and etcd, which are compiled first if necessary."""
    made = subprocess.run([ROOT / "tests/e2e/cluster/modern-apiserver"], check=True, stdout=subprocess.PIPE, text=True)
    return made.stdout.strip()


def _kopf() -> str:
    """The program of kopf, in a virtual environment of its own."""
    folder = _CACHE / f"kopf-{_KOPF}"
    if not (folder / "bin" / "kopf").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", f"kopf=={_KOPF}"], check=True)
    return str(folder / "bin" / "kopf")


def _measured(inside: Namespace, plan: Plan) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.scale.inside", plan.to_json()]
    found: dict[str, float] = {}
    with inside.start(*command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            name, value = json.loads(line)
            found[name] = value
            say(f"{name}: {value:.3f}")
    if process.returncode:
        raise SystemExit(f"measuring {plan.kanaries} Kanaries failed: exit code {process.returncode}")
    return found


if __name__ == "__main__":
    main()
