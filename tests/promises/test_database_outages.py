"""Promise 4: the real operator with a database that hangs, is slow or gone: changes arrive, and the history has all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from statistics import median

import pytest

from engine.model.entries import WeightChange
from engine.model.states import applied_in
from states.timing import HISTORY_WRITE_LIMIT
from tests.history.postgres import Server, name_of, running
from tests.integration.scene import NAMESPACE, Scene, routes
from tests.promises.crashes import history_of
from tests.tables import Table, Tell
from tests.waiting import PATIENCE

OUTAGES = Table(
    "Promise 4: changes of weights while PostgreSQL is away or slow (the operator in a process of its own)",
    ("the database", "changes", "median ms", "before the fault", "slowest ms", "before the fault", "missing", "twice"),
)
CHANGES = 20
SLOW_SECONDS = 0.3


@pytest.fixture
def postgres() -> Iterator[Server]:
    with running() as server:
        yield server


def stopped(server: Server, _url: str) -> AbstractContextManager[None]:
    return server.paused()


@contextmanager
def killed(server: Server, _url: str) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def slow(server: Server, url: str) -> Iterator[None]:
    """Each write of entries takes this long."""
    with server.connect(name_of(url)) as connection:
        wait = f"BEGIN PERFORM pg_sleep({SLOW_SECONDS}); RETURN NULL; END"
        connection.execute(f"CREATE FUNCTION delay() RETURNS trigger LANGUAGE plpgsql AS '{wait}'")
        connection.execute("CREATE TRIGGER delay BEFORE INSERT ON entries EXECUTE FUNCTION delay()")
        yield
        connection.execute("DROP TRIGGER delay ON entries")


OUTAGE = {"stopped": stopped, "killed": killed, f"{SLOW_SECONDS} s per write": slow}


def arrives(scene: Scene, weight: int, revision: int) -> float:
    """How many seconds pass from the declaration until the agents of all proxies have the weights."""
    began = time.monotonic()
    split = routes(myapp_v1=weight, myapp_v2=100 - weight)
    # The status stays as the operator has written it meanwhile.
    scene.server.store.change("kanaries", "rule", lambda kanary: kanary["spec"].update(routes=split), NAMESPACE)

    def is_there() -> bool:
        applied = applied_in(scene.get("configmaps", "rule-haproxy") or {})
        if applied is None or applied.revision != revision:
            return False
        have = {uid for uid, _, digest, is_accepted in scene.agents.sent if is_accepted and digest == applied.digest}
        pods = [scene.get("pods", name) for name in scene.proxies()]
        return {pod["metadata"]["uid"] for pod in pods if pod} <= have

    scene.wait_for(is_there, lambda: f"revision {revision}: {scene.status()}")
    return time.monotonic() - began


def recorded(scene: Scene) -> list[int]:
    return [
        entry.revision
        for entries in history_of(scene.history_url).values()
        for entry in entries
        if isinstance(entry, WeightChange)
    ]


@pytest.mark.parametrize("what", OUTAGE)
def test_changes_arrive_and_none_is_missing_afterwards(scene: Scene, postgres: Server, what: str, tell: Tell) -> None:
    scene.history_url = postgres.new_database()
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=100, myapp_v2=0))
    scene.start_process()
    scene.wait_for_phase("Ready")
    scene.wait_for(lambda: recorded(scene))
    usual = [arrives(scene, 100 - number, number + 1) for number in range(1, CHANGES + 1)]
    outage: AbstractContextManager[None] = OUTAGE[what](postgres, scene.history_url)
    with outage:
        found = [arrives(scene, number, CHANGES + 1 + number) for number in range(1, CHANGES + 1)]
        assert scene.wait_for_phase("Ready")["revision"] == 2 * CHANGES + 1
    # The writer tries again after up to a minute.
    scene.wait_for(lambda: len(recorded(scene)) > 2 * CHANGES, lambda: f"{recorded(scene)}", 2 * PATIENCE)
    revisions = recorded(scene)
    missing = {*range(1, 2 * CHANGES + 2)} - {*revisions}
    twice = len(revisions) - len({*revisions})
    figures = (f"{1000 * of(times):.0f}" for of in (median, max) for times in (found, usual))
    tell(OUTAGES, what, CHANGES, *figures, len(missing), twice)
    assert (missing, twice) == (set(), 0)
    # Changes that follow each other wait once for a database that does not answer, and each for one that is slow.
    limit = HISTORY_WRITE_LIMIT.total_seconds()
    assert median(found) <= 3 * median(usual) + (limit if OUTAGE[what] is slow else limit / 2)
