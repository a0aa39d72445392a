"""Further ports of the destination: from `spec.ports` to the Service and the configuration of the proxies."""

from typing import Any

import pytest

from engine.model.spec import Backend, KanarySpec
from engine.model.states import Endpoint, read_applied
from engine.observe import Defaults
from engine.plan import Target, plan, plan_unapplied
from engine.resolve.intent import backends_of, problems_among
from engine.resolve.validation import InvalidSpecError
from states import Action, Difference, Problem, Reason
from tests.unit.kanaries import OWNER, Json, route, spec
from tests.unit.observations import observed, split
from tests.unit.snapshots import NOW

METRICS: Json = {"name": "metrics", "port": 15692, "servicePort": "prometheus"}
ADMIN: Json = {
    "name": "admin",
    "port": 15672,
    "servicePort": 15672,
    "backends": [{"serviceName": "myapp-v2", "servicePort": 8080}],
}


def weights(declared: KanarySpec, port: int) -> dict[str, float]:
    return {str(each.backend): float(each.weight) for each in declared.splits[port]}


def endpoints(declared: KanarySpec) -> dict[Backend, tuple[Endpoint, ...]]:
    return {
        each.backend: (Endpoint(f"10.0.0.{number}", 80, "pod"),) for number, each in enumerate(declared.all_routes, 1)
    }


def planned(declared: KanarySpec, last: Target | None = None) -> Target:
    if last is None:
        return plan_unapplied(OWNER, declared, endpoints(declared), Defaults("kanary-haproxy:test"), NOW)
    return plan(observed(last=last.written), split(declared, endpoints=endpoints(declared)))


def service_ports(target: Target) -> dict[str, Any]:
    (service,) = target.planned[Action.EXPOSE]
    return {port["name"]: port["targetPort"] for port in service.rendered["spec"]["ports"]}


def test_each_port_has_the_weights_of_the_routes() -> None:
    declared = spec(ports=[METRICS, ADMIN])
    assert weights(declared, 1) == {"myapp-v1:prometheus": 80, "myapp-v2:prometheus": 20}
    assert weights(declared, 2) == {"myapp-v1:15672": 80, "myapp-v2:8080": 20}
    assert len(declared.all_routes) == 6


def test_two_routes_to_one_service_are_one_of_a_further_port() -> None:
    declared = spec(routes=[route("v1", 30), route("v1", 20, 81), route("v2", 50)], ports=[METRICS])
    assert weights(declared, 1) == {"v1:prometheus": 50, "v2:prometheus": 50}


TWICE = [{"serviceName": "myapp-v1", "servicePort": port} for port in (1, 2)]


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        ([{**METRICS, "name": "tcp"}], 'spec.ports[0].name is "tcp", the name of spec.port: choose another name'),
        ([METRICS, {**ADMIN, "name": "metrics"}], 'spec.ports[1].name is "metrics", the name of spec.ports[0]'),
        ([{**METRICS, "port": 80}], "spec.ports[0].port is 80, the port of spec.port: choose another port"),
        ([METRICS, {**ADMIN, "port": 15692}], "spec.ports[1].port is 15692, the port of spec.ports[0]"),
        ([{**METRICS, "servicePort": "http"}], "spec.ports[0] leads to myapp-v1:http, as spec.routes does"),
        ([METRICS, {**ADMIN, "servicePort": "prometheus"}], "spec.ports[1] leads to myapp-v1:prometheus"),
        ([{**METRICS, "port": "80"}], 'spec.ports[0].port is "80": must be a whole number from 1 to 65535'),
        ([{**METRICS, "name": "A"}], 'spec.ports[0].name is "A": must be the name of a Service port'),
        (["metrics"], 'spec.ports[0] is "metrics": must be an object with a name, a port and a servicePort'),
        ([{**METRICS, "backends": [1]}], "spec.ports[0].backends[0] is 1: must be an object with serviceName and"),
        ([{"name": "a", "port": 1}], "spec.ports[0].servicePort is missing: must be the name of a Service port"),
        ([{**METRICS, "backends": TWICE}], "spec.ports[0].backends has myapp-v1 twice: leave one"),
        ([{**METRICS, "port": number} for number in range(1, 6)], "spec.ports has 5 entries: must be a list"),
    ],
)
def test_bad_ports_are_reported(ports: list[Json], message: str) -> None:
    with pytest.raises(InvalidSpecError) as raised:
        spec(ports=ports)
    assert message in raised.value.problem.message


def test_more_backends_than_a_configuration_has_rules_for_are_reported() -> None:
    with pytest.raises(InvalidSpecError, match=r"51 routes and 1 further ports have 102 backends.* may be 100"):
        spec(routes=[route(f"v{number}", 50 if number == 0 else 1) for number in range(51)], ports=[METRICS])


def test_a_missing_service_is_reported_once_and_a_missing_port_with_its_place() -> None:
    assert list(backends_of(spec(ports=[ADMIN])).values())[2:] == ["spec.ports[0]", "spec.ports[0].backends[0]"]
    declared = spec(ports=[METRICS])
    wheres = backends_of(declared)
    assert list(wheres.values()) == [
        "spec.routes[0].backend",
        "spec.routes[1].backend",
        "spec.ports[0]",
        "spec.ports[0]",
    ]
    found = {
        backend: Problem(Reason.BACKEND_NOT_FOUND if backend.service_name == "myapp-v1" else reason, where)
        for (backend, where), reason in zip(wheres.items(), [Reason.BACKEND_PORT_NOT_FOUND] * 4, strict=True)
    }
    told = [(problem.reason, problem.message) for problem in problems_among(found, declared)]
    assert told == [
        (Reason.BACKEND_NOT_FOUND, "spec.routes[0].backend"),
        (Reason.BACKEND_PORT_NOT_FOUND, "spec.routes[1].backend"),
        (Reason.BACKEND_PORT_NOT_FOUND, "spec.ports[0]"),
    ]


def test_the_service_leads_each_port_to_one_of_the_proxies() -> None:
    target = planned(spec(ports=[METRICS, ADMIN]))
    found = service_ports(target)
    assert found["tcp"] == "split"
    assert len({found["metrics"], found["admin"]}) == 2
    for name in ("metrics", "admin"):
        assert f"frontend split{found[name]}\n  bind :{found[name]} " in target.written.latest
    assert read_applied(target.applied.to_json()) == target.applied


def test_a_port_of_the_proxies_stays_whatever_becomes_of_the_others() -> None:
    first = planned(spec(ports=[METRICS, ADMIN]))
    swapped = planned(spec(ports=[ADMIN, METRICS]), first)
    assert service_ports(swapped) == service_ports(first)
    alone = planned(spec(ports=[ADMIN]), swapped)
    assert service_ports(alone)["admin"] == service_ports(first)["admin"]
    other = planned(spec(ports=[{**METRICS, "name": "other"}, ADMIN]), alone)
    assert service_ports(other)["admin"] == service_ports(first)["admin"]


def test_another_port_replaces_no_proxy() -> None:
    one, two = planned(spec()), planned(spec(ports=[METRICS]))
    assert one.goal.template == two.goal.template


def test_endpoints_of_a_further_port_are_no_change_of_the_split() -> None:
    declared = spec(ports=[METRICS])
    first = planned(declared)
    more = endpoints(declared) | {declared.splits[1][0].backend: (Endpoint("10.0.0.9", 80, "pod"),)}
    then = plan(observed(last=first.written), split(declared, endpoints=more))
    assert then.difference is Difference.ENDPOINTS
