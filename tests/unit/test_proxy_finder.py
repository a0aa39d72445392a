"""Which endpoints lead to proxies, as `kanary plan` sees it: by the code of the operator."""

from datetime import UTC, datetime

import pytest

from engine.model.states import Endpoint
from engine.render.objects import KANARY_LABEL, MANAGED_BY, MANAGER
from kanary.cli.imagined import ImaginedCluster, NoCluster
from kanary.kube.resources import ENDPOINT_SLICES, PODS, SERVICES, Json
from kanary.operator.transforms import SERVICE_OF_SLICE


def obj(name: str, *, labels: dict[str, str] | None = None, **content: object) -> Json:
    return {"metadata": {"namespace": "shop", "name": name, "labels": labels or {}}, **content}


@pytest.fixture
def cluster() -> ImaginedCluster:
    """A proxy of the Kanary `rule`, one in the network of its node, a Service of a user with both, and another pod."""
    found = ImaginedCluster(NoCluster(), datetime.now(UTC))
    ours = {MANAGED_BY: MANAGER, KANARY_LABEL: "rule"}
    found.put(PODS, obj("rule-1", labels=ours, spec={}, status={"podIP": "10.1.0.1"}))
    found.put(PODS, obj("rule-2", labels=ours, spec={"hostNetwork": True}, status={"podIP": "192.0.2.1"}))
    found.put(PODS, obj("web-1", spec={}, status={"podIP": "10.1.0.9"}))
    found.put(SERVICES, obj("theirs", spec={"clusterIP": "10.96.0.1", "externalIPs": ["203.0.113.1"]}))
    found.put(SERVICES, obj("web", spec={"clusterIP": "10.96.0.2"}))
    for service, addresses in {"theirs": ["10.1.0.1", "192.0.2.1"], "web": ["10.1.0.9"]}.items():
        endpoints = [{"addresses": [address]} for address in addresses]
        found.put(ENDPOINT_SLICES, obj(service, labels={SERVICE_OF_SLICE: service}, endpoints=endpoints))
    return found


@pytest.mark.parametrize(
    ("endpoint", "leads"),
    [
        (Endpoint("10.1.0.1", 80), True),
        (Endpoint("10.1.0.77", 80, "rule-1"), True),
        (Endpoint("10.96.0.1", 80), True),
        (Endpoint("203.0.113.1", 80), True),
        (Endpoint("192.0.2.1", 80, "another-pod-of-the-node"), False),
        (Endpoint("10.1.0.9", 80, "web-1"), False),
        (Endpoint("10.96.0.2", 80), False),
    ],
    ids=["address", "name", "Service of a user", "its externalIP", "node", "another pod", "another Service"],
)
def test_an_endpoint_leads_to_proxies_by_name_address_or_service(
    cluster: ImaginedCluster, endpoint: Endpoint, leads: bool
) -> None:
    expected = {endpoint: frozenset({("shop", "rule")})} if leads else {}
    assert cluster.proxies_among("shop", [endpoint]) == expected
