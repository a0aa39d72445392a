"""Promise 1: an operator may be killed at any point while users change things: the next one leaves nothing out."""

from __future__ import annotations

import fcntl
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from engine.model.commands import PROMOTE
from tests.apiserver import Fault
from tests.history.postgres import Server, running
from tests.integration.scene import NAMESPACE, Scene, routes
from tests.promises.crashes import Onlooker, Trap, history_of, run_with_trap
from tests.tables import Table, Tell

IS_FULL = os.environ.get("KANARY_PROMISES") == "full"
pytestmark = pytest.mark.timeout(3600 if IS_FULL else 600)
CRASHES = Table(
    "Promise 1: crash anywhere (SIGKILL of the operator's process at one point after another; while it is down, users "
    "in turn change weights, change them and back, begin a rollout by steps, change only the rest of the spec, delete "
    "and create the Kanary, and change nothing)",
    (
        "killed",
        "times",
        "changes while down",
        "revisions served",
        "recorded",
        "missing",
        "other entries missing of Kanaries deleted while down",
        "twice",
        "wrong",
        "leaked",
    ),
)
EDITS = Table(
    "Promise 1: edits alone (no fault; an edit follows the former one after 0 to 40 ms)",
    ("strategy", "edits", "revisions served", "recorded", "missing", "twice", "wrong"),
)
NO_WATCH = "^(?!.*watch=)"
STEPS = [{"to": 50, "until": "Promoted"}, {"to": 100, "until": "Promoted"}]
KINDS = ("configmaps", "services", "deployments", "poddisruptionbudgets", "secrets")
"""What an operator creates."""


@dataclass
class Life:
    """A Kanary, its users, and the operator that is killed again and again."""

    scene: Scene
    temporary: Path
    trap: Trap = field(default_factory=Trap)
    weight: int = 100
    process: BaseProcess | None = None
    kills: int = 0
    down: int = 0
    """How many times users have changed something while no operator ran."""
    deleted: set[str] = field(default_factory=set)

    def declare(self, weight: int | None = None, **more: Any) -> None:
        self.weight = (self.weight + 37) % 101 if weight is None else weight
        spec = {"destination": "myapp", "routes": routes(myapp_v1=self.weight, myapp_v2=100 - self.weight), **more}
        if self.scene.kanary() is None:
            self.scene.declare(**spec)
        else:
            self.scene.server.store.change("kanaries", "rule", lambda kanary: kanary.update(spec=spec), NAMESPACE)

    def start(self, points: int | None = None) -> None:
        """Start an operator, which dies after so many points if there are as many."""
        self.trap.clear() if points is None else self.trap.set(points)
        self.process = self.scene.start_process(run_with_trap, self.trap, str(self.temporary))

    def is_dead(self) -> bool:
        return self.process is not None and self.process.exitcode is not None

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.join()

    def is_settled(self) -> bool:
        """Whether every proxy serves what is declared, or a step that waits, and the history has all of it."""
        kanary = self.scene.kanary()
        assert kanary
        status = kanary.get("status") or {}
        if status.get("observedGeneration") != kanary["metadata"]["generation"]:
            return False
        is_served = status["phase"] == "Ready" or self.waits_for_promotion()
        split = status.get("split") or {}
        if not is_served or split.get("revision") != status.get("revision"):
            return False
        recorded = history_of(self.scene.history_url).get(kanary["metadata"]["uid"], ())
        return len(recorded) == status["history"]["last"]

    def waits_for_promotion(self) -> bool:
        """In a step that nobody has promoted yet."""
        rollout = self.scene.status().get("rollout") or {}
        return rollout.get("reason") == "WaitingForPromotion" and self.order(rollout) != self.last_order()

    def last_order(self) -> str:
        kanary = self.scene.kanary()
        assert kanary
        return str((kanary["metadata"].get("annotations") or {}).get(PROMOTE, ""))

    def order(self, rollout: Any) -> str:
        return json.dumps({"rollout": rollout["number"], "step": rollout["step"]})

    def settle(self) -> None:
        self.scene.wait_for(self.is_settled, lambda: str(self.scene.status()))

    def change(self) -> None:
        """A change by which the operator is killed: of weights, or the promotion of a step."""
        if self.waits_for_promotion():
            self.promote()
        else:
            self.declare()

    def promote(self) -> None:
        order = self.order(self.scene.status()["rollout"])

        def give(kanary: Any) -> None:
            kanary["metadata"].setdefault("annotations", {})[PROMOTE] = order

        self.scene.server.store.change("kanaries", "rule", give, NAMESPACE)

    def change_while_down(self) -> None:
        kinds: list[Callable[[], None]] = [
            self.declare,
            self.back_and_forth,
            lambda: self.declare(rollout={"steps": STEPS}),
            lambda: self.declare(self.weight, progressDeadlineSeconds=601 + self.kills),
            self.delete_and_create,
            lambda: None,
        ]
        kinds[self.down % len(kinds)]()
        self.down += 1

    def back_and_forth(self) -> None:
        former = self.weight
        self.declare()
        self.declare(former)

    def delete_and_create(self) -> None:
        kanary = self.scene.kanary()
        assert kanary
        self.deleted.add(kanary["metadata"]["uid"])
        self.scene.server.store.delete("kanaries", "rule", NAMESPACE)
        self.declare()

    def objects(self) -> set[str]:
        store = self.scene.server.store
        return {f"{kind} {obj['metadata']['name']}" for kind in KINDS for obj in store.list(kind, NAMESPACE)}

    def recover(self) -> None:
        """After the operator was killed: users change things, and another one is started."""
        self.change_while_down()
        self.start()
        self.settle()

    # Each of these kills the operator at each `step`th point from the `first` one on, until there are no more.

    def killed_at_requests(self, first: int, step: int, *, after_write: bool, at_start: bool) -> None:
        for skip in count(first, step):
            if at_start:
                self.kill()
            stopped = self.scene.server.faults.add(Fault.hang(path=NO_WATCH, skip=skip, after_write=after_write))
            if at_start:
                self.change_while_down()
                self.start()
            else:
                self.change()
            self.scene.wait_for(lambda: stopped.hits or self.is_settled(), lambda: str(self.scene.status()))  # noqa: B023
            if not stopped.hits:
                self.scene.server.faults.remove(stopped)
                return
            self.kill()
            self.scene.server.faults.remove(stopped)
            self.kills += 1
            self.recover()

    def killed_at_statements(self, first: int, step: int, *, at_start: bool) -> None:
        for points in count(first, step):
            if at_start:
                self.kill()
                self.change_while_down()
                self.start(points)
            else:
                self.trap.set(points)
                self.change()
            self.scene.wait_for(lambda: self.is_dead() or self.is_settled(), lambda: str(self.scene.status()))
            self.trap.clear()
            if not self.is_dead():
                return
            self.kills += 1
            self.recover()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        (tmp_path / "history").mkdir()
        return f"sqlite:///{tmp_path}/history/history.db"
    server: Server = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def life(scene: Scene, url: str, tmp_path: Path) -> Life:
    """An operator that has created what a Kanary needs."""
    scene.history_url = url
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return Life(scene, temporary)


Kill = Callable[[Life, int], None]
"""In this round."""
STRIDE = 1 if IS_FULL else 3
ROUNDS = 3 if IS_FULL else 2
"""Each time, users change something else while the operator is down. All rounds of a full run together try every point:
each one begins one point later, and those of requests of the start try them before and after."""
POINTS: dict[str, tuple[str, Kill]] = {
    "before a request": ("sqlite", lambda life, _: life.killed_at_requests(0, 1, after_write=False, at_start=False)),
    "after a request": ("sqlite", lambda life, _: life.killed_at_requests(0, 1, after_write=True, at_start=False)),
    "at a request of the start": (
        "sqlite",
        lambda life, n: life.killed_at_requests(n % STRIDE, STRIDE, after_write=n % 2 == 1, at_start=True),
    ),
    "at a statement or commit (SQLite)": (
        "sqlite",
        lambda life, n: life.killed_at_statements(n % STRIDE, STRIDE, at_start=False),
    ),
    "at a statement of the start (SQLite)": (
        "sqlite",
        lambda life, n: life.killed_at_statements(n, 3 * STRIDE, at_start=True),
    ),
    "at a statement or commit (PostgreSQL)": (
        "postgresql",
        lambda life, n: life.killed_at_statements(n, 2 * STRIDE, at_start=False),
    ),
}


@pytest.mark.parametrize(
    ("where", "url"), [(where, kind) for where, (kind, _) in POINTS.items()], indirect=["url"], ids=[*POINTS]
)
def test_killed_anywhere_nothing_that_was_served_is_missing(life: Life, where: str, url: str, tell: Tell) -> None:
    onlooker = Onlooker(life.scene)
    life.declare()
    life.start()
    life.settle()
    expected = life.objects()
    _, kill = POINTS[where]
    for number in range(ROUNDS):
        kill(life, number)
    if life.waits_for_promotion():
        life.declare()
    life.settle()
    life.scene.wait_for(lambda: life.objects() == expected, lambda: f"{life.objects() ^ expected}")
    life.kill()
    leaked = [path.name for path in life.temporary.iterdir()]
    if url.startswith("sqlite"):
        leaked += leaked_beside(Path(url.removeprefix("sqlite:///")))
    onlooker.stop()
    account = onlooker.account(url, life.deleted)
    tell(
        CRASHES,
        where,
        life.kills,
        life.down,
        account.served,
        account.recorded,
        sum(" revision " in each for each in account.missing),
        len(account.gone),
        account.twice,
        len(account.wrong),
        len(leaked),
    )
    assert life.kills >= 3
    assert (account.missing, account.twice, account.wrong, leaked) == ([], 0, [], [])


def leaked_beside(path: Path) -> list[str]:
    """Files that do not belong to the database, and the lock if it is still held."""
    own = {path.name, *(f"{path.name}{suffix}" for suffix in ("-wal", "-shm", ".lock"))}
    leaked = [found.name for found in path.parent.iterdir() if found.name not in own]
    with path.with_name(f"{path.name}.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return leaked


@pytest.mark.parametrize("strategy", ["Live", "Rolling"])
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_edits_alone_leave_nothing_out(life: Life, strategy: str, url: str, tell: Tell) -> None:
    chance = random.Random(14)
    onlooker = Onlooker(life.scene)
    life.declare(updateStrategy=strategy)
    life.start()
    life.settle()
    edits = 1000 if IS_FULL else 150
    for number in range(edits):
        if number == edits // 2:
            # A busy machine may take longer for one than all these edits.
            life.scene.wait_for(lambda: onlooker.revisions > 1)
        life.declare(chance.randrange(101), updateStrategy=strategy)
        time.sleep(chance.uniform(0, 0.04))  # it is when edits come that is tried
    life.settle()
    life.kill()
    onlooker.stop()
    found = onlooker.account(url)
    missing, wrong = len(found.missing), len(found.wrong)
    tell(EDITS, strategy, edits, found.served, found.recorded, missing, found.twice, wrong)
    assert found.served >= 3
    assert (found.missing, found.twice, found.wrong) == ([], 0, [])
