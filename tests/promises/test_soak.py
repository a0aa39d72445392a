"""Promise 9: nothing grows with the number of changes, and nothing of a deleted Kanary is left."""

from __future__ import annotations

import gc
import itertools
import os
import re
import statistics
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from engine.reconcile import Reconciler
from kanary.history.database import Database, open_database
from kanary.history.reader import CHANGE
from kanary.history.retention import Retention, prune
from kanary.history.tables import ENTRIES
from kanary.kube.resources import Key
from tests.haproxy.proxies import free_port
from tests.integration.scene import PROCESSES, Running, Scene, make_operator, routes
from tests.promises.traces import traces
from tests.tables import Table, Tell

Json = dict[str, Any]

IS_FULL = os.environ.get("KANARY_PROMISES") == "full"
pytestmark = pytest.mark.timeout(3600 if IS_FULL else 600)
KANARIES = 200 if IS_FULL else 20
CHANGES = 10_000 if IS_FULL else 1_200
WARM_UP = 0.5
"""The part of the changes after which the slopes are measured: until then, pools and caches fill."""
NAMESPACES = 20 if IS_FULL else 4
MARK = "soaked"
"""In the name of each Kanary, and of nothing else."""
KEPT = 5
"""Weight changes of each Kanary that the history keeps."""
KINDS = ("kanaries", "services", "configmaps", "deployments", "pods", "poddisruptionbudgets")
BOUNDED = ("OrderedDict < Recorder", "OrderedDict < LastStatuses", "LRUCache < dict < Engine")
"""Types that keep what was there last, up to a fixed number."""
LEFT = Table("Promise 9: texts in memory that name a Kanary", ("while 8 exist", "after they were deleted"))
BOUNDS = {"memory": 1.0 if IS_FULL else 10.0, "threads": 0.0, "descriptors": 1.0}
"""Growth per 1,000 changes: MiB, threads and open files. In the short run, caches still fill."""
GROWTH = Table("Promise 9: growth per 1,000 changes", ("of", "at the first sample", "at the last", "slope", "bound"))
WORK = Table(
    "Promise 9: work",
    ("Kanaries", "changes", "seconds", "deleted and created", "queue at the end", "changes in the history", "pruned"),
)


@dataclass(frozen=True, slots=True)
class Sample:
    changes: int
    memory: float
    """MiB that are this process's own."""
    threads: int
    descriptors: int


def sample(pid: int, changes: int) -> Sample:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    memory = sum(int(line.split()[1]) for line in rollup if line.startswith(("Private_Clean", "Private_Dirty")))
    threads, descriptors = (len([*Path(f"/proc/{pid}/{each}").iterdir()]) for each in ("task", "fd"))
    return Sample(changes, memory / 1024, threads, descriptors)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil-Sen: the median of the slopes between any two points, which a few odd ones do not move."""
    return statistics.median((d - b) / (c - a) for (a, b), (c, d) in itertools.combinations(points, 2))


class Soak:
    """Kanaries that change, go and come, in several namespaces."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._store = scene.server.store
        self._numbers = itertools.count()
        self._present: list[Key] = []
        self.replaced = 0
        for backend in ("myapp-v1", "myapp-v2"):
            scene.backend(backend, "10.0.0.1", "10.0.0.2")
            for made in (scene.get("services", backend), scene.get("endpointslices", f"{backend}-1")):
                for number in range(NAMESPACES):
                    self._put(f"team-{number}", made)

    def add(self, count: int) -> None:
        self._present += [self._create() for _ in range(count)]
        self.await_ready()

    def round(self, number: int) -> int:
        """A change of each Kanary: other weights, or another Kanary in its place. Returns their number."""
        for place, key in enumerate(self._present):
            if (place + number) % 10:
                weights = routes(myapp_v1=10 + (number * 7 + place) % 80, myapp_v2=90 - (number * 7 + place) % 80)
                self._change("kanaries", key, lambda kanary, weights=weights: kanary["spec"].update(routes=weights))
            else:
                self._store.delete("kanaries", key.name, key.namespace)
                self._present[place] = self._create()
                self.replaced += 1
        # Each Kanary of a namespace has other endpoints now.
        slice_of = Key(f"team-{number % NAMESPACES}", "myapp-v1-1")
        address = f"10.0.1.{number % 250}"
        self._change("endpointslices", slice_of, lambda found: found["endpoints"][0].update(addresses=[address]))
        self.await_ready()
        return len(self._present)

    def clear(self) -> None:
        for key in self._present:
            self._store.delete("kanaries", key.name, key.namespace)
        self._present.clear()

    def await_ready(self) -> None:
        """Until each Kanary is Ready with the present spec, and its proxies with its present weights."""
        for key in self._present:
            self._scene.wait_for(lambda key=key: self._is_ready(key), lambda key=key: f"{key} is Ready")

    def _is_ready(self, key: Key) -> bool:
        kanary = self._store.get("kanaries", key.name, key.namespace) or {}
        status = kanary.get("status") or {}
        return status.get("phase") == "Ready" and status["observedGeneration"] == kanary["metadata"]["generation"]

    def _create(self) -> Key:
        number = next(self._numbers)
        key = Key(f"team-{number % NAMESPACES}", f"{MARK}-{number}")
        spec = {"destination": key.name, "routes": routes(myapp_v1=50, myapp_v2=50), "proxy": {"replicas": 1}}
        self._put(key.namespace, {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "spec": spec}, key.name)
        return key

    def _put(self, namespace: str, obj: Json | None, name: str = "") -> None:
        metadata = (obj or {}).get("metadata") or {"name": name}
        kept = {key: metadata[key] for key in ("name", "labels") if key in metadata}
        self._store.put({**(obj or {}), "metadata": kept | {"namespace": namespace}})

    def _change(self, resource: str, key: Key, change: Callable[[Json], object]) -> None:
        self._store.change(resource, key.name, change, key.namespace)


def run(kubeconfig: str, agent_port: int, history_url: str, http_port: int) -> None:
    make_operator(kubeconfig, agent_port, history_url=history_url, history_changes=KEPT, http_port=http_port).run()


@contextmanager
def operator(scene: Scene, url: str, http_port: int) -> Iterator[int]:
    """The process of an operator, by its id."""
    arguments = (scene.operators_kubeconfig, scene.agents.port, url, http_port)
    process = PROCESSES.Process(target=run, args=arguments, daemon=True)
    process.start()
    try:
        assert process.pid
        yield process.pid
    finally:
        process.kill()
        process.join()


def depth(http_port: int) -> float:
    """How many Kanaries are in the work queue."""
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/metrics", timeout=60) as page:
        found = re.search(rb"^kanary_queue_depth (\S+)", page.read(), re.MULTILINE)
    assert found
    return float(found[1])


def test_nothing_grows(scene: Scene, tmp_path: Path, tell: Tell) -> None:
    url, port = f"sqlite:///{tmp_path}/history.db", free_port()
    samples: list[Sample] = []
    with operator(scene, url, port) as pid:
        soak, done, began = Soak(scene), 0, time.monotonic()
        soak.add(KANARIES)
        for number in itertools.count(1):
            done += soak.round(number)
            samples.append(sample(pid, done))
            if done >= CHANGES:
                break
        took = time.monotonic() - began
        scene.wait_for(lambda: depth(port) == 0, lambda: f"{depth(port)} Kanaries are in the queue")
        waiting = depth(port)
    tell(WORK, KANARIES, done, round(took), soak.replaced, f"{waiting:g}", *history(url))
    warm = [each for each in samples if each.changes >= WARM_UP * CHANGES]
    for name, bound in BOUNDS.items():
        points = [(each.changes / 1000, float(getattr(each, name))) for each in warm]
        found = slope(points)
        tell(GROWTH, name, f"{points[0][1]:.1f}", f"{points[-1][1]:.1f}", f"{found:.2f}", bound)
        # One thread of a pool that starts late is no growth.
        assert found <= bound or points[-1][1] - points[0][1] <= 1, f"{name}: {points}"


def history(url: str) -> tuple[int, int]:
    """The most weight changes of one Kanary in the history, as recorded and after it was pruned."""
    with closing(open_database(url)) as database:
        before = most_changes(database)
        prune(database, Retention(changes=KEPT), datetime.now(UTC))
        after = most_changes(database)
    assert after <= KEPT
    return before, after


def most_changes(database: Database) -> int:
    counts = sa.select(sa.func.count()).where(ENTRIES.c.kind == CHANGE).group_by(ENTRIES.c.uid).subquery()
    with database.transaction() as connection:
        return int(connection.scalar(sa.select(sa.func.max(counts.c[0]))) or 0)


def test_nothing_of_a_deleted_kanary_is_left_in_memory(scene: Scene, tmp_path: Path, tell: Tell) -> None:
    running = scene.start_operator(history_url=f"sqlite:///{tmp_path}/history.db", leader_election=True)
    soak, uids = Soak(scene), set[str]()
    soak.add(8)
    for number in range(3):
        soak.round(number)
        uids |= {each["metadata"]["uid"] for kind in KINDS for each in scene.server.store.find(kind, is_marked)}
    while_there = len(traces(roots(running), MARK, uids))
    assert while_there
    soak.clear()
    for kind in KINDS:
        scene.wait_for(lambda kind=kind: not scene.server.store.find(kind, is_marked), lambda kind=kind: kind)
    scene.wait_for(lambda: not left(running, uids), lambda: "\n".join(left(running, uids)))
    tell(LEFT, while_there, len(left(running, uids)))


def is_marked(obj: Json) -> bool:
    return MARK in str(obj["metadata"]["name"])


def roots(running: Running) -> list[object]:
    """All else that the operator has belongs to these two. A reconciler is a local variable of its threads."""
    return [running.operator, *(each for each in gc.get_objects() if type(each) is Reconciler)]


def left(running: Running, uids: Set[str]) -> list[str]:
    found = traces(roots(running), MARK, uids)
    return [each for each in found if not any(known in each for known in BOUNDED)]
