"""Measures on a kind cluster how long a change of weights takes: `python -m bench.change CLUSTER [--rounds N]`.

All connections go to one version, then `kubectl patch` moves them to the other, with each strategy in turn.
Writes the last section of docs/performance.md.
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
from bench.stats import Spread, ratios, table
from tests.e2e import operator
from tests.e2e.kind import Cluster
from tests.e2e.kubectl import Kubectl
from tests.e2e.scene import Scene
from tests.e2e.stacks import CLIENT, backend, kanary, route

STRATEGIES = ("Live", "Rolling")
PROXIES = 2
# Rolling takes some 10 s; the rest shows that no later answer comes from the old version.
WATCHED_SECONDS = 25
_CLIENT = Path(__file__).parent / "clients" / "shift.py"

_HOW = f"""
`python -m bench.change` writes this section (`make bench` runs it last, on a kind cluster: {{version}}, one node). A
client in the cluster opens consecutive connections to the destination Service, some hundred per second; `kubectl patch`
moves all weight from one version to the other. {PROXIES} proxies, {{rounds}} changes with each strategy, alternating.
Seconds from the start of `kubectl patch`, which itself takes {{patch}} s.
"""


@dataclass(frozen=True, slots=True)
class Change:
    """Seconds from the start of `kubectl patch`; how many connections failed meanwhile."""

    patched: float
    first_new: float
    last_old: float
    ready: float
    failed: int


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.change", description=__doc__)
    parser.add_argument("cluster", help="name of a kind cluster that runs, with the images in it")
    parser.add_argument("--rounds", type=int, default=10, help="changes with each strategy")
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
    for strategy in STRATEGIES:
        proxy = {"replicas": PROXIES}
        routes = route("app-v1", 100), route("app-v2", 0)
        scene.apply(kanary(strategy.lower(), f"app-{strategy.lower()}", *routes, updateStrategy=strategy, proxy=proxy))
    for strategy in STRATEGIES:
        scene.wait_until_ready(strategy.lower())
    assert scene.client
    changes: dict[str, list[Change]] = {strategy: [] for strategy in STRATEGIES}
    for number in range(rounds):
        for strategy in STRATEGIES:
            change = _change(scene, strategy.lower(), "v2" if number % 2 == 0 else "v1")
            changes[strategy].append(change)
            say(f"{strategy}: {change}")
    return changes


def _change(scene: Scene, name: str, to: str) -> Change:
    script = _CLIENT.read_text()
    arguments = (scene.service_address(f"app-{name}"), "80", str(WATCHED_SECONDS))
    client = scene.kubectl.start("exec", CLIENT, "--", "python3", "-c", script, *arguments)
    assert client.stdout is not None
    client.stdout.readline()
    began = time.time()
    scene.change(name, routes=[route("app-v1", 100 * (to == "v1")), route("app-v2", 100 * (to == "v2"))])
    patched = time.time() - began
    scene.wait_until_ready(name)
    ready = time.time() - began
    output, errors = client.communicate(timeout=2 * WATCHED_SECONDS)
    assert client.returncode == 0, errors
    seen: dict[str, Any] = json.loads(output.splitlines()[-1])
    old = seen[{"v1": "v2", "v2": "v1"}[to]]
    failed = int(seen.get("error", {"count": 0})["count"])
    return Change(patched, seen[to]["first"] - began, old["last"] - began, ready, failed)


def _section(changes: dict[str, list[Change]], version: str) -> str:
    rows = []
    for strategy, measured in changes.items():
        cells = [
            _seconds([getattr(change, field) for change in measured]) for field in ("first_new", "last_old", "ready")
        ]
        rows.append([strategy, *cells, str(sum(change.failed for change in measured))])
    live, rolling = (changes[strategy] for strategy in STRATEGIES)
    by_ratio = [
        str(ratios([getattr(c, field) for c in live], to=[getattr(c, field) for c in rolling]))
        for field in ("first_new", "last_old", "ready")
    ]
    rows.append(["Live / Rolling", *by_ratio, ""])
    header = ["", "first connection at the new split", "last at the old", "Kanary Ready", "connections that failed"]
    everything = [change.patched for measured in changes.values() for change in measured]
    how = _HOW.format(version=version, rounds=len(live), patch=f"{Spread.of(everything).median:.2f}")
    today = f"{datetime.now(UTC):%d %B %Y}".lstrip("0")
    return f"{how.strip()}\n\n{table(header, rows)}\n\nMeasured on {today}."


def _seconds(seconds: list[float]) -> str:
    spread = Spread.of(seconds)
    return f"**{spread.median:.2f} s** ({spread.lower:.2f} to {spread.upper:.2f})"


if __name__ == "__main__":
    main()
