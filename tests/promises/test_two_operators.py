"""Two operators: whatever happens to the leader, there are never two writers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kanary.history.faults import HistoryError
from kanary.history.queries import ChangeQuery, every
from kanary.history.reader import Reader
from tests.apiserver import ApiServer
from tests.integration.scene import NAMESPACE, Scene
from tests.promises import two_operators as they
from tests.promises.two_operators import Pair
from tests.tables import Table, Tell

OPERATORS = Table(
    "Promise 3: two operators (leases a fifth as long as the product's); writes that took effect, Events excepted",
    (
        "what happens to the leader",
        "rounds",
        "leaders",
        "writes of each",
        "overlapping changes",
        "late creations, deleted again",
        "s without a leader",
        "s until an edit is served",
        "old configurations sent",
        "revisions served",
        "in history",
    ),
)
IS_FULL = os.environ.get("KANARY_PROMISES") == "full"
pytestmark = pytest.mark.timeout(3600 if IS_FULL else 600)
ROUNDS = 10 if IS_FULL else 1
CASES: dict[str, Callable[[Pair], None]] = {
    "frozen": they.frozen,
    "frozen before it writes a status": they.frozen_before("PUT .*/status"),
    "frozen before it writes a ConfigMap": they.frozen_before("PATCH .*/configmaps/"),
    "frozen before it creates a Service": they.frozen_before("POST .*/services"),
    "frozen before it deletes a Service": they.frozen_before("DELETE .*/services/"),
    "frozen before a deletion that is called off": they.frozen_before_a_deletion_that_is_called_off,
    "frozen before it sends to a proxy": they.frozen_before("SEND"),
    "cut off": they.cut_off,
    "killed": they.killed,
    "killed, its ConfigMap arrives later": they.delivered_late("PATCH configmaps"),
    "killed, its status arrives later": they.delivered_late("PUT /status"),
    "Lease deleted": they.lease_deleted,
    "Lease without a holder": they.lease_given_to(""),
    "Lease given to another": they.lease_given_to("somebody"),
    "slow API server": they.slow,
}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with ApiServer(controllers=True) as server:
        scene = Scene(server, server.kubeconfig(tmp_path / "kubeconfig"))
        scene.history_url = f"sqlite:///{tmp_path / 'history.db'}"
        scene.backend("myapp-v1", "10.0.0.1")
        scene.backend("myapp-v2", "10.0.1.1")
        pair = Pair(scene, tmp_path)
        yield pair
        scene.server.faults.clear()
        pair.end()
        scene.stop()


@pytest.mark.parametrize("case", CASES)
def test_there_are_never_two_writers(pair: Pair, case: str, tell: Tell) -> None:
    scene = pair.scene
    pair.fill()
    pair.edit()
    pair.wait_until_served()
    for _ in range(ROUNDS):
        CASES[case](pair)
        pair.fill()
    found = they.count(they.drained(pair.changes))
    recorded = scene.wait_for(lambda: recorded_of(scene.history_url, found.revisions))
    tell(
        OPERATORS,
        case,
        ROUNDS,
        found.reigns,
        " ".join(str(number) for number in found.writes.values()),
        len(found.overlapping),
        len(found.late),
        f"{max(found.pauses):.1f}" if found.pauses else "0",
        f"{max(pair.seconds):.1f}",
        old_configurations(scene.agents.sent),
        len(found.revisions),
        len(found.revisions & {*recorded}),
    )
    assert found.overlapping == []
    assert recorded == sorted({*recorded})


def recorded_of(url: str, revisions: set[int]) -> list[int]:
    """The revisions in the history, once it has all of these."""
    reader = Reader(url)
    query = ChangeQuery(namespace=NAMESPACE, name="rule", deleted=True)
    try:
        found = [recorded.change.revision for recorded in every(reader.changes, query)][::-1]
    except HistoryError:
        return []
    finally:
        reader.close()
    return found if revisions <= {*found} else []


def old_configurations(sent: list[tuple[str, int, str, bool]]) -> int:
    """How many arrived at a pod after a newer one. `tests/agent/test_agent_push.py` has that the real agent refuses."""
    newest: dict[str, int] = {}
    old = 0
    for pod, serial, *_ in sent:
        old += serial < newest.get(pod, 0)
        newest[pod] = max(serial, newest.get(pod, 0))
    return old
