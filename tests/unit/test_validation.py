"""Valid specs, and the messages for invalid ones."""

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.model.spec import KanarySpec
from engine.render.objects import covers
from engine.resolve.validation import MAX_NAME_LENGTH, InvalidSpecError, read_spec
from states import OnEmptyRoute, Problem, Reason
from tests.unit.kanaries import Json, json_values, kanary, route, valid_specs

LABEL = "must be a DNS label: lower-case letters, digits and '-', starting with a letter, at most 63 characters"
NAME = (
    "must be a DNS label (lower-case letters, digits and '-', starting with a letter) of at most 55 characters; "
    "create the Kanary under such a name"
)
PERCENT = "must be a number from 0 to 100 with at most one decimal, such as 12.5"
PORT = "must be the name of a Service port"


def refusal(kanary: Json, **options: Any) -> Problem:
    with pytest.raises(InvalidSpecError) as caught:
        read_spec(kanary, **options)
    assert str(caught.value) == caught.value.problem.message
    return caught.value.problem


def weights(*shares: Any) -> Json:
    return kanary(routes=[route(f"v{number}", share) for number, share in enumerate(shares)])


# What is accepted


def test_what_the_user_leaves_out_has_these_defaults() -> None:
    spec = read_spec(kanary())
    assert (spec.port, spec.on_empty_route, spec.progress_deadline_seconds, spec.paused) == (
        80,
        OnEmptyRoute.REDISTRIBUTE,
        600,
        False,
    )
    proxy = spec.proxy
    assert (proxy.replicas, proxy.image, proxy.drain_seconds, proxy.idle_seconds) == (2, None, 600, 86_400)
    assert (proxy.resources, proxy.agent_resources, proxy.disruption_budget, proxy.template) == (None,) * 4


def test_ports_are_named_or_numbered() -> None:
    spec = read_spec(kanary())
    assert [r.backend.service_port for r in spec.routes] == ["http", 9090]
    assert [str(r.backend) for r in spec.routes] == ["myapp-v1:http", "myapp-v2:9090"]


@pytest.mark.parametrize(
    "shares",
    [
        *((100,), (100, 0), (1, 99), (34, 33, 33), (1,) * 100, (0, 0, 100)),
        *((12.5, 87.5), (33.3, 33.3, 33.4), (0.1, 99.9), (*(0.1,) * 99, 90.1)),
    ],
)
def test_any_weights_that_sum_to_exactly_100_are_taken(shares: tuple[float, ...]) -> None:
    read = read_spec(weights(*shares)).shares
    assert [str(share.weight) for share in read] == [f"{share:g}" for share in shares]


def test_a_whole_weight_may_be_written_with_a_point() -> None:
    """An API server writes 50.0 as 50; `kanary render` reads it as it is."""
    assert read_spec(weights(50.0, 50)) == read_spec(weights(50, 50))
    assert read_spec(weights(1e1, 90)) == read_spec(weights(10, 90))


def test_one_service_may_stand_twice_with_different_ports() -> None:
    spec = read_spec(kanary(routes=[route("v1", 50, "http"), route("v1", 50, "admin"), route("v2", 0)]))
    assert [share.backend for share in spec.shares] == ["v1:http", "v1:admin", "v2:http"]


def test_a_port_may_have_any_name_that_a_service_allows() -> None:
    """A Service port's name is a DNS label; the 15 characters are the limit of a container port's name."""
    for name in ("metrics-for-prometheus", "a" * 63, "8080", "0-0"):
        spec = read_spec(kanary(routes=[route("v1", 100, name)]))
        assert spec.routes[0].backend.service_port == name


def test_fields_that_a_cluster_drops_are_ignored_unless_asked_for() -> None:
    misspelt = kanary(onEmptyRuote="Hold")
    assert read_spec(misspelt).on_empty_route is OnEmptyRoute.REDISTRIBUTE
    problem = refusal(misspelt, unknown="forbid")
    assert problem == Problem(
        Reason.INVALID_SPEC,
        "spec.onEmptyRuote is not a field of a Kanary: did you mean onEmptyRoute?",
    )


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        (kanary(on_empty_route="Hold"), "spec.on_empty_route"),
        (kanary(routes=[{**route("v1", 100), "wieght": 1}]), "spec.routes[0].wieght"),
        (kanary(proxy={"replica": 3}), "spec.proxy.replica"),
        (kanary(proxy={"resources": {"request": {}}}), "spec.proxy.resources.request"),
    ],
)
def test_a_misspelt_field_is_named_with_its_place(changed: Json, path: str) -> None:
    assert refusal(changed, unknown="forbid").message.startswith(f"{path} is not a field of a Kanary")


def test_the_models_own_names_are_no_names_of_fields() -> None:
    """A cluster would drop them, so they must not take effect anywhere else."""
    assert read_spec(kanary(on_empty_route="Hold", progress_deadline_seconds=1)) == read_spec(kanary())


def test_no_null_is_mistaken_for_a_default() -> None:
    assert refusal(kanary(port=None)).message == "spec.port is null: must be a whole number from 1 to 65535"


# Weights


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((70, 20), "spec.routes: weights sum to 90 (70 + 20), 10 too few: they must sum to 100"),
        ((80, 21), "spec.routes: weights sum to 101 (80 + 21), 1 too many: they must sum to 100"),
        ((0, 0), "spec.routes: weights sum to 0 (0 + 0), 100 too few: they must sum to 100"),
        ((33, 33, 33), "spec.routes: weights sum to 99 (33 + 33 + 33), 1 too few: they must sum to 100"),
        ((50,), "spec.routes: weights sum to 50 (50), 50 too few: they must sum to 100"),
        (
            (33.3, 33.3, 33.3),
            "spec.routes: weights sum to 99.9 (33.3 + 33.3 + 33.3), 0.1 too few: they must sum to 100",
        ),
        ((50.5, 50.5), "spec.routes: weights sum to 101 (50.5 + 50.5), 1 too many: they must sum to 100"),
    ],
)
def test_weights_that_do_not_sum_to_100_are_reported_with_their_sum(shares: tuple[float, ...], message: str) -> None:
    assert refusal(weights(*shares)) == Problem(Reason.INVALID_WEIGHTS, message)


@pytest.mark.parametrize(
    ("weight", "shown"),
    [
        (-1, "-1"),
        (101, "101"),
        (12.34, "12.34"),
        (0.05, "0.05"),
        (100.1, "100.1"),
        ("80", '"80"'),
        ("1e1", '"1e1"'),
        ("80 weight 0 disabled", '"80 weight 0 disabled"'),
        (True, "true"),
        (None, "null"),
        ([80], "[80]"),
        (float("nan"), "NaN"),
        (2**63, "9223372036854775808"),
        pytest.param(10**5000, "a value that cannot be shown", id="5001 digits"),
    ],
)
def test_anything_but_a_number_of_percent_with_one_decimal_is_reported(weight: Any, shown: str) -> None:
    problem = refusal(weights(weight, 20))
    assert problem == Problem(Reason.INVALID_WEIGHTS, f"spec.routes[0].weight is {shown}: {PERCENT}")


def test_a_weight_that_is_left_out_is_reported() -> None:
    problem = refusal(kanary(routes=[{"backend": {"serviceName": "v1", "servicePort": 80}}]))
    assert problem == Problem(Reason.INVALID_SPEC, f"spec.routes[0].weight is missing: {PERCENT}")


# Routes and backends


@pytest.mark.parametrize(
    ("routes", "reported"),
    [([], "is empty"), (None, "is null")],
)
def test_a_kanary_without_routes_is_reported_what_a_route_is(routes: Any, reported: str) -> None:
    problem = refusal(kanary(routes=routes))
    message = f"spec.routes {reported}: must be a list of 1 to 100 routes, each with a backend and a weight"
    assert problem == Problem(Reason.NO_ROUTES, message)


def test_routes_that_are_left_out_are_reported() -> None:
    without = kanary()
    del without["spec"]["routes"]
    problem = refusal(without)
    assert problem.reason is Reason.NO_ROUTES
    assert problem.message.startswith("spec.routes is missing: must be a list of 1 to 100 routes")


def test_more_routes_than_percents_are_reported() -> None:
    problem = refusal(weights(*[1] * 101))
    assert problem.reason is Reason.INVALID_SPEC
    assert problem.message.startswith("spec.routes has 101 entries: must be a list of 1 to 100 routes")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("v1", 'spec.routes[0] is "v1": must be an object with a backend and a weight'),
        (
            {"weight": 100},
            "spec.routes[0].backend is missing: must be an object with serviceName and servicePort",
        ),
        (
            {"backend": "v1:80", "weight": 100},
            'spec.routes[0].backend is "v1:80": must be an object with serviceName and servicePort',
        ),
    ],
)
def test_a_route_that_is_none_is_reported_once_and_with_its_place(broken: Any, message: str) -> None:
    assert refusal(kanary(routes=[broken])) == Problem(Reason.INVALID_SPEC, message)


def test_the_same_backend_twice_is_reported_by_name() -> None:
    problem = refusal(kanary(routes=[route("v1", 50), route("v2", 20), route("v1", 30)]))
    message = "spec.routes: duplicate backend v1:http (2 times): give it one route with the sum of weights"
    assert problem == Problem(Reason.DUPLICATE_BACKEND, message)


def test_a_backend_that_is_the_destination_is_reported() -> None:
    problem = refusal(kanary(routes=[route("v1", 50), route("myapp", 50)]))
    assert problem.reason is Reason.BACKEND_IS_DESTINATION
    assert problem.message == (
        'spec.routes[1].backend.serviceName is "myapp", which is also spec.destination: this would create a '
        "loop; name the Service of a version, or another destination"
    )


@pytest.mark.parametrize("port", [0, -1, 65536, 80.5, True, None, "", "HTTP", "-1", "+1", "a\nb", "x" * 64, {}])
def test_a_port_that_is_neither_name_nor_number_is_reported(port: Any) -> None:
    problem = refusal(kanary(routes=[route("v1", 100, port)]))
    assert problem.reason is Reason.INVALID_SPEC
    assert problem.message.startswith("spec.routes[0].backend.servicePort is ")
    assert PORT in problem.message
    assert "a number from 1 to 65535 without quotes" in problem.message


# Names

NO_LABELS = ["", "My-App", "my_app", "1st", "-a", "a-", "a.b", "a b", "a#b", "${HOME}", "a\r", "été", "a" * 64]


@pytest.mark.parametrize("name", NO_LABELS)
def test_a_destination_that_is_no_dns_label_is_reported(name: str) -> None:
    problem = refusal(kanary(destination=name))
    assert problem.reason is Reason.INVALID_NAME
    assert problem.message.startswith("spec.destination is ")
    assert problem.message.endswith(LABEL)


@pytest.mark.parametrize("name", NO_LABELS)
def test_a_backend_that_is_no_dns_label_is_reported(name: str) -> None:
    problem = refusal(kanary(routes=[route(name, 100)]))
    assert problem.reason is Reason.INVALID_NAME
    assert problem.message.startswith("spec.routes[0].backend.serviceName is ")
    assert problem.message.endswith(LABEL)


@pytest.mark.parametrize("name", ["a" * (MAX_NAME_LENGTH + 1), "v1.2", "Shop", "a\n", "", None, 5, float("nan"), ["a"]])
def test_a_kanary_whose_objects_could_not_be_named_is_reported(name: Any) -> None:
    named = kanary()
    named["metadata"]["name"] = name
    problem = refusal(named)
    assert problem.reason is Reason.INVALID_NAME
    assert problem.message.startswith("metadata.name is ")
    assert problem.message.endswith(NAME)


def test_the_longest_name_still_fits_the_names_of_the_objects() -> None:
    named = kanary()
    named["metadata"]["name"] = "a" * MAX_NAME_LENGTH
    assert read_spec(named)
    assert len("a" * MAX_NAME_LENGTH + "-haproxy") == 63


@pytest.mark.parametrize("metadata", [None, [], "x"])
def test_metadata_that_is_none_is_reported_as_a_missing_name(metadata: Any) -> None:
    assert refusal(kanary() | {"metadata": metadata}).reason is Reason.INVALID_NAME


# The other fields


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("port", 0, "spec.port is 0: must be a whole number from 1 to 65535"),
        ("port", "http", 'spec.port is "http": must be a whole number from 1 to 65535'),
        ("onEmptyRoute", "hold", 'spec.onEmptyRoute is "hold": must be one of Redistribute, Hold, Fail'),
        ("paused", "yes", 'spec.paused is "yes": must be true or false'),
        ("paused", 1, "spec.paused is 1: must be true or false"),
        (
            "progressDeadlineSeconds",
            0,
            "spec.progressDeadlineSeconds is 0: must be a whole number from 1 to 86400",
        ),
        ("proxy", [], "spec.proxy is []: must be an object"),
        ("proxy", {"replicas": 0}, "spec.proxy.replicas is 0: must be a whole number from 1 to 100"),
        ("proxy", {"drainSeconds": -5}, "spec.proxy.drainSeconds is -5: must be a whole number from 1 to 86400"),
        ("proxy", {"idleSeconds": 1e9}, "spec.proxy.idleSeconds is 1000000000.0: must be a whole number from 1 to"),
        (
            "proxy",
            {"maxConnections": 1_000_001},
            "spec.proxy.maxConnections is 1000001: must be a whole number from 1 to 1000000",
        ),
        ("proxy", {"balance": "random"}, 'spec.proxy.balance is "random": must be roundrobin or leastconn'),
        ("proxy", {"image": "a b"}, 'spec.proxy.image is "a b": must be an image reference without white space'),
        (
            "proxy",
            {"resources": {"limits": {"cpu": 0.5}}},
            "spec.proxy.resources.limits.cpu is 0.5: must be a quantity from 0, such as 2, 500m or 128Mi",
        ),
        (
            "proxy",
            {"resources": {"requests": ["1"]}},
            'spec.proxy.resources.requests is ["1"]: must be a map of resource names to quantities',
        ),
    ],
)
def test_every_field_names_its_value_and_what_would_do(field: str, value: Any, message: str) -> None:
    problem = refusal(kanary(**{field: value}))
    assert problem.reason is Reason.INVALID_SPEC
    assert problem.message.startswith(message)


@pytest.mark.parametrize("version", ["v1", "V3", "", True, 2])
def test_a_proxy_protocol_that_does_not_exist_is_reported_with_its_place(version: Any) -> None:
    problem = refusal(kanary(routes=[route("v1", 100) | {"sendProxyProtocol": version}]))
    assert problem.reason is Reason.INVALID_SPEC
    assert problem.message == (f"spec.routes[0].sendProxyProtocol is {json.dumps(version)}: must be V1, V2 or left out")


@pytest.mark.parametrize("spec", ["text", 5, [1], True])
def test_a_spec_that_is_no_object_is_reported(spec: Any) -> None:
    assert "must be an object" in refusal(kanary() | {"spec": spec}).message


@pytest.mark.parametrize("spec", [None, {}])
def test_an_empty_spec_is_reported_what_it_needs(spec: Any) -> None:
    message = refusal(kanary() | {"spec": spec}).message
    assert "spec.destination is missing" in message
    assert "spec.routes is missing" in message


# Several at once


def test_all_problems_are_reported_and_the_first_gives_the_reason() -> None:
    problem = refusal(kanary(destination="Shop", port=0, paused=3))
    assert problem.reason is Reason.INVALID_NAME
    assert [part.split(" is ")[0] for part in problem.message.split("; ")] == [
        "spec.destination",
        "spec.port",
        "spec.paused",
    ]


def test_rules_are_reported_together_too() -> None:
    problem = refusal(kanary(routes=[route("myapp", 50), route("v1", 20), route("v1", 20)]))
    assert problem.reason is Reason.INVALID_WEIGHTS
    assert "sum to 90" in problem.message
    assert "duplicate backend v1:http" in problem.message
    assert "create a loop" in problem.message


def test_from_the_sixth_on_problems_are_counted() -> None:
    problem = refusal(weights(*[101] * 9))
    assert problem.message.count("is 101") == 5
    assert problem.message.endswith("; and 4 more")


# Hostile values


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nbackend none\n", r'"a\nbackend none\n"'),
        ("a\x00\x1b[31m", r'"a\u0000\u001b[31m"'),
        ("a\x7f\u2028b", r'"a\x7f\u2028b"'),
        ("\ud800", r'"\ud800"'),
        ('a"b', r'"a\"b"'),
        ("x" * 100_000, '"' + "x" * 76 + "..."),
        (date(2026, 1, 1), '"2026-01-01"'),
        ({1: "a", "b": [None]}, '{"1": "a", "b": [null]}'),
        ({(1, 2): "a"}, "a value that cannot be shown"),
    ],
)
def test_what_the_user_wrote_is_shown_printable_and_short(name: Any, shown: str) -> None:
    assert refusal(kanary(destination=name)).message == f"spec.destination is {shown}: {LABEL}"


@pytest.mark.parametrize("key", ["a\nb", "x" * 10_000, "\ud800", "\x1b[31m"])
def test_names_of_fields_are_shown_printable_and_short_too(key: str) -> None:
    for changed in (kanary(**{key: 1}), kanary(proxy={"resources": {"limits": {key: []}}})):
        message = refusal(changed, unknown="forbid").message
        assert message.isprintable()
        assert len(message) < 270


def test_keys_that_only_yaml_has_are_no_fields() -> None:
    changed = kanary()
    changed["spec"][5] = "x"
    changed["spec"][None] = "x"
    assert refusal(changed, unknown="forbid").message.count("is not a field of a Kanary") == 2


# Every input

FIELDS = [*KanarySpec.model_json_schema(by_alias=True)["properties"], "other"]


@st.composite
def _mutilated(draw: st.DrawFn) -> Json:
    """A good spec with some field, at any depth, replaced by anything."""
    spec = draw(valid_specs)
    places: list[tuple[Any, Any]] = [(spec, draw(st.sampled_from(FIELDS)))]
    for number, each in enumerate(spec["routes"]):
        places += [
            (spec["routes"], number),
            (each, "weight"),
            (each["backend"], "serviceName"),
            (each["backend"], "servicePort"),
        ]
    for field in spec.get("proxy", {}):
        places.append((spec["proxy"], field))
    container, key = draw(st.sampled_from(places))
    container[key] = draw(json_values)
    return spec


def _is_fit_to_be_read(problem: Problem) -> bool:
    return isinstance(problem.reason, Reason) and problem.message.isprintable() and 10 < len(problem.message) < 3000


@given(
    st.fixed_dictionaries({}, optional={"metadata": json_values, "spec": json_values | _mutilated()}),
    st.sampled_from(["ignore", "forbid"]),
)
@example({"metadata": {"name": "x"}, "spec": {"routes": {"a": 1}}}, "forbid")
def test_whatever_the_object_it_is_read_or_refused_with_a_reason(obj: Json, unknown: Any) -> None:
    try:
        read_spec(obj, unknown=unknown)
    except InvalidSpecError as error:
        assert _is_fit_to_be_read(error.problem)
    else:
        pytest.fail("the name is missing, at least")


@given(_mutilated())
def test_a_spec_with_one_field_spoilt_is_read_or_refused_with_a_reason(spec: Json) -> None:
    try:
        read = read_spec(kanary() | {"spec": spec})
    except InvalidSpecError as error:
        assert _is_fit_to_be_read(error.problem)
    else:
        assert sum(share.weight for share in read.shares) == 100


@given(valid_specs)
def test_a_good_spec_is_read_as_it_was_written(spec: Json) -> None:
    read = read_spec(kanary() | {"spec": spec}, unknown="forbid")
    written = read.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert read_spec(kanary() | {"spec": written}, unknown="forbid") == read
    assert covers(written, spec)


@given(valid_specs)
def test_no_two_routes_have_the_same_backend(spec: Json) -> None:
    shares = read_spec(kanary() | {"spec": spec}).shares
    assert len({share.backend for share in shares}) == len(shares)


def test_a_sum_of_many_weights_is_reported_without_each_of_them() -> None:
    message = refusal(kanary(routes=[route(f"v{number}", 2) for number in range(90)])).message
    assert message.startswith("spec.routes: weights sum to 180, 80 too many: they must sum to 100")
