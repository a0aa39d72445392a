"""What is kept of an adopted Service leads back to exactly what it was, whatever ports it has."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.render.adoption import adoption_of, given_back, lost_port, switched
from engine.render.objects import covers, made_from
from engine.render.slots import assign
from tests.unit.kanaries import OWNER, spec

Json = dict[str, Any]

# Among them the names and numbers of the proxies' own ports.
_targets = st.sampled_from(["split", "web", 8080, 8081, 8082, 9000])
_ports = st.lists(
    st.fixed_dictionaries(
        {
            "port": st.integers(80, 84),
            "protocol": st.sampled_from(["TCP", "TCP", "TCP", "UDP"]),
            "targetPort": _targets,
            "nodePort": st.integers(30_000, 30_100),
        }
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda port: (port["port"], port["protocol"]),
)


def live(ports: list[Json]) -> Json:
    named = [{"name": f"p{number}", **port} for number, port in enumerate(ports)]
    metadata = {"name": "myapp", "namespace": "shop", "labels": {"theirs": "1"}, "annotations": {"theirs": "1"}}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"clusterIP": "10.0.0.1", "selector": {"app": "myapp"}, "ports": named},
    }


def turned(service: Json, *further: int) -> Json:
    """The Service after the write of the operator, with a Kanary of port 80 and these."""
    declared = spec(ports=[{"name": f"more-{port}", "port": port, "servicePort": port} for port in further])
    desired = switched(OWNER, declared, assign((), (), [port.name for port in declared.ports]), service)
    annotations = {**service["metadata"].get("annotations", {}), **desired["metadata"]["annotations"]}
    metadata = {**service["metadata"], "annotations": annotations}
    return {**service, "metadata": metadata, "spec": {**service["spec"], **desired["spec"]}}


_served = st.sets(st.integers(81, 84), max_size=4).map(sorted)


@given(_ports, _served)
def test_it_is_given_back_as_it_was(ports: list[Json], served: list[int]) -> None:
    before = live(ports)
    after = turned(before, *served)
    assert given_back(after) == before
    turned_ports = [
        port for port in after["spec"]["ports"] if port["port"] in {80, *served} and port["protocol"] == "TCP"
    ]
    assert [known.port for known in adoption_of(after).ports] == [port["port"] for port in turned_ports]


@given(_ports, _served)
def test_a_second_write_would_change_nothing(ports: list[Json], served: list[int]) -> None:
    after = turned(live(ports), *served)
    again = turned(after, *served)
    assert again == after
    assert made_from(after, again)
    assert covers(after, again)


@given(_ports, _served, _served)
def test_what_it_was_is_known_after_other_ports_are_served(
    ports: list[Json], first: list[int], then: list[int]
) -> None:
    """Whoever adds and removes ports meanwhile, also by a write that overtakes that of the Service."""
    before = live(ports)
    after = turned(turned(before, *first), *then)
    is_lost = any(port["port"] in set(first) - set(then) and port["protocol"] == "TCP" for port in ports)
    assert bool(lost_port(spec(ports=[]), turned(before, *first))) >= is_lost
    assert {port["targetPort"] for port in given_back(after)["spec"]["ports"]} <= {port["targetPort"] for port in ports}


@given(_ports, _served)
def test_without_selector_and_target_ports_it_is_what_it_was(ports: list[Json], served: list[int]) -> None:
    """An apply of a manifest without them: the cluster sets the default of the target ports."""
    before = live([port for port in ports if port["protocol"] == "TCP"])
    after = turned(before, *served)
    known = {port.port for port in adoption_of(after).ports}
    taken_out = [
        {**port, "targetPort": port["port"]} if port["port"] in known else port for port in after["spec"]["ports"]
    ]
    bare = {**after, "spec": {**after["spec"], "selector": None, "ports": taken_out}}
    assert given_back(bare)["spec"] == before["spec"]
