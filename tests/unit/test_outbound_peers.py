"""Where requests may go: pods of the Kanary's namespace and allowed hosts, and some addresses never."""

import socket
from collections.abc import Sequence
from typing import Any

import pytest

from kanary.kube.client import NotFound, Unreachable
from kanary.outbound.addresses import why_forbidden
from kanary.outbound.allowed import AllowedHosts
from kanary.outbound.peers import Peer, PeerError, Peers

Json = dict[str, Any]
POD = "10.0.1.7"
API_SERVER = "10.96.0.1"
API_SERVER_NODE = "172.18.0.2"


class Cluster:
    """The Service gate of namespace shop with one pod, and that of the API server; the cache and the client as well."""

    host = f"https://{API_SERVER}:443"

    def __init__(self) -> None:
        ports = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
        self.services: dict[tuple[str, str], Json] = {
            ("shop", "gate"): {"metadata": {"uid": "s-1"}, "spec": {"clusterIP": "10.96.7.7", "ports": ports}},
            ("default", "kubernetes"): {"spec": {"clusterIP": API_SERVER, "clusterIPs": [API_SERVER]}},
        }
        self.members: dict[tuple[str, str], list[Json]] = {
            ("shop", "gate"): [{"addresses": [POD], "targetRef": {"kind": "Pod", "name": "gate-1"}}],
            ("default", "kubernetes"): [{"addresses": [API_SERVER_NODE]}],
        }
        self.pods: dict[tuple[str, str], str] = {("shop", "gate-1"): POD}
        self.error: Exception | None = None

    def service(self, namespace: str, name: str) -> Json | None:
        return self.services.get((namespace, name))

    def slices(self, namespace: str, service: str) -> Sequence[Json]:
        ports = [{"name": "http", "port": 8080}]
        members = self.members.get((namespace, service))
        return [{"addressType": "IPv4", "ports": ports, "endpoints": members}] if members is not None else []

    def get(self, resource: object, namespace: str, name: str) -> Json:
        if self.error:
            raise self.error
        if (namespace, name) not in self.pods:
            raise NotFound(404)
        return {"status": {"podIPs": [{"ip": self.pods[namespace, name]}]}}

    def find(self, url: str, allowed: str = "", namespace: str = "shop") -> Peer:
        peers = Peers(self, self, AllowedHosts.parse(allowed))  # type: ignore[arg-type]
        return peers.find(namespace, url)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names resolve to; addresses resolve to themselves."""
    found: dict[str, list[str]] = {}

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        if host not in found and not host.replace(".", "").isdigit() and ":" not in host:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(None, None, None, "", (address, port)) for address in found.get(host, [host])]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return found


@pytest.mark.parametrize("host", ["gate", "GATE", "gate.shop", "gate.shop.svc", "gate.shop.svc.cluster.local"])
def test_a_service_of_the_namespace_is_reached_at_a_pod_without_dns(
    cluster: Cluster, names: dict[str, list[str]], host: str
) -> None:
    names[host] = ["192.0.2.1"]
    found = cluster.find(f"http://{host}/check")
    assert (found.addresses, found.port, found.url.path) == ((POD,), 8080, "/check")


@pytest.mark.parametrize(
    "host",
    ["gate.other", "gate.other.svc", "gate.shop.svc.example.com", "example.com", "10.0.1.7", "localhost.localdomain.x"],
)
def test_other_hosts_need_an_admin(cluster: Cluster, names: dict[str, list[str]], host: str) -> None:
    cluster.services["other", "gate"] = cluster.services["shop", "gate"]
    with pytest.raises(PeerError) as error:
        cluster.find(f"http://{host}:9090")
    assert str(error.value) == (
        f"{host} is not a Service of namespace shop: name one, or have an admin add {host}:9090 to "
        "KANARY_ALLOWED_HOSTS of the operator"
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://none", 'Service "none" does not exist in namespace shop: create it, or name one that does'),
        ("http://gate:9090", 'Service "gate" has no port 9090: use one of http (80)'),
        (
            "http://gate:53",
            'port 53 of Service "gate" has protocol UDP, and Kanary splits TCP only: use one of http (80)',
        ),
        ("http://localhost", 'Service "localhost" does not exist in namespace shop: create it, or name one that does'),
        ("gate", "must be a URL such as http://gate:8080/check, without a user and a fragment"),
    ],
)
def test_what_is_not_there_is_said_with_the_way_out(cluster: Cluster, url: str, message: str) -> None:
    with pytest.raises(PeerError) as error:
        cluster.find(url)
    assert str(error.value) == message


def test_an_external_name_is_refused(cluster: Cluster, names: dict[str, list[str]]) -> None:
    cluster.services["shop", "gate"]["spec"] = {"type": "ExternalName", "externalName": "example.com"}
    names["example.com"] = ["192.0.2.1"]
    with pytest.raises(PeerError, match=r'Service "gate" is an ExternalName for "example\.com"'):
        cluster.find("http://gate")


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"addresses": ["192.0.2.1"]}, "has no ready pod, only 1 endpoints that are not pods"),
        (
            {"addresses": ["10.0.9.9"], "targetRef": {"kind": "Pod", "name": "gate-1"}},
            "10.0.9.9 is not an address of pod gate-1 of namespace shop",
        ),
        (
            {"addresses": [POD], "targetRef": {"kind": "Pod", "name": "gone"}},
            f"{POD} is not an address of pod gone of namespace shop",
        ),
        (
            {"addresses": [POD], "targetRef": {"kind": "Pod", "name": "gate-1"}, "conditions": {"ready": False}},
            'Service "gate" of namespace shop has no ready pod',
        ),
    ],
    ids=["no pod", "another address", "no such pod", "not ready"],
)
def test_an_endpoint_that_a_user_has_written_is_not_trusted(cluster: Cluster, member: Json, message: str) -> None:
    cluster.members["shop", "gate"] = [member]
    with pytest.raises(PeerError, match=message):
        cluster.find("http://gate")


def test_without_the_api_server_no_pod_is_trusted(cluster: Cluster) -> None:
    cluster.error = Unreachable("no answer")
    with pytest.raises(PeerError, match="cannot read pod gate-1 of namespace shop: no answer"):
        cluster.find("http://gate")


def test_a_pod_at_an_address_of_the_api_server_is_refused(cluster: Cluster) -> None:
    cluster.members["shop", "gate"][0]["addresses"] = [API_SERVER_NODE]
    cluster.pods["shop", "gate-1"] = API_SERVER_NODE
    with pytest.raises(PeerError, match=f"gate:80 is {API_SERVER_NODE}, an address of the API server, which no check"):
        cluster.find("http://gate")


@pytest.mark.parametrize(
    ("setting", "url", "is_allowed"),
    [
        ("example.com", "http://example.com:9090", True),
        ("example.com", "http://EXAMPLE.com", True),
        ("example.com:443", "https://example.com", True),
        ("example.com:443", "http://example.com", False),
        ("example.com", "http://a.example.com", False),
        ("*.example.com", "http://a.example.com", True),
        ("*.example.com", "http://b.a.example.com", True),
        ("*.example.com", "http://example.com", False),
        ("*.example.com", "http://badexample.com", False),
        ("*.example.com:443", "http://a.example.com", False),
        (" other , Example.com ,", "http://example.com", True),
        ("prometheus.monitoring.svc", "http://prometheus.monitoring.svc:9090", True),
        ("prometheus.monitoring.svc", "http://prometheus.monitoring:9090", False),
        ("192.0.2.1:80", "http://192.0.2.1", True),
        ("[2001:db8::1]:80", "http://[2001:db8::1]", True),
        ("", "http://example.com", False),
    ],
)
def test_the_setting_allows_hosts(
    cluster: Cluster, names: dict[str, list[str]], setting: str, url: str, is_allowed: bool
) -> None:
    for name in ("example.com", "a.example.com", "b.a.example.com", "badexample.com", "prometheus.monitoring.svc"):
        names[name] = ["192.0.2.1", "2001:db8::1"]
    if is_allowed:
        found = cluster.find(url, setting)
        assert set(found.addresses) <= {"192.0.2.1", "2001:db8::1"}
        assert found.port == found.url.port
    else:
        with pytest.raises(PeerError, match="KANARY_ALLOWED_HOSTS"):
            cluster.find(url, setting)


@pytest.mark.parametrize("text", ["*", "*.*.com", "http://example.com", "exa_mple.com", "a b", "a:0", "a:70000", "a:b"])
def test_an_invalid_entry_of_the_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected hosts such as hooks\.slack\.com"):
        AllowedHosts.parse(f"example.com,{text}")


def test_an_allowed_host_that_does_not_resolve_is_reported(cluster: Cluster, names: dict[str, list[str]]) -> None:
    with pytest.raises(PeerError, match=r"example\.com does not resolve to an address"):
        cluster.find("http://example.com", "example.com")


FORBIDDEN = {
    "127.0.0.1": "a loopback address",
    "127.9.9.9": "a loopback address",
    "::1": "a loopback address",
    "::ffff:127.0.0.1": "a loopback address",
    "64:ff9b::7f00:1": "a loopback address",
    "2002:7f00:1::": "a loopback address",
    "169.254.169.254": "the metadata service of a cloud",
    "::ffff:169.254.169.254": "the metadata service of a cloud",
    "64:ff9b::a9fe:a9fe": "the metadata service of a cloud",
    "fd00:ec2::254": "the metadata service of a cloud",
    "100.100.100.200": "the metadata service of a cloud",
    "169.254.1.1": "a link-local address",
    "fe80::1": "a link-local address",
    "fe80::1%eth0": "a link-local address",
    "224.0.0.1": "a multicast address",
    "ff02::1": "a multicast address",
    "0.0.0.0": "an unspecified address",
    "::": "an unspecified address",
    "0.1.2.3": "a reserved address",
    "240.0.0.1": "a reserved address",
    "255.255.255.255": "a reserved address",
    API_SERVER: "an address of the API server",
    f"::ffff:{API_SERVER}": "an address of the API server",
    API_SERVER_NODE: "an address of the API server",
}


@pytest.mark.parametrize("address", FORBIDDEN)
def test_an_allowed_host_never_leads_to_a_forbidden_address(
    cluster: Cluster, names: dict[str, list[str]], address: str
) -> None:
    names["example.com"] = ["192.0.2.1", address]
    with pytest.raises(PeerError) as error:
        cluster.find("http://example.com", "example.com")
    assert str(error.value) == f"example.com:80 is {address}, {FORBIDDEN[address]}, which no check may use"


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "8.8.8.8", "fd00::1", "2001:4860:4860::8888"])
def test_ordinary_addresses_are_not_forbidden(address: str) -> None:
    assert why_forbidden(address, [API_SERVER]) == ""


def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_checked(
    cluster: Cluster, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that answers first with a harmless address and then with a forbidden one gains nothing."""
    answers = [["192.0.2.1"], ["127.0.0.1"]]
    looked_up = []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        if host == API_SERVER:
            return [(None, None, None, "", (host, port))]
        looked_up.append(host)
        return [(None, None, None, "", (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert cluster.find("http://example.com", "example.com").addresses == ("192.0.2.1",)
    assert looked_up == ["example.com"]


def test_the_api_server_of_the_client_is_looked_up(cluster: Cluster, names: dict[str, list[str]]) -> None:
    cluster.host = "https://api.example.com:6443"
    names["api.example.com"] = names["example.com"] = ["192.0.2.1"]
    with pytest.raises(PeerError, match="an address of the API server"):
        cluster.find("http://example.com", "example.com")
