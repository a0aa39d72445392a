"""Measures on a kind cluster how long a change of weights takes: `python -m bench.change CLUSTER [--rounds N]`.

All connections go to one version, then `kubectl apply` moves them to the other, with each strategy. Writes the last
section of docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.report import REPORT, put
from bench.session import say
from bench.stats import Spread, table
from tests.e2e import operator
from tests.e2e.kind import Cluster
from tests.e2e.kubectl import Kubectl, Manifest
from tests.e2e.scene import Scene
from tests.e2e.stacks import CLIENT, backend, kanary, route

PROXIES = 2
MOST_SECONDS = 0.5
# Rolling takes some 10 s; the rest shows that no later answer comes from the old version.
WATCHED_SECONDS = {"Live": 7, "Rolling": 25}
_CLIENT = Path(__file__).parent / "clients" / "shift.py"

_HOW = f"""
`python -m bench.change` writes this section (`make bench` runs it last, on a kind cluster: {{version}}, one node). A
client in the cluster opens consecutive connections to the destination Service of {PROXIES} proxies, some hundred per
second; `kubectl apply` moves all weight from one version to the other. Seconds from the start of `kubectl apply`, which
itself takes {{applied}} s. Every proxy has the new split when the last connection at the old one has been opened.
"""


@dataclass(frozen=True, slots=True)
class Change:
    """Seconds from the start of `kubectl apply`; how many connections failed meanwhile."""

    applied: float
    first_new: float
    last_old: float
    ready: float
    failed: int


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.change", description=__doc__)
    parser.add_argument("cluster", help="name of a kind cluster that runs, with the images in it")
    parser.add_argument("--rounds", type=int, default=10, help="changes with Live; a third as many with Rolling")
    options = parser.parse_args()
    kubectl = Cluster(options.cluster).client()
    operator.install(kubectl)
    with _namespace(kubectl) as scene:
        changes = _measure(scene, options.rounds)
    version = json.loads(kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    put(REPORT, "change", _section(changes, version))


@contextmanager
def _namespace(kubectl: Kubectl) -> Iterator[Scene]:
    name = f"bench-{uuid.uuid4().hex[:6]}"
    kubectl("create", "namespace", name)
    try:
        yield Scene(kubectl, name)
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def _measure(scene: Scene, rounds: int) -> dict[str, list[Change]]:
    scene.apply(*backend("app-v1", "v1"), *backend("app-v2", "v2"))
    for strategy in WATCHED_SECONDS:
        scene.apply(_manifest(strategy, "v1"))
    for strategy in WATCHED_SECONDS:
        scene.wait_until_ready(strategy.lower())
    assert scene.client
    counts = {"Live": rounds, "Rolling": max(1, rounds // 3)}
    return {
        strategy: [_change(scene, strategy, "v2" if number % 2 == 0 else "v1") for number in range(count)]
        for strategy, count in counts.items()
    }


def _manifest(strategy: str, to: str) -> Manifest:
    """The Kanary with all weight on one version."""
    routes = [route(f"app-{version}", 100 * (version == to)) for version in ("v1", "v2")]
    name, proxy = strategy.lower(), {"replicas": PROXIES}
    return kanary(name, f"app-{name}", *routes, updateStrategy=strategy, proxy=proxy)


def _change(scene: Scene, strategy: str, to: str) -> Change:
    script, name, seconds = _CLIENT.read_text(), strategy.lower(), WATCHED_SECONDS[strategy]
    arguments = (scene.service_address(f"app-{name}"), "80", str(seconds))
    client = scene.kubectl.start("exec", CLIENT, "--", "python3", "-c", script, *arguments)
    assert client.stdout is not None
    client.stdout.readline()
    began = time.time()
    scene.apply(_manifest(strategy, to))
    applied = time.time() - began
    scene.wait_until_ready(name)
    ready = time.time() - began
    output, errors = client.communicate(timeout=2 * seconds + 60)
    assert client.returncode == 0, errors
    seen: dict[str, Any] = json.loads(output.splitlines()[-1])
    old = seen[{"v1": "v2", "v2": "v1"}[to]]
    failed = int(seen.get("error", {"count": 0})["count"])
    change = Change(applied, seen[to]["first"] - began, old["last"] - began, ready, failed)
    say(f"{strategy}: {change}")
    return change


def _section(changes: dict[str, list[Change]], version: str) -> str:
    measured = {
        strategy: [Spread.of([getattr(each, field) for each in found]) for field in ("first_new", "last_old", "ready")]
        for strategy, found in changes.items()
    }
    rows = [
        [strategy, str(len(found)), *map(_seconds, measured[strategy]), str(sum(each.failed for each in found))]
        for strategy, found in changes.items()
    ]
    header = ["", "changes", "first connection at the new split", "new split on every proxy", "Kanary Ready", "failed"]
    live = measured["Live"][1].median
    verdict = "met" if round(live, 2) <= MOST_SECONDS else "missed"
    bar = table(["bar", f"new split on every proxy, at most {MOST_SECONDS} s"], [["Live", f"{live:.2f} s: {verdict}"]])
    applied = Spread.of([each.applied for found in changes.values() for each in found]).median
    how = _HOW.format(version=version, applied=f"{applied:.2f}").strip()
    today = f"{datetime.now(UTC):%d %B %Y}".lstrip("0")
    return f"{how}\n\n{table(header, rows)}\n\n{bar}\n\nMeasured on {today}."


def _seconds(spread: Spread) -> str:
    return f"**{spread.median:.2f} s** ({spread.lower:.2f} to {spread.upper:.2f})"


if __name__ == "__main__":
    main()
