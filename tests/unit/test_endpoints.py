"""From a backend as the user names it to the addresses and ports of its pods."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.memo import Memo
from engine.model.spec import Backend
from engine.model.states import Endpoint
from engine.render.config import Server
from engine.resolve.endpoints import Resolved, port_number, resolve
from engine.resolve.slices import slices_from_endpoints
from states import Problem, Reason

Json = dict[str, Any]
HTTP = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"}
ADMIN = {"name": "admin", "port": 9090, "protocol": "TCP", "targetPort": 9999}


def service(*ports: Json, **spec: Any) -> Json:
    return {"metadata": {"name": "v1"}, "spec": {"type": "ClusterIP", "ports": list(ports), **spec}}


def member(address: str, pod: str = "", ready: bool | None = True) -> Json:
    reference = {"targetRef": {"kind": "Pod", "name": pod}} if pod else {}
    return {"addresses": [address], "conditions": {"ready": ready}, **reference}


def piece(*members: Json, family: str = "IPv4", **ports: int) -> Json:
    """A slice with these ports; the name `_` is an unnamed port."""
    named = [{"name": name.strip("_"), "port": number, "protocol": "TCP"} for name, number in ports.items()]
    return {"addressType": family, "ports": named, "endpoints": list(members)}


def resolved(service: Json | None, *slices: Json, port: str | int = "http") -> Resolved | Problem:
    return resolve(
        Backend(service_name="v1", service_port=port),
        where="spec.routes[0].backend",
        namespace="shop",
        service=service,
        slices=slices,
        memo=Memo(),
    )


def found(service: Json | None, *slices: Json, port: str | int = "http") -> tuple[Endpoint, ...]:
    return known(service, *slices, port=port).endpoints


def known(service: Json | None, *slices: Json, port: str | int = "http") -> Resolved:
    result = resolved(service, *slices, port=port)
    assert isinstance(result, Resolved)
    return result


def addresses(service: Json, *slices: Json, port: str | int = "http") -> list[str]:
    return [f"{endpoint.address}:{endpoint.port}" for endpoint in found(service, *slices, port=port)]


# Ports


@pytest.mark.parametrize(
    ("port", "number"), [("http", 80), (80, 80), ("admin", 9090), (9090, 9090), ("80", None), (81, None)]
)
def test_a_port_is_one_whether_by_its_name_or_its_number(port: str | int, number: int | None) -> None:
    assert port_number(Backend(service_name="v1", service_port=port), service(HTTP, ADMIN)) == number


def test_a_named_port_leads_to_what_the_pods_listen_on() -> None:
    pods = piece(member("10.0.0.1", "v1-a"), http=8080, admin=9999)
    assert found(service(HTTP, ADMIN), pods) == (Endpoint("10.0.0.1", 8080, "v1-a"),)


def test_a_numbered_port_is_the_services_and_leads_to_what_the_pods_listen_on() -> None:
    pods = piece(member("10.0.0.1"), http=8080, admin=9999)
    assert addresses(service(HTTP, ADMIN), pods, port=9090) == ["10.0.0.1:9999"]


def test_a_number_that_only_pods_listen_on_is_no_port_of_the_service() -> None:
    problem = resolved(service(HTTP), piece(member("10.0.0.1"), http=8080), port=8080)
    assert isinstance(problem, Problem)
    assert problem.reason is Reason.BACKEND_PORT_NOT_FOUND


def test_an_unnamed_port_is_found_by_its_number() -> None:
    pods = piece(member("10.0.0.1"), _=8080)
    assert addresses(service({"port": 80}), pods, port=80) == ["10.0.0.1:8080"]


def test_an_unnamed_port_of_a_slice_may_have_no_name_at_all() -> None:
    pods = {"addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": [member("10.0.0.1")]}
    assert addresses(service({"port": 80}), pods, port=80) == ["10.0.0.1:8080"]


def test_a_numbered_port_takes_no_unnamed_one_for_its_own() -> None:
    """The first Kanary sent connections for a number to whatever had no name."""
    assert addresses(service(HTTP), piece(member("10.0.0.1"), _=9000), port=80) == []
    unnamed = piece(member("10.0.0.2"), http=9000)
    assert addresses(service({"port": 80}), unnamed, port=80) == []


def test_a_port_whose_name_is_a_number_is_found_by_its_name() -> None:
    named = service({"name": "9000", "port": 80}, {"name": "http", "port": 9000})
    pods = piece(member("10.0.0.1"), **{"9000": 1, "http": 2})
    assert addresses(named, pods, port="9000") == ["10.0.0.1:1"]
    assert addresses(named, pods, port=9000) == ["10.0.0.1:2"]


def test_slices_of_one_service_may_listen_on_different_numbers() -> None:
    """A named target port is resolved by each pod for itself."""
    old, new = piece(member("10.0.0.1"), http=8080), piece(member("10.0.0.2"), http=8081)
    assert addresses(service(HTTP), old, new) == ["10.0.0.1:8080", "10.0.0.2:8081"]


def test_of_two_protocols_under_one_number_tcp_is_meant() -> None:
    dns = service({"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"})
    pods = {
        "addressType": "IPv4",
        "ports": [{"name": "dns", "port": 5353, "protocol": "UDP"}, {"name": "dns-tcp", "port": 5354}],
        "endpoints": [member("10.0.0.1")],
    }
    assert addresses(dns, pods, port=53) == ["10.0.0.1:5354"]


def test_a_port_of_a_slice_without_number_leads_nowhere() -> None:
    pods = {"addressType": "IPv4", "ports": [{"name": "http", "port": None}], "endpoints": [member("10.0.0.1")]}
    assert addresses(service(HTTP), pods) == []


@pytest.mark.parametrize("ports", [None, []])
def test_a_slice_without_ports_leads_nowhere(ports: list[Json] | None) -> None:
    assert addresses(service(HTTP), {"addressType": "IPv4", "ports": ports, "endpoints": [member("10.0.0.1")]}) == []


# Readiness


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"ready": True}, ["10.0.0.1:8080"]),
        ({"ready": None}, ["10.0.0.1:8080"]),
        ({}, ["10.0.0.1:8080"]),
        (None, ["10.0.0.1:8080"]),
        ({"ready": False}, []),
        ({"ready": False, "serving": True, "terminating": False}, []),
        ({"ready": False, "serving": False, "terminating": True}, []),
    ],
)
def test_only_what_is_not_said_to_be_unready_is_taken(conditions: Json | None, expected: list[str]) -> None:
    pod = {"addresses": ["10.0.0.1"], "conditions": conditions}
    assert addresses(service(HTTP), piece(pod, http=8080)) == expected


@pytest.mark.parametrize("pod", [{"addresses": []}, {"addresses": None}, {}])
def test_an_endpoint_without_address_is_none(pod: Json) -> None:
    assert addresses(service(HTTP), piece(pod, member("10.0.0.2"), http=8080)) == ["10.0.0.2:8080"]


def test_of_several_addresses_the_first_is_the_one_to_use() -> None:
    pod = {"addresses": ["10.0.0.1", "10.0.0.2"], "conditions": {"ready": True}}
    assert addresses(service(HTTP), piece(pod, http=8080)) == ["10.0.0.1:8080"]


@pytest.mark.parametrize(
    ("address", "port"), [("224.0.0.1", 80), ("0.0.0.0", 80), ("10.0.0.300", 80), ("10.0.0.1", 70_000), ("", 80)]
)
def test_what_no_pod_can_have_is_left_out_so_that_the_others_are_served(address: str, port: int) -> None:
    """Nothing has validated a manual slice before."""
    by_hand = piece(member(address), http=port)
    assert addresses(service(HTTP), by_hand, piece(member("10.0.0.2"), http=80)) == ["10.0.0.2:80"]


def terminating(address: str, pod: str, *, serving: bool = True) -> Json:
    conditions = {"ready": False, "serving": serving, "terminating": True}
    return member(address, pod) | {"conditions": conditions}


def test_pods_that_terminate_and_still_serve_are_used_while_no_other_is_left() -> None:
    """As kube-proxy does."""
    last = piece(terminating("10.0.0.1", "a"), terminating("10.0.0.2", "b", serving=False), http=8080)
    found = known(service(HTTP), last)
    assert found == Resolved((Endpoint("10.0.0.1", 8080, "a"),), True, 0, "only 1 terminating pod that still serves")
    starting = piece(member("10.0.0.3", "c", ready=False), http=8080)
    assert known(service(HTTP), last, starting).unready == 1
    ready = piece(member("10.0.0.4", "d"), http=8080)
    assert known(service(HTTP), last, starting, ready) == Resolved((Endpoint("10.0.0.4", 8080, "d"),), unready=1)


def test_unready_pods_are_counted_once_and_terminating_ones_are_not_waited_for() -> None:
    four = piece(member("10.0.0.1", "a", ready=False), terminating("10.0.0.2", "b"), http=80)
    six = piece(member("fd00::1", "a", ready=False), member("fd00::3", "c"), family="IPv6", http=80)
    assert known(service(HTTP), four, six).unready == 1


# What the Service has that receives no connections

WEB = {"http": 8080}


@pytest.mark.parametrize(
    ("slices", "note"),
    [
        ([piece(member("10.0.0.1"), **WEB)], ""),
        ([piece(http=8080)], ""),
        ([], "no EndpointSlice yet"),
        (
            [piece(member("10.0.0.1", "a"), member("10.0.0.2", "b"))],
            '2 ready pods, none has a port for targetPort "web"',
        ),
        (
            [piece(member("10.0.0.1", "a"), **WEB), piece(member("10.0.0.2", "b"))],
            '1 of 2 ready pods without a port for targetPort "web"',
        ),
        ([piece(member("10.0.0.2", "b", ready=False))], ""),
        (
            [piece(member("x.example"), member("y.example"), family="FQDN", **WEB)],
            "2 host names instead of IP addresses (addressType FQDN), which Kanary does not use",
        ),
        ([piece(member("224.0.0.1"), **WEB)], "1 endpoint without a unicast IP address and a port from 1 to 65535"),
    ],
)
def test_what_receives_no_connections_is_reported(slices: list[Json], note: str) -> None:
    assert known(service(HTTP), *slices).note == note


def test_without_a_named_target_port_the_service_port_is_what_a_slice_lacks() -> None:
    assert known(service(ADMIN), piece(member("10.0.0.1"), other=1), port=9090).note == (
        '1 ready pod, none has a port for Service port "admin"'
    )


def test_only_a_pod_gives_an_endpoint_its_name() -> None:
    node = member("10.0.0.1") | {"targetRef": {"kind": "Node", "name": "node-1"}}
    assert found(service(HTTP), piece(node, http=80)) == (Endpoint("10.0.0.1", 80),)


# A Service that was replaced


def owned(uid: str, *members: Json, kind: str = "Service") -> Json:
    metadata = {"ownerReferences": [{"kind": kind, "uid": uid}]}
    return piece(*members, http=80) | {"metadata": metadata}


def test_slices_of_a_former_service_say_nothing() -> None:
    now = service(HTTP) | {"metadata": {"name": "v1", "uid": "2"}}
    former = owned("1", member("10.0.0.1"))
    assert not known(now, former).is_known
    assert addresses(now, former, owned("2", member("10.0.0.2"))) == ["10.0.0.2:80"]
    by_hand, mirrored = piece(member("10.0.0.3"), http=80), owned("9", member("10.0.0.4"), kind="Endpoints")
    assert addresses(now, former, by_hand, mirrored) == ["10.0.0.3:80", "10.0.0.4:80"]


def test_without_a_slice_endpoints_are_unknown_and_with_an_empty_one_there_are_none() -> None:
    assert known(service(HTTP)) == Resolved(note="no EndpointSlice yet", is_known=False)
    assert known(service(HTTP), piece(http=80)) == Resolved()


def test_a_slice_in_which_the_port_still_has_its_former_name_says_nothing() -> None:
    """The cluster updates the slices of a Service a moment after the Service."""
    renamed = service({"name": "web", "port": 80}) | {"metadata": {"name": "v1", "uid": "1"}}
    assert not known(renamed, owned("1", member("10.0.0.1")), port=80).is_known
    without = owned("1", member("10.0.0.1")) | {"ports": []}
    assert known(renamed, without, port=80).note == '1 ready pod, none has a port for Service port "web"'
    both = service({"name": "web", "port": 80}, {"name": "http", "port": 81}) | {"metadata": {"name": "v1", "uid": "1"}}
    assert known(both, owned("1", member("10.0.0.1")), port=80).is_known
    assert known(renamed, piece(member("10.0.0.1"), http=80), port=80).is_known


# One list


def test_each_endpoint_stands_once_whatever_slices_it_is_in() -> None:
    one, two = piece(member("10.0.0.1", "a"), http=80), piece(member("10.0.0.1", "a"), member("10.0.0.2"), http=80)
    assert addresses(service(HTTP), one, two) == ["10.0.0.1:80", "10.0.0.2:80"]


def test_an_address_that_is_named_by_two_pods_stands_once() -> None:
    one, two = piece(member("10.0.0.1", "a"), http=80), piece(member("10.0.0.1", "b"), http=80)
    assert found(service(HTTP), one, two) == found(service(HTTP), two, one)
    assert addresses(service(HTTP), one, two) == ["10.0.0.1:80"]


def test_a_pod_that_is_ready_in_one_slice_is_ready() -> None:
    one, two = piece(member("10.0.0.1", ready=False), http=80), piece(member("10.0.0.1"), http=80)
    assert addresses(service(HTTP), one, two) == ["10.0.0.1:80"]


_members = st.builds(
    member,
    st.ip_addresses(v=4, network="10.0.0.0/29").map(str),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from([True, False, None]),
)
_slices = st.lists(
    st.builds(
        lambda members, number, family: piece(*members, family=family, http=number),
        st.lists(_members, max_size=4),
        st.integers(1, 3),
        st.sampled_from(["IPv4", "IPv4", "IPv6"]),
    ),
    max_size=4,
)


@given(_slices, st.randoms(use_true_random=False))
def test_the_order_in_which_slices_arrive_makes_no_difference(slices: list[Json], random: Any) -> None:
    shuffled = random.sample(slices, len(slices))
    assert found(service(HTTP), *slices) == found(service(HTTP), *shuffled)


@given(_slices)
def test_endpoints_are_sorted_unique_and_fit_for_a_proxy(slices: list[Json]) -> None:
    result = found(service(HTTP), *slices)
    assert list(result) == sorted(result, key=lambda endpoint: endpoint.order)
    servers = [Server(endpoint.address, endpoint.port) for endpoint in result]
    assert len(set(servers)) == len(servers)


# Address families

V4, V6 = piece(member("10.0.0.1", "a"), http=80), piece(member("fd00::1", "a"), family="IPv6", http=80)


@pytest.mark.parametrize(
    ("families", "slices", "expected"),
    [
        (["IPv4", "IPv6"], [V4, V6], ["10.0.0.1:80"]),
        (["IPv6", "IPv4"], [V4, V6], ["fd00::1:80"]),
        (["IPv6"], [V6], ["fd00::1:80"]),
        (None, [V4, V6], ["10.0.0.1:80"]),
        (None, [V6], ["fd00::1:80"]),
        (["IPv6", "IPv4"], [V4], ["10.0.0.1:80"]),
        (["IPv4"], [], []),
    ],
)
def test_a_pod_of_two_families_is_taken_once_by_the_one_that_the_service_prefers(
    families: list[str] | None, slices: list[Json], expected: list[str]
) -> None:
    assert addresses(service(HTTP, ipFamilies=families), *slices) == expected


def test_each_pod_is_taken_by_the_family_that_it_has() -> None:
    """While a cluster becomes dual-stack, only some pods have both."""
    four = piece(member("10.0.0.1", "a"), member("10.0.0.2", "b"), http=80)
    six = piece(member("fd00::1", "a"), member("fd00::3", "c"), family="IPv6", http=80)
    both = service(HTTP, ipFamilies=["IPv6", "IPv4"])
    assert addresses(both, four, piece(family="IPv6", http=80)) == ["10.0.0.1:80", "10.0.0.2:80"]
    assert addresses(both, four, six) == ["10.0.0.2:80", "fd00::1:80", "fd00::3:80"]
    assert addresses(service(HTTP), four, six) == ["10.0.0.1:80", "10.0.0.2:80", "fd00::3:80"]


def test_endpoints_without_a_pod_are_taken_by_one_family() -> None:
    """Nothing says which of them are the same."""
    four, six = piece(member("10.0.0.1"), http=80), piece(member("fd00::1"), member("fd00::2"), family="IPv6", http=80)
    assert addresses(service(HTTP), four, six) == ["10.0.0.1:80"]
    assert addresses(service(HTTP, ipFamilies=["IPv6"]), four, six) == ["fd00::1:80", "fd00::2:80"]


# Endpoints, where the cluster has no slices


def test_endpoints_are_read_as_slices_without_those_that_are_not_ready() -> None:
    endpoints = {
        "metadata": {"name": "v1"},
        "subsets": [
            {
                "addresses": [{"ip": "10.0.0.1", "targetRef": {"kind": "Pod", "name": "a"}}, {"ip": "fd00::1"}],
                "notReadyAddresses": [{"ip": "10.0.0.9"}],
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            },
            {"addresses": [{"ip": "10.0.0.2"}], "ports": [{"name": "http", "port": 8081, "protocol": "TCP"}]},
            {"notReadyAddresses": [{"ip": "10.0.0.8"}], "ports": [{"name": "http", "port": 8080}]},
        ],
    }
    slices = slices_from_endpoints(endpoints)
    assert found(service(HTTP), *slices) == (Endpoint("10.0.0.1", 8080, "a"), Endpoint("10.0.0.2", 8081))
    assert addresses(service(HTTP, ipFamilies=["IPv6"]), *slices) == ["10.0.0.1:8080", "fd00::1:8080"]


def test_unnamed_ports_of_endpoints_are_found_by_number() -> None:
    endpoints = {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 8080, "protocol": "TCP"}]}]}
    assert addresses(service({"port": 80}), *slices_from_endpoints(endpoints), port=80) == ["10.0.0.1:8080"]


@pytest.mark.parametrize("endpoints", [{}, {"subsets": None}, {"subsets": [{"ports": [{"port": 1}]}]}])
def test_endpoints_without_addresses_are_known_to_be_none(endpoints: Json) -> None:
    assert known(service(HTTP), *slices_from_endpoints(endpoints)) == Resolved()


# What is wrong with a backend


@pytest.mark.parametrize(
    ("service", "port", "problem"),
    [
        pytest.param(
            None,
            "http",
            Problem(
                Reason.BACKEND_NOT_FOUND,
                'spec.routes[0].backend.serviceName: Service "v1" does not exist in namespace shop: create it, or name '
                "one that does",
            ),
            id="no such Service",
        ),
        pytest.param(
            service(type="ExternalName", externalName="db.example.com"),
            "http",
            Problem(
                Reason.BACKEND_IS_EXTERNAL_NAME,
                'spec.routes[0].backend.serviceName: Service "v1" is an ExternalName for "db.example.com", which has '
                "no endpoints: name a Service that selects pods",
            ),
            id="ExternalName",
        ),
        pytest.param(
            service(HTTP, ADMIN),
            "htpp",
            Problem(
                Reason.BACKEND_PORT_NOT_FOUND,
                'spec.routes[0].backend.servicePort: Service "v1" has no port htpp: use one of http (80), admin (9090)',
            ),
            id="no port of that name",
        ),
        pytest.param(
            service({"port": 80}),
            8080,
            Problem(
                Reason.BACKEND_PORT_NOT_FOUND,
                'spec.routes[0].backend.servicePort: Service "v1" has no port 8080: use one of 80',
            ),
            id="no port of that number",
        ),
        pytest.param(
            service(HTTP),
            "80",
            Problem(
                Reason.BACKEND_PORT_NOT_FOUND,
                'spec.routes[0].backend.servicePort: Service "v1" has no port 80: no port has that name; write a '
                "number without quotes",
            ),
            id="a number in quotes",
        ),
        pytest.param(
            service(clusterIP="None"),
            80,
            Problem(
                Reason.BACKEND_PORT_NOT_FOUND,
                'spec.routes[0].backend.servicePort: Service "v1" has no port 80: add a TCP port to it',
            ),
            id="no port at all",
        ),
        pytest.param(
            service({"name": "dns", "port": 53, "protocol": "UDP"}, HTTP),
            "dns",
            Problem(
                Reason.BACKEND_PORT_NOT_TCP,
                'spec.routes[0].backend.servicePort: port dns of Service "v1" has protocol UDP, and Kanary splits TCP '
                "only: use one of http (80)",
            ),
            id="UDP beside TCP",
        ),
        pytest.param(
            service({"port": 132, "protocol": "SCTP"}),
            132,
            Problem(
                Reason.BACKEND_PORT_NOT_TCP,
                'spec.routes[0].backend.servicePort: port 132 of Service "v1" has protocol SCTP, and Kanary splits '
                "TCP only: add a TCP port to it",
            ),
            id="SCTP only",
        ),
    ],
)
def test_what_is_wrong_with_a_backend_is_reported_with_the_way_out(
    service: Json | None, port: str | int, problem: Problem
) -> None:
    assert resolved(service, V4, port=port) == problem


def test_endpoints_that_are_there_and_not_ready_are_counted_either_way() -> None:
    subset = {
        "addresses": [{"ip": "10.0.0.1"}],
        "notReadyAddresses": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.3"}],
        "ports": [{"name": "http", "port": 9000}],
    }
    assert known(service(HTTP), *slices_from_endpoints({"subsets": [subset]})).unready == 2
    starting = piece(member("10.0.0.1"), member("10.0.0.2", ready=False), http=80)
    assert known(service(HTTP), starting, piece(family="IPv6", http=80)).unready == 1
