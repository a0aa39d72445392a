"""Client, reflector and elector against an API server over real HTTP, through its faults."""

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kanary.kanaries import KANARIES
from kanary.kube.backoff import Backoff
from kanary.kube.client import AlreadyExists, ClusterClient, Conflict, NotFound, Timeouts
from kanary.kube.events import Recorder
from kanary.kube.lease import Elector
from kanary.kube.reflector import Reflector
from kanary.kube.resources import CONFIG_MAPS, ENDPOINT_SLICES, EVENTS, LEASES, SERVICES, Json, Key
from tests.apiserver import ApiServer, Fault
from tests.waiting import PATIENCE, await_that

# A watch counts as dead after a short silence here, for the tests that wait for it.
IMPATIENT = Timeouts(connect=2.0, read=0.5, watch=0.5)
QUICK = Backoff(base=0.01, cap=0.1)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server
        server.faults.clear()


@pytest.fixture
def connect(server: ApiServer, tmp_path: Path) -> Callable[..., ClusterClient]:
    path = str(server.kubeconfig(tmp_path / "kubeconfig"))
    return lambda timeouts=None: ClusterClient.connect(kubeconfig=path, field_manager="kanary", timeouts=timeouts)


@pytest.fixture
def client(connect: Callable[..., ClusterClient]) -> ClusterClient:
    return connect()


@pytest.fixture
def follow(connect: Callable[..., ClusterClient]) -> Iterator[Callable[..., Reflector]]:
    started: list[Reflector] = []

    def follow(timeouts: Timeouts | None = None, **options: Any) -> Reflector:
        options = {"on_change": lambda *_: None, "backoff": QUICK, **options}
        reflector = Reflector(connect(timeouts), CONFIG_MAPS, **options)
        started.append(reflector)
        reflector.start()
        return reflector

    yield follow
    for reflector in started:
        reflector.stop(timeout=0.1)


def config_map(name: str, namespace: str = "shop", **data: str) -> Json:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def contents(objects: Iterable[Json]) -> dict[Key, tuple[str, Any]]:
    return {Key.of(obj): (obj["metadata"]["resourceVersion"], obj.get("data")) for obj in objects}


def agrees(reflector: Reflector, server: ApiServer) -> Callable[[], bool]:
    return lambda: contents(reflector.values()) == contents(server.store.list("configmaps"))


def watched(server: ApiServer) -> None:
    await_that(lambda: server.watches == 1)


# Client


def test_the_client_tells_apart_what_went_wrong(client: ClusterClient) -> None:
    made = client.create(CONFIG_MAPS, "default", config_map("a", "default", x="1"))
    with pytest.raises(AlreadyExists):
        client.create(CONFIG_MAPS, "default", config_map("a", "default"))
    with pytest.raises(NotFound):
        client.get(CONFIG_MAPS, "default", "b")
    client.merge_patch(CONFIG_MAPS, "default", "a", {"data": {"x": "2"}})
    with pytest.raises(Conflict):
        client.replace(CONFIG_MAPS, "default", "a", made)
    with pytest.raises(Conflict):
        client.delete(CONFIG_MAPS, "default", "a", uid="of another")
    client.delete(CONFIG_MAPS, "default", "a", uid=made["metadata"]["uid"])
    with pytest.raises(NotFound):
        client.delete(CONFIG_MAPS, "default", "a", uid=None)


def test_apply_takes_a_field_from_another_manager_only_by_force(server: ApiServer, client: ClusterClient) -> None:
    server.store.put(config_map("a", x="theirs"), manager="someone")
    with pytest.raises(Conflict, match="someone"):
        client.apply(CONFIG_MAPS, "shop", "a", config_map("a", x="ours"), force=False)
    assert client.apply(CONFIG_MAPS, "shop", "a", config_map("a", x="ours"), force=True)["data"] == {"x": "ours"}


def test_the_client_finds_out_what_the_cluster_serves(server: ApiServer, client: ClusterClient) -> None:
    assert client.serves(SERVICES)
    assert client.serves(ENDPOINT_SLICES)
    assert not client.serves(KANARIES)
    server.withdraw("discovery.k8s.io", "v1", "endpointslices")
    assert not client.serves(ENDPOINT_SLICES)
    assert client.server_version().startswith("v1.")


# Reflector


def test_a_reflector_follows_what_others_do(server: ApiServer, follow: Callable[..., Reflector]) -> None:
    server.store.put(config_map("a", x="1"))
    seen: list[tuple[str, str | None, str | None]] = []

    def on_change(key: Key, old: Json | None, new: Json | None) -> None:
        seen.append((key.name, old and old["data"]["x"], new and new["data"]["x"]))

    reflector = follow(on_change=on_change)
    assert reflector.synced.wait(PATIENCE)
    watched(server)
    server.store.put(config_map("b", x="1"))
    server.store.put(config_map("a", x="2"))
    server.store.delete("configmaps", "b", "shop")
    await_that(lambda: len(seen) == 4)
    assert seen == [("a", None, "1"), ("b", None, "1"), ("a", "1", "2"), ("b", "1", None)]
    assert agrees(reflector, server)()


def test_a_reflector_keeps_to_its_namespace_and_labels(server: ApiServer, follow: Callable[..., Reflector]) -> None:
    for namespace, app in (("shop", "web"), ("shop", "db"), ("other", "web")):
        obj = config_map(app, namespace)
        server.store.put({**obj, "metadata": {**obj["metadata"], "labels": {"app": app}}})
    reflector = follow(namespace="shop", label_selector="app=web")
    assert reflector.synced.wait(PATIENCE)
    assert set(contents(reflector.values())) == {("shop", "web")}
    watched(server)
    server.store.change("configmaps", "web", lambda obj: obj["metadata"].update(labels={}), "shop")
    await_that(lambda: not reflector.all_keys())


def test_a_reflector_misses_nothing_that_happens_while_its_connection_is_cut(
    server: ApiServer, follow: Callable[..., Reflector]
) -> None:
    reflector = follow()
    watched(server)
    away = server.faults.add(Fault.drop("GET", "configmaps"))
    server.drop_watches()
    away.wait_for_hits()
    server.store.put(config_map("a", x="1"))
    server.store.put(config_map("b", x="1"))
    server.store.delete("configmaps", "a", "shop")
    server.faults.remove(away)
    await_that(lambda: set(contents(reflector.values())) == {("shop", "b")})
    assert len(server.requests.find("GET", "configmaps", 200, watch=False)) == 1


def test_a_reflector_reads_on_after_half_a_line(server: ApiServer, follow: Callable[..., Reflector]) -> None:
    reflector = follow()
    watched(server)
    half = server.faults.add(Fault.cut("configmaps", times=1))
    server.store.put(config_map("a", x="1"))
    half.wait_for_hits()
    await_that(agrees(reflector, server))
    assert len(reflector.all_keys()) == 1


def test_a_reflector_leaves_a_connection_that_has_fallen_silent(
    server: ApiServer, follow: Callable[..., Reflector]
) -> None:
    reflector = follow(IMPATIENT)
    watched(server)
    mute = server.faults.add(Fault.mute("configmaps", times=1))
    server.store.put(config_map("a", x="1"))
    mute.wait_for_hits()
    # What is held back on the old connection is never released; it comes over a new one.
    await_that(agrees(reflector, server))
    assert len(reflector.all_keys()) == 1


def test_a_reflector_outlives_a_server_that_hangs(server: ApiServer, follow: Callable[..., Reflector]) -> None:
    hang = server.faults.add(Fault.hang("GET", "configmaps"))
    reflector = follow(IMPATIENT)
    hang.wait_for_hits(2)
    assert not reflector.synced.is_set()
    server.store.put(config_map("a", x="1"))
    server.faults.remove(hang)
    assert reflector.synced.wait(PATIENCE)
    assert agrees(reflector, server)()


def test_a_reflector_lists_again_if_its_resource_version_has_expired(
    server: ApiServer, follow: Callable[..., Reflector]
) -> None:
    server.store.put(config_map("old", x="1"))
    reflector = follow()
    watched(server)
    away = server.faults.add(Fault.drop("GET", "configmaps"))
    server.drop_watches()
    away.wait_for_hits()
    server.store.delete("configmaps", "old", "shop")
    server.store.put(config_map("new", x="1"))
    server.compact()
    server.faults.remove(away)
    await_that(lambda: set(contents(reflector.values())) == {("shop", "new")})
    assert len(server.requests.find("GET", "configmaps", 200, watch=False)) == 2


def test_a_bookmark_spares_a_new_list(server: ApiServer, follow: Callable[..., Reflector]) -> None:
    reflector = follow()
    watched(server)
    server.store.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "shop"}})
    server.bookmark()
    await_that(lambda: reflector._cache.position == str(server.store.revision))
    server.compact()
    server.drop_watches()
    server.requests.wait_for("GET", "configmaps", watch=True, count=2)
    server.store.put(config_map("a", x="1"))
    await_that(agrees(reflector, server))
    assert len(server.requests.find("GET", "configmaps", 200, watch=False)) == 1


def test_a_throttled_reflector_obeys_retry_after(server: ApiServer, follow: Callable[..., Reflector]) -> None:
    throttle = server.faults.add(Fault.status(429, "GET", "configmaps", retry_after=3600))
    reflector = follow()
    throttle.wait_for_hits()
    await_that(lambda: "429" in reflector.problem())
    threading.Event().wait(0.5)  # several times the longest pause of its own back-off
    assert throttle.hits == 1


def test_a_long_list_comes_in_pages_and_whole_when_the_pages_expire(server: ApiServer, client: ClusterClient) -> None:
    for number in range(110):
        server.store.put(config_map(f"c{number:03}"))
    objects, version = client.list(CONFIG_MAPS)
    assert (len(objects), version) == (110, str(server.store.revision))
    assert len(server.requests.find("GET", "configmaps")) > 1
    slow = server.faults.add(Fault.slow("GET", "continue="))
    listed: list[Any] = []
    thread = threading.Thread(target=lambda: listed.append(client.list(CONFIG_MAPS)), daemon=True)
    thread.start()
    slow.wait_for_hits()
    server.store.put(config_map("late"))
    server.compact()
    slow.release()
    thread.join(PATIENCE)
    ((objects, version),) = listed
    assert (len(objects), version) == (111, str(server.store.revision))


def test_the_answer_to_a_write_is_known_before_the_watch_brings_it(
    server: ApiServer, client: ClusterClient, follow: Callable[..., Reflector]
) -> None:
    server.store.put(config_map("other"))
    reflector = follow()
    watched(server)
    mute = server.faults.add(Fault.mute("configmaps"))
    written = client.create(CONFIG_MAPS, "shop", config_map("a", x="1"))
    reflector.remember(written)
    assert reflector.get("shop", "a") == written
    changed = client.merge_patch(CONFIG_MAPS, "shop", "a", {"data": {"x": "2"}})
    reflector.remember(changed)
    server.faults.remove(mute)
    server.store.put(config_map("b"))
    await_that(lambda: reflector.get("shop", "b") is not None)
    assert reflector.get("shop", "a") == changed


@pytest.mark.parametrize("seed", range(3))
def test_a_reflector_ends_up_with_the_truth_whatever_happens_on_the_way(
    server: ApiServer, follow: Callable[..., Reflector], seed: int
) -> None:
    chance = random.Random(seed)
    told: dict[Key, Json] = {}

    def on_change(key: Key, old: Json | None, new: Json | None) -> None:
        if new is None:
            told.pop(key, None)
        else:
            told[key] = new

    reflector = follow(IMPATIENT, on_change=on_change)
    faults: list[Callable[[], object]] = [
        server.drop_watches,
        server.compact,
        server.bookmark,
        lambda: server.faults.add(Fault.cut("configmaps", times=1)),
        lambda: server.faults.add(Fault.mute("configmaps", times=1)),
        lambda: server.faults.add(Fault.drop("GET", "configmaps", times=2)),
        lambda: server.faults.add(Fault.hang("GET", "configmaps", times=1)),
        lambda: server.faults.add(Fault.status(500, "GET", "configmaps", times=1)),
        lambda: server.faults.add(Fault.status(429, "GET", "configmaps", times=1)),
    ]
    pause = threading.Event()
    for step in range(300):
        name = f"c{chance.randrange(12)}"
        if chance.random() < 0.3:
            server.store.delete("configmaps", name, "shop")
        else:
            server.store.put(config_map(name, x=str(step)))
        if chance.random() < 0.1:
            chance.choice(faults)()
        pause.wait(0.005)
    await_that(agrees(reflector, server))
    await_that(lambda: contents(list(told.values())) == contents(server.store.list("configmaps")))


# Lease


class Running:
    """An elector that runs in a thread, and what became of it."""

    def __init__(self, elector: Elector) -> None:
        self.elector = elector
        self.stop = threading.Event()
        self.started = threading.Event()
        self.lost = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        if not self.elector.run(self.stop, self.started.set):
            self.lost.set()


@pytest.fixture
def elect(connect: Callable[..., ClusterClient]) -> Iterator[Callable[..., Running]]:
    """Starts candidates; the Lease of one that `expires` runs out within the test, that of another one does not."""
    running: list[Running] = []

    def elect(identity: str, *, expires: bool = False) -> Running:
        lease, renew = (2.0, 1.2) if expires else (4 * PATIENCE, 3 * PATIENCE)
        times = {"lease_seconds": lease, "renew_seconds": renew, "retry_seconds": 0.1}
        running.append(Running(Elector(connect(), "kanary-system", "operator", identity, **times)))
        return running[-1]

    yield elect
    for each in running:
        each.stop.set()
    for each in running:
        each.thread.join(PATIENCE)


def leading(server: ApiServer, candidate: Callable[[], Running]) -> Running:
    server.store.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kanary-system"}})
    running = candidate()
    assert running.started.wait(PATIENCE)
    return running


@pytest.fixture
def leader(server: ApiServer, elect: Callable[..., Running]) -> Running:
    return leading(server, lambda: elect("first"))


@pytest.fixture
def expiring_leader(server: ApiServer, elect: Callable[..., Running]) -> Running:
    return leading(server, lambda: elect("first", expires=True))


def holder(server: ApiServer) -> str:
    lease = server.store.get("leases", "operator", "kanary-system")
    assert lease is not None
    return str(lease["spec"].get("holderIdentity", ""))


def test_the_lease_goes_to_the_next_one_when_its_holder_stops(
    server: ApiServer, leader: Running, elect: Callable[..., Running]
) -> None:
    second = elect("second")
    await_that(lambda: "held by first" in second.elector.problem())
    assert holder(server) == leader.elector.identity
    leader.stop.set()
    assert second.started.wait(PATIENCE)
    assert holder(server) == second.elector.identity
    assert not leader.elector.is_leader()
    assert not leader.lost.is_set()


@pytest.mark.parametrize("fault", [Fault.hang, Fault.drop])
def test_a_leader_whose_server_is_away_stops_in_time_and_leads_again_when_it_is_back(
    server: ApiServer, expiring_leader: Running, fault: Callable[..., Fault]
) -> None:
    away = server.faults.add(fault(path="leases"))
    away.wait_for_hits()
    await_that(lambda: not expiring_leader.elector.is_leader())
    expiring_leader.started.clear()
    server.faults.remove(away)
    assert expiring_leader.started.wait(PATIENCE)
    await_that(expiring_leader.elector.is_leader)
    assert not expiring_leader.lost.is_set()
    lease = server.store.get("leases", "operator", "kanary-system")
    assert lease is not None
    assert lease["spec"]["leaseTransitions"] == 0


def test_of_two_whose_server_was_away_one_leads_and_if_it_is_the_other_one_the_first_ends(
    server: ApiServer, expiring_leader: Running, elect: Callable[..., Running]
) -> None:
    second = elect("second", expires=True)
    await_that(lambda: "held by first" in second.elector.problem())
    away = server.faults.add(Fault.drop(path="leases"))
    await_that(lambda: not expiring_leader.elector.is_leader())
    assert not second.elector.is_leader()
    server.faults.remove(away)
    await_that(lambda: expiring_leader.elector.is_leader() or second.elector.is_leader())
    if second.elector.is_leader():
        assert expiring_leader.lost.wait(PATIENCE)
    await_that(lambda: expiring_leader.elector.is_leader() != second.elector.is_leader())


def test_a_leader_whose_answers_are_lost_leads_on(server: ApiServer, leader: Running) -> None:
    lost = server.faults.add(Fault.drop("PUT", "leases", times=3, after_write=True))
    lost.wait_for_hits(3)
    renewals = len(server.requests.find("PUT", "leases", 200))
    server.requests.wait_for("PUT", "leases", 200, count=renewals + 3)
    assert leader.elector.is_leader()
    assert not leader.lost.is_set()
    lease = server.store.get("leases", "operator", "kanary-system")
    assert lease is not None
    assert lease["spec"]["leaseTransitions"] == 0


def test_a_short_failure_costs_no_leadership(server: ApiServer, leader: Running) -> None:
    for code in (500, 429, 409):
        fault = server.faults.add(Fault.status(code, path="leases", times=1))
        fault.wait_for_hits()
    server.requests.wait_for("PUT", "leases", 200, count=5)
    assert leader.elector.is_leader()
    assert not leader.lost.is_set()


def test_an_edit_of_the_lease_by_hand_costs_no_leadership(
    server: ApiServer, leader: Running, client: ClusterClient
) -> None:
    client.merge_patch(LEASES, "kanary-system", "operator", {"metadata": {"labels": {"seen-by": "someone"}}})
    renewals = len(server.requests.find("PUT", "leases", 200))
    server.requests.wait_for("PUT", "leases", 200, count=renewals + 3)
    assert leader.elector.is_leader()
    lease = server.store.get("leases", "operator", "kanary-system")
    assert lease is not None
    assert lease["metadata"]["labels"] == {"seen-by": "someone"}


def test_two_never_lead_at_once_through_a_storm_of_faults(
    server: ApiServer, expiring_leader: Running, elect: Callable[..., Running]
) -> None:
    chance = random.Random(7)
    candidates = [expiring_leader, elect("second", expires=True), elect("third", expires=True)]
    clashes = 0
    over = threading.Event()

    def keep_watch() -> None:
        nonlocal clashes
        while not over.wait(0.001):
            leaders = [each for each in candidates if each.elector.is_leader()]
            # One after the other may have led: this thread may have to wait between two looks.
            clashes += len(leaders) > 1 and leaders[0].elector.is_leader()

    watcher = threading.Thread(target=keep_watch, daemon=True)
    watcher.start()
    for _ in range(12):
        fault = chance.choice(
            [
                Fault.hang(path="leases", times=2),
                Fault.drop("PUT", "leases", times=2),
                Fault.drop("PUT", "leases", times=3, after_write=True),
                Fault.slow("PUT", "leases", times=1),
                Fault.status(500, path="leases", times=2),
            ]
        )
        server.faults.add(fault)
        threading.Event().wait(0.3)
        server.faults.remove(fault)
    over.set()
    watcher.join(PATIENCE)
    assert clashes == 0


# Events


def test_events_reach_the_cluster_and_repeated_ones_are_counted(server: ApiServer, client: ClusterClient) -> None:
    recorder = Recorder(client, "kanary", "pod-1")
    recorder.start()
    lost = server.faults.add(Fault.drop("POST", "events", times=1, after_write=True))
    regarding = server.store.put(config_map("web"))
    for _ in range(3):
        recorder.emit(regarding, "Rolled", "2 of 2 proxies", action="Roll")
    assert recorder.flush(PATIENCE)
    recorder.stop()
    assert lost.hits == 1
    events, _ = client.list(EVENTS, "shop")
    assert [(event["reason"], event["message"], event["count"]) for event in events] == [
        ("Rolled", "2 of 2 proxies", 3)
    ]
    assert recorder.dropped == 0
