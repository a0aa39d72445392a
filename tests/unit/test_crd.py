"""The CRD: generated from the models, accepted by a cluster, with the same rules as the operator."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import celpy
import pytest
import yaml
from celpy import celtypes
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine.model.spec import GROUP, KanarySpec
from engine.model.status import KanaryStatus
from engine.resolve.validation import InvalidSpecError, read_spec
from kanary.crd import crd, structural
from kanary.history.remote import OPERATOR
from kanary.operator.settings import Settings
from states import Phase, Reason
from states.timing import duration_text
from tests.apiserver.schema import default
from tests.unit.kanaries import Json, kanary, names, route, spec, valid_specs

ROOT = Path(__file__).parents[2]
BASE = ROOT / "manifests" / "base"


@cache
def schema() -> Json:
    (version,) = crd()["spec"]["versions"]
    return dict(version["schema"]["openAPIV3Schema"])


def nodes(node: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every schema within a schema, with its place."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from nodes(node[key], f"{path}[]")


FIELDS = [(path, node) for path, node in nodes(schema()) if path.startswith((".spec", ".status"))]


# The rights and the operator


def test_undo_and_orders_to_rollouts_need_no_more_than_the_role_that_is_named_for_them() -> None:
    """What `kanary.cli.undo` and `kanary.cli.steering` request from the API server, beside the history."""
    documents = yaml.safe_load_all((BASE / "rbac.yaml").read_text())
    (role,) = [d for d in documents if d["metadata"]["name"] == "kanary-edit"]
    may = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert {("kanaries", "get"), ("kanaries", "patch"), ("services", "get")} <= may
    assert [(resource, verb) for resource, verb in may if resource == "services"] == [("services", "get")]


def test_the_operator_changes_no_pod_and_reads_only_its_own_secret() -> None:
    documents = list(yaml.safe_load_all((BASE / "rbac.yaml").read_text()))
    (everywhere,) = [d for d in documents if (d["kind"], d["metadata"]["name"]) == ("ClusterRole", "kanary")]
    (own,) = [d for d in documents if (d["kind"], d["metadata"]["name"]) == ("Role", "kanary-leader")]
    verbs = [(rule["resources"], rule["verbs"]) for rule in everywhere["rules"]]
    assert [v for resources, v in verbs if "pods" in resources] == [["get", "list", "watch"]]
    assert not any("secrets" in resources for resources, _ in verbs)
    secrets = [rule for rule in own["rules"] if rule["resources"] == ["secrets"]]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in secrets] == [
        (["create"], None),
        (["get"], ["kanary-signing-key"]),
    ]


def test_a_reader_of_the_history_may_forward_ports_of_the_operator_and_nothing_else() -> None:
    documents = yaml.safe_load_all((BASE / "rbac.yaml").read_text())
    (role,) = [d for d in documents if d["metadata"]["name"] == "kanary-viewer"]
    assert (role["kind"], role["metadata"]["namespace"]) == ("Role", "kanary-system")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]},
    ]


def test_the_history_is_found_where_the_operator_serves_it() -> None:
    documents = yaml.safe_load_all((BASE / "operator.yaml").read_text())
    (pod,) = [d["spec"]["template"] for d in documents if d["kind"] == "Deployment"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": Settings().http_port, "history": Settings().history_port}
    assert OPERATOR in [f"{name}={value}" for name, value in pod["metadata"]["labels"].items()]


# Names and columns


def test_the_kind_goes_by_all_its_names() -> None:
    spec = crd()["spec"]
    assert (spec["group"], spec["scope"]) == ("kanary.k8s.io", "Namespaced")
    assert spec["names"]["plural"] == "kanaries"
    assert spec["names"]["singular"] == "kanary"
    assert spec["names"]["shortNames"] == ["ky"]
    assert crd()["metadata"]["name"] == "kanaries.kanary.k8s.io"
    # A cluster refuses a CRD of such a group without it.
    assert crd()["metadata"]["annotations"]["api-approved.kubernetes.io"].startswith("unapproved")


def test_there_is_one_version_with_a_status_of_its_own() -> None:
    (version,) = crd()["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1", True, True)
    assert set(version["subresources"]) == {"status", "scale"}


def test_a_scale_has_the_fields_that_autoscalers_need() -> None:
    scale, fields = crd()["spec"]["versions"][0]["subresources"]["scale"], dict(nodes(schema()))
    types = {path: fields[field]["type"] for path, field in scale.items()}
    assert types == {"specReplicasPath": "integer", "statusReplicasPath": "integer", "labelSelectorPath": "string"}


def test_a_kanary_without_proxy_settings_has_replicas_to_scale_and_no_resources_that_nobody_declared() -> None:
    """Without a value at its path, an API server answers each request for a scale with an error."""
    proxy = default(kanary(), schema())["spec"]["proxy"]
    assert proxy["replicas"] == 2
    assert "resources" not in proxy


def test_the_columns_are_those_that_people_look_for() -> None:
    columns = crd()["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [column["name"] for column in columns if not column.get("priority")]
    assert shown == ["Phase", "Weights", "Step", "Ready", "Age"]
    wide = [column["name"] for column in columns if column.get("priority")]
    assert wide == ["Reason", "Revision", "Actual", "Down", "Ejected", "Destination"]


@pytest.mark.parametrize("column", crd()["spec"]["versions"][0]["additionalPrinterColumns"], ids=lambda c: c["name"])
def test_every_column_shows_a_field_that_is_there(column: Json) -> None:
    fields = {path for path, _ in nodes(schema())} | {".metadata.creationTimestamp"}
    assert column["jsonPath"] in fields


# The schema's form


@pytest.mark.parametrize("key", ["$ref", "$defs", "anyOf", "oneOf", "allOf", "title", "const", "exclusiveMinimum"])
def test_the_schema_holds_nothing_that_a_crd_cannot_say(key: str) -> None:
    assert [path for path, node in nodes(schema()) if key in node] == []


@pytest.mark.parametrize(("path", "node"), FIELDS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_field_has_a_type(path: str, node: Json) -> None:
    assert ("type" in node) is not node.get("x-kubernetes-int-or-string", False)


DESCRIBED = [(path, node) for path, node in FIELDS if not path.endswith("[]") or node.get("type") == "object"]


@pytest.mark.parametrize(("path", "node"), DESCRIBED, ids=lambda value: value if isinstance(value, str) else "")
def test_every_field_is_described_in_a_sentence(path: str, node: Json) -> None:
    assert re.fullmatch(r"[A-Z].*\.", node["description"])


def test_lists_and_texts_of_the_spec_are_bounded() -> None:
    """Else a cluster takes the rules for too costly and refuses the CRD."""
    spec = [(path, node) for path, node in FIELDS if path.startswith(".spec") and "enum" not in node]
    assert [path for path, node in spec if node.get("type") == "array" and "maxItems" not in node] == []
    assert [path for path, node in spec if node.get("type") == "string" and "maxLength" not in node] == []


def test_nothing_that_is_observed_is_ever_assumed() -> None:
    assert [path for path, node in FIELDS if path.startswith(".status") and "default" in node] == []


def test_conditions_are_merged_by_their_type() -> None:
    conditions = schema()["properties"]["status"]["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])


def test_the_description_of_the_phase_names_every_phase() -> None:
    text = schema()["properties"]["status"]["properties"]["phase"]["description"]
    assert [phase.value for phase in Phase if phase.value not in text] == []


def test_what_has_several_types_is_refused_rather_than_written() -> None:
    with pytest.raises(ValueError, match="use one type"):
        structural({"anyOf": [{"type": "integer"}, {"type": "string"}]})


# The schema and the models


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The model within an annotation such as `tuple[Route, ...]` or `Proxy | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is Annotated:
        return model_of(get_args(annotation)[0])
    if get_origin(annotation) in (tuple, list, dict, Union, UnionType):
        return next((found for each in get_args(annotation) if (found := model_of(each))), None)
    return None


def fields(model: type[BaseModel], node: Json, path: str) -> Iterator[tuple[str, FieldInfo, Json, bool]]:
    """Every field of a model and of those within it, with its schema, and whether the schema requires it."""
    for field in model.model_fields.values():
        child = node["properties"][field.alias]
        yield f"{path}.{field.alias}", field, child, field.alias in node.get("required", [])
        inner = model_of(field.annotation)
        if inner:
            node_of_inner = child.get("items", child.get("additionalProperties", child))
            if "x-kubernetes-preserve-unknown-fields" in node_of_inner:
                continue
            yield from fields(inner, node_of_inner, f"{path}.{field.alias}")


MODELS = [
    *fields(KanarySpec, schema()["properties"]["spec"], "spec"),
    *fields(KanaryStatus, schema()["properties"]["status"], "status"),
]


def test_the_schema_has_the_models_fields_and_no_others() -> None:
    in_schema = {path.removeprefix(".").replace("[]", "") for path, node in FIELDS if not path.endswith("[]")}
    assert in_schema - {"spec", "status"} == {path for path, *_ in MODELS}


@pytest.mark.parametrize(
    ("path", "field", "node", "is_required"), MODELS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_each_field_has_the_models_default_or_is_required(
    path: str, field: FieldInfo, node: Json, is_required: bool
) -> None:
    assert is_required is field.is_required()
    if path == "spec.proxy":
        # A default that is an object is the sum of its fields' defaults.
        assert node["default"] == {}
    elif path.startswith("status") or field.is_required() or field.default_factory or field.default is None:
        assert "default" not in node
    else:
        value = getattr(field.default, "value", field.default)
        value = duration_text(value) if isinstance(value, timedelta) else value
        assert node["default"] == (list(value) if isinstance(value, tuple) else value)


def test_the_schema_bounds_values_as_the_models_do() -> None:
    spec = schema()["properties"]["spec"]["properties"]
    backend = spec["routes"]["items"]["properties"]["backend"]["properties"]
    weight = spec["routes"]["items"]["properties"]["weight"]
    assert (weight["type"], weight["minimum"], weight["maximum"]) == ("number", 0, 100)
    assert (spec["routes"]["minItems"], spec["routes"]["maxItems"]) == (1, 100)
    assert spec["onEmptyRoute"]["enum"] == ["Redistribute", "Hold", "Fail"]
    assert (spec["port"]["minimum"], spec["port"]["maximum"]) == (1, 65535)
    port = backend["servicePort"]
    assert port["x-kubernetes-int-or-string"] is True
    assert (port["minimum"], port["maximum"], port["minLength"]) == (1, 65535, 1)
    assert backend["serviceName"]["maxLength"] == spec["destination"]["maxLength"] == 63


# The rules


def _equal(one: Any, other: Any) -> Any:
    """As in Kubernetes, where values of different types are unequal; this evaluator takes that for an error."""
    if isinstance(one, celtypes.MapType) and isinstance(other, celtypes.MapType):
        is_equal = one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    else:
        # A product of two doubles is a plain float here.
        is_one_type = type(one) is type(other) or (isinstance(one, float) and isinstance(other, float))
        is_equal = is_one_type and bool(one == other)
    return celtypes.BoolType(is_equal)


FUNCTIONS = {
    "_==_": _equal,
    # What Kubernetes adds to the language.
    "sum": lambda values: sum(values, start=celtypes.IntType(0)),
    "isSorted": lambda values: celtypes.BoolType(list(values) == sorted(values)),
    "replace": lambda text, old, new: celtypes.StringType(text.replace(old, new)),
    # As in Go: without the zero of 90.0.
    "string": lambda value: celtypes.StringType(f"{value:g}"),
}


@cache
def program(rule: str) -> Callable[[Json], Any]:
    environment = celpy.Environment()
    compiled = environment.program(environment.compile(rule), functions=FUNCTIONS)
    return lambda self: compiled.evaluate({"self": celpy.json_to_cel(self)})


def within(node: Json, value: Any) -> Iterator[tuple[Json, Any]]:
    """Each schema that speaks of a value within this one, and that value."""
    yield node, value
    if isinstance(value, dict):
        for name, child in node.get("properties", {}).items():
            if name in value:
                yield from within(child, value[name])
    elif isinstance(value, list):
        for each in value:
            yield from within(node["items"], each)


def typed(node: Json, value: Any) -> Any:
    """The value with every number of the schema's type `number` as a float, as a cluster hands it to rules."""
    if isinstance(value, dict):
        return {name: typed(node.get("properties", {}).get(name, {}), child) for name, child in value.items()}
    if isinstance(value, list):
        return [typed(node.get("items", {}), child) for child in value]
    return float(value) if node.get("type") == "number" else value


def rejections(obj: Json) -> list[str]:
    """What a cluster would say of an object that its schema allows: the message of each rule that fails."""
    reported = []
    for node, value in within(schema(), typed(schema(), obj)):
        for rule in node.get("x-kubernetes-validations", ()):
            if not program(rule["rule"])(value):
                expression = rule.get("messageExpression")
                reported.append(str(program(expression)(value)) if expression else rule["message"])
    return reported


RULES = [rule for _, node in nodes(schema()) for rule in node.get("x-kubernetes-validations", ())]


def test_a_good_kanary_breaks_no_rule() -> None:
    assert rejections(kanary()) == []


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (kanary(routes=[route("v1", 70), route("v2", 20)]), "weights sum to 90, and must sum to 100"),
        (kanary(routes=[route("v1", 100), route("v2", 100)]), "weights sum to 200, and must sum to 100"),
        (kanary(routes=[route(v, 33.3) for v in ("v1", "v2", "v3")]), "weights sum to 99.9, and must sum to 100"),
        (kanary(routes=[route("v1", 12.34), route("v2", 87.7)]), "must have at most one decimal, such as 12.5"),
        (
            kanary(routes=[route("v1", 50), route("v1", 50)]),
            "duplicate backend v1: give it one route with the sum of the weights",
        ),
        (
            kanary(routes=[route("myapp", 100)]),
            "backend myapp is also the destination, which would create a loop: "
            "name the Service of a version, or another destination",
        ),
        (
            kanary() | {"metadata": {"name": "a" * 56}},
            "must be a DNS label (lower-case letters, digits and '-', starting with a letter) of at most 55 characters",
        ),
    ],
)
def test_a_cluster_rejects_with_the_reason(obj: Json, message: str) -> None:
    assert rejections(obj) == [message]


def test_one_service_with_two_ports_is_no_double() -> None:
    assert rejections(kanary(routes=[route("v1", 50, 80), route("v1", 30, "http"), route("v1", 20, 81)])) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["message"])
def test_every_rule_has_a_message_for_clusters_without_expressions(rule: Json) -> None:
    assert rule["message"]
    assert rule.get("fieldPath", ".").startswith(".")


@given(st.lists(st.integers(0, 1000), max_size=7))
@example([1, 667])
def test_a_cluster_takes_all_weights_in_tenths_that_sum_to_100(cuts: list[int]) -> None:
    """Whether their floats sum to 100 or not, as those of 0.1, 66.6 and 33.3."""
    bounds = sorted(cuts)
    weights = [(end - start) / 10 for start, end in zip([0, *bounds], [*bounds, 1000], strict=True)]
    assert rejections(kanary(routes=[route(f"v{number}", weight) for number, weight in enumerate(weights)])) == []


@pytest.mark.parametrize("port", ["http", "a" * 63, "8080", "0-0", 8080])
def test_a_cluster_takes_every_port_that_the_operator_takes(port: str | int) -> None:
    obj = kanary(routes=[route("v1", 100, port)])
    assert is_read(obj)
    assert rejections(obj) == []


_names = st.sampled_from(["a", "b", "myapp"]) | names
_any_routes = st.lists(
    st.builds(
        route,
        _names,
        st.sampled_from([0, 20, 50, 80, 100, 33.3, 66.7, 12.5, 12.34, 87.66]),
        st.sampled_from(["http", "80", 80, 81]),
    ),
    min_size=1,
    max_size=4,
)


@given(_any_routes, _names, _names | st.sampled_from(["v1.2", "A", "a" * 56]))
def test_a_cluster_rejects_exactly_what_the_operator_would(routes: list[Json], destination: str, name: str) -> None:
    obj = kanary(routes=routes, destination=destination) | {"metadata": {"name": name}}
    assert bool(rejections(obj)) is not is_read(obj)


@given(valid_specs)
def test_every_good_spec_breaks_no_rule(spec: Json) -> None:
    assert rejections(kanary() | {"spec": spec}) == []


def is_read(obj: Json) -> bool:
    try:
        read_spec(obj)
    except InvalidSpecError as error:
        assert error.problem.reason in (
            Reason.INVALID_NAME,
            Reason.INVALID_WEIGHTS,
            Reason.DUPLICATE_BACKEND,
            Reason.BACKEND_IS_DESTINATION,
            Reason.INVALID_SPEC,
        )
        return False
    return True


# Manifests


def test_the_first_kanarys_manifest_is_read_as_it_stands() -> None:
    manifest = yaml.safe_load("""
        apiVersion: kanary.k8s.io/v1
        kind: Kanary
        metadata:
          name: simple-kanary-rule
        spec:
          destination: myapp
          routes:
          - backend:
              serviceName: myapp-v1
              servicePort: http
            weight: 80
          - backend:
              serviceName: myapp-v2
              servicePort: 9090
            weight: 20
        """)
    assert rejections(manifest) == []
    assert read_spec(manifest, unknown="forbid").shares == spec().shares


EXAMPLES = [
    pytest.param(document, id=f"{path.relative_to(ROOT)}:{document['metadata']['name']}")
    for path in sorted((ROOT / "examples").rglob("*.y*ml"))
    for document in yaml.safe_load_all(path.read_text())
    if document and document["kind"] == "Kanary"
]


@pytest.mark.parametrize("manifest", EXAMPLES)
def test_every_example_is_taken(manifest: Json) -> None:
    assert manifest["apiVersion"] == f"{GROUP}/v1"
    assert rejections(manifest) == []
    assert read_spec(manifest, unknown="forbid")


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


_percents = st.sampled_from([0.05, 0.1, 0.2, 1, 1.5, 2, 50])


@given(
    st.lists(st.sampled_from([0, 0.1, 1, 10, 12.34, 50, 100]), min_size=1, max_size=4),
    st.none() | st.fixed_dictionaries({"percent": _percents}),
    st.none() | st.fixed_dictionaries({"percent": _percents}),
)
@example([10, 100], {"percent": 1}, None)
@example([10, 100], None, {"percent": 0.1})
def test_a_cluster_rejects_exactly_the_rollouts_that_the_operator_would(
    steps: list[float], tolerate: Json | None, detect: Json | None
) -> None:
    # The cluster has filled in the percent of an object that is there.
    limits = {"tolerate": tolerate, "detect": detect}
    analysis = {name: value for name, value in limits.items() if value is not None}
    rollout = {"steps": [{"to": to} for to in steps], "analysis": analysis}
    obj = kanary(updateStrategy="Live", rollout=rollout)
    assert bool(rejections(obj)) is not is_read(obj)
