"""Which events of the watches lead to a reconcile."""

import itertools
import queue
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Self, cast

import pytest

from engine.render.objects import KANARY_LABEL, MANAGED_BY, MANAGER
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from kanary.kube.resources import CONFIG_MAPS, DEPLOYMENTS, ENDPOINT_SLICES, PODS, REPLICA_SETS, Key
from kanary.kube.workqueue import WorkQueue
from kanary.operator.watches import Served, Watches
from tests.unit.kanaries import Json


def kanary(name: str, service: str, **changes: Any) -> Json:
    spec = {"destination": name, "routes": [{"backend": {"serviceName": service}, "weight": 100}]}
    return {"metadata": {"namespace": "shop", "name": name}, "spec": spec, "status": {"phase": "Ready"}, **changes}


def piece(service: str, address: str) -> Json:
    labels = {"kubernetes.io/service-name": service}
    metadata = {"namespace": "shop", "name": f"{service}-x", "labels": labels}
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": [{"addresses": [address]}]}


class Events:
    """An open watch."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.put = self._waiting.put

    def __iter__(self) -> Iterator[Any]:
        return iter(self._waiting.get, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        self.put(None)


class Cluster:
    """Delivers the events that a test sends."""

    def __init__(self) -> None:
        self._events: defaultdict[object, Events] = defaultdict(Events)
        self._serial = itertools.count(2)

    def list_as(self, *_: object, **_options: object) -> tuple[list[Json], str]:
        return [], "1"

    def watch(self, resource: object, *_: object, **__: object) -> Events:
        return self._events[resource]

    def send(self, resource: object, obj: Json) -> None:
        """An object as it is now, with the next resource version."""
        metadata = {**obj["metadata"], "resourceVersion": str(next(self._serial))}
        self._events[resource].put(("MODIFIED", {**obj, "metadata": metadata}))


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def work() -> WorkQueue[Key]:
    return WorkQueue()


@pytest.fixture
def watches(cluster: Cluster, work: WorkQueue[Key]) -> Iterator[Watches]:
    watches = Watches(
        cast(ClusterClient, cluster), Served(endpoint_slices=True, disruption_budgets=True, version="v1.33.0"), work
    )
    watches.start()
    for name, service in (("rule", "v1"), ("fence", "v2")):
        cluster.send(KANARIES, kanary(name, service))
        assert enqueued(work) == name
        cluster.send(ENDPOINT_SLICES, piece(service, "10.0.0.1"))
        assert enqueued(work) == name
    yield watches
    watches.stop()


def enqueued(work: WorkQueue[Key]) -> str:
    """The name of the next Kanary that is enqueued."""
    key = work.get()
    assert key is not None
    work.done(key)
    return key.name


def next_after(cluster: Cluster, work: WorkQueue[Key], *events: Json) -> str:
    """The Kanary that is enqueued after these events of one kind; `fence` if they enqueue none."""
    is_kanary = "spec" in events[0]
    for event in (*events, kanary("fence", "v2", spec={}) if is_kanary else piece("v2", "10.0.0.2")):
        cluster.send(KANARIES if is_kanary else ENDPOINT_SLICES, event)
    return enqueued(work)


def test_a_change_of_the_spec_leads_to_a_reconcile(cluster: Cluster, work: WorkQueue[Key], watches: Watches) -> None:
    assert next_after(cluster, work, kanary("rule", "v3")) == "rule"


def test_a_change_of_endpoints_leads_to_a_reconcile(cluster: Cluster, work: WorkQueue[Key], watches: Watches) -> None:
    assert next_after(cluster, work, piece("v1", "10.0.0.2")) == "rule"


def test_events_without_a_change_lead_to_no_reconcile(cluster: Cluster, work: WorkQueue[Key], watches: Watches) -> None:
    managed, labelled = kanary("rule", "v1"), kanary("rule", "v1")
    managed["metadata"]["managedFields"] = [{"manager": "kubectl", "fieldsV1": {"f:metadata": {}}}]
    labelled["metadata"] |= {"labels": {"team": "shop"}, "annotations": {"example.com/note": "x"}}
    assert next_after(cluster, work, kanary("rule", "v1"), managed, labelled) == "fence"


def test_endpoints_without_a_change_lead_to_no_reconcile(
    cluster: Cluster, work: WorkQueue[Key], watches: Watches
) -> None:
    assert next_after(cluster, work, piece("v1", "10.0.0.1")) == "fence"


def test_a_status_of_another_client_leads_to_a_reconcile(
    cluster: Cluster, work: WorkQueue[Key], watches: Watches
) -> None:
    assert next_after(cluster, work, kanary("rule", "v1", status={"phase": "Edited"})) == "rule"


def test_a_status_of_this_operator_leads_to_no_reconcile(
    cluster: Cluster, work: WorkQueue[Key], watches: Watches
) -> None:
    with watches.writing_status(Key("shop", "rule"), {"phase": "Rolling"}):
        assert next_after(cluster, work, kanary("rule", "v1", status={"phase": "Rolling"})) == "fence"


def test_a_spec_that_changes_while_the_status_is_written_leads_to_a_reconcile(
    cluster: Cluster, work: WorkQueue[Key], watches: Watches
) -> None:
    with watches.writing_status(Key("shop", "rule"), {"phase": "Rolling"}):
        assert next_after(cluster, work, kanary("rule", "v3", status={"phase": "Rolling"})) == "rule"


def config_map(content: str, **annotations: str) -> Json:
    metadata = {
        "namespace": "shop",
        "name": "rule-haproxy",
        "labels": {"kanary.k8s.io/name": "rule"},
        "annotations": annotations,
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"haproxy.cfg": content}}


@pytest.mark.parametrize(
    ("arrived", "enqueues"),
    [
        (config_map("2", hash="b", note="of others"), False),
        (config_map("2 edited", hash="b", note="of others"), True),
        (config_map("2", hash="b"), True),
    ],
    ids=["as applied", "with other data", "with other annotations"],
)
def test_a_config_map_as_it_was_applied_leads_to_no_reconcile(
    cluster: Cluster, work: WorkQueue[Key], watches: Watches, arrived: Json, enqueues: bool
) -> None:
    cluster.send(CONFIG_MAPS, config_map("1", hash="a", note="of others"))
    assert enqueued(work) == "rule"
    with watches.applying(config_map("2", hash="b")):
        cluster.send(CONFIG_MAPS, arrived)
        fence = config_map("fence")
        fence["metadata"] |= {"name": "fence", "labels": {"kanary.k8s.io/name": "fence"}}
        cluster.send(CONFIG_MAPS, fence)
        assert enqueued(work) == ("rule" if enqueues else "fence")


def proxy_objects(adopted_by: str = "deployment") -> dict[object, Json]:
    """A proxy's pod, its ReplicaSet and its Deployment, by their kinds."""

    def metadata(name: str, kind: str, owner_name: str, owner_uid: str) -> Json:
        owner = {"kind": kind, "name": owner_name, "uid": owner_uid, "controller": True}
        labels = {KANARY_LABEL: "rule", MANAGED_BY: MANAGER}
        return {
            "namespace": "shop",
            "name": name,
            "uid": f"uid of {name}",
            "labels": labels,
            "ownerReferences": [owner],
        }

    deployment_uid = "uid of rule-haproxy" if adopted_by == "deployment" else "another"
    return {
        DEPLOYMENTS: {"metadata": metadata("rule-haproxy", "Kanary", "rule", "1")},
        REPLICA_SETS: {"metadata": metadata("one", "Deployment", "rule-haproxy", deployment_uid)},
        PODS: {"metadata": metadata("pod", "ReplicaSet", "one", "uid of one")},
    }


@pytest.mark.parametrize("order", [*itertools.permutations(proxy_objects())])
def test_a_pod_is_a_proxy_once_its_owners_are_known_in_whatever_order(
    order: Sequence[object], cluster: Cluster, work: WorkQueue[Key], watches: Watches
) -> None:
    found = proxy_objects()
    *first, last = order
    for kind in first:
        cluster.send(kind, found[kind])
        assert enqueued(work) == "rule"
    assert watches.proxy_pods(Key("shop", "rule")) == []
    cluster.send(last, found[last])
    assert enqueued(work) == "rule"
    assert [pod["metadata"]["name"] for pod in watches.proxy_pods(Key("shop", "rule"))] == ["pod"]
    assert watches.proxy_pod(Key("shop", "pod"))


def test_a_pod_is_a_proxy_once_its_replica_set_is_adopted(
    cluster: Cluster, work: WorkQueue[Key], watches: Watches
) -> None:
    """As after `kubectl delete deployment --cascade=orphan`."""
    for kind, obj in proxy_objects(adopted_by="nobody").items():
        cluster.send(kind, obj)
        assert enqueued(work) == "rule"
    assert watches.proxy_pods(Key("shop", "rule")) == []
    cluster.send(REPLICA_SETS, proxy_objects()[REPLICA_SETS])
    assert enqueued(work) == "rule"
    assert len(watches.proxy_pods(Key("shop", "rule"))) == 1
