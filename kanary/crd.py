"""The CRD, from `engine.model`."""

from collections.abc import Mapping
from typing import Any

import yaml

from engine.model.rollout import Detect, Tolerate
from engine.model.spec import DNS_LABEL, GROUP, KIND, VERSION, KanarySpec
from engine.model.status import KanaryStatus
from engine.model.weight import TENTHS
from engine.resolve.validation import MAX_NAME_LENGTH

Json = dict[str, Any]

_KEPT = (
    "type",
    "description",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "pattern",
    "format",
    "default",
    "x-kubernetes-preserve-unknown-fields",
    "required",
    "x-kubernetes-int-or-string",
)
_Rules = tuple[Mapping[str, str], ...]
# An API server rejects rules with an estimated worst case that is too expensive. The results of string() and filter()
# have no known size, which is allowed only in the arguments of replace(): the messages use it instead of +.
_SPEC_RULES: _Rules = (
    {
        # In tenths: a sum of floats is not exact, but ten times the float of any valid weight is.
        "rule": f"self.routes.map(r, int(r.weight * 10.0)).sum() == {TENTHS}",
        "message": "the weights of spec.routes must sum to 100",
        "messageExpression": "'weights sum to SUM, and must sum to 100'"
        ".replace('SUM', string(double(self.routes.map(r, int(r.weight * 10.0)).sum()) / 10.0))",
        "fieldPath": ".routes",
    },
    {
        "rule": "self.routes.all(r, self.routes.exists_one(o, o.backend == r.backend))",
        "message": "duplicate backend: give it one route with the sum of the weights",
        "messageExpression": "'duplicate backend NAME: give it one route with the sum of the weights'"
        ".replace('NAME', self.routes.filter(r, !self.routes.exists_one(o, o.backend == r.backend))[0]"
        ".backend.serviceName)",
        "fieldPath": ".routes",
    },
    {
        "rule": "self.routes.all(r, r.backend.serviceName != self.destination)",
        "message": "a backend is also the destination, which would create a loop: name the Service of a "
        "version, or another destination",
        "messageExpression": "'backend NAME is also the destination, which would create a loop: name "
        "the Service of a version, or another destination'.replace('NAME', self.destination)",
        "fieldPath": ".destination",
    },
)
_WEIGHT_RULES: _Rules = (
    # Not multipleOf: API servers of all versions reject each whole weight with it, or divide by zero.
    {
        "rule": "self * 10.0 == double(int(self * 10.0))",
        "message": "must have at most one decimal, such as 12.5",
    },
)
_STEPS_RULES: _Rules = (
    {"rule": "self[0].to > 0.0", "message": "the first step must be greater than 0"},
    {"rule": "self[self.size() - 1].to == 100.0", "message": "the last step must be to 100; append {to: 100}"},
    {
        "rule": "self.map(s, s.to).isSorted() && self.all(s, self.exists_one(o, o.to == s.to))",
        "message": "each step must be greater than the one before",
    },
)
_ANALYSIS_RULES: _Rules = (
    {
        # What is left out has the operator's default.
        "rule": f"(has(self.detect) ? self.detect.percent : {float(Detect().percent)}) > "
        f"(has(self.tolerate) ? self.tolerate.percent : {float(Tolerate().percent)})",
        "message": "detect.percent must be above tolerate.percent: raise it, or lower tolerate.percent",
    },
)
_KANARY_RULES: _Rules = (
    {
        "rule": f"self.metadata.name.size() <= {MAX_NAME_LENGTH} && self.metadata.name.matches('{DNS_LABEL}')",
        "message": "must be a DNS label (lower-case letters, digits and '-', starting with a letter) of at most "
        f"{MAX_NAME_LENGTH} characters",
        "fieldPath": ".metadata.name",
    },
)
# The rule above can only refer to a field of the schema; every cluster limits names to this length anyway.
_METADATA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}}
_COLUMNS = (
    ("Phase", "string", ".status.phase", "Pending, Rendering, Rolling, Ready or Degraded", 0),
    ("Weights", "string", ".status.display.weights", "Weights that every proxy serves", 0),
    ("Step", "string", ".status.display.step", "Step of the rollout under way", 0),
    ("Ready", "string", ".status.display.ready", "Ready and desired proxies", 0),
    ("Age", "date", ".metadata.creationTimestamp", "Time since the Kanary was created", 0),
    ("Reason", "string", ".status.reason", "Why the Kanary is in its phase", 1),
    ("Revision", "integer", ".status.revision", "Counts the changes of the weights", 1),
    ("Actual", "string", ".status.display.actual", "Shares of the connections since the weights changed last", 1),
    ("Down", "string", ".status.display.down", "Pods whose health checks fail, by backend", 1),
    ("Ejected", "string", ".status.display.ejected", "Pods that reset connections and receive none for a while", 1),
    ("Destination", "string", ".spec.destination", "The Service that clients connect to", 1),
)


def crd() -> Json:
    """The CustomResourceDefinition of Kanary."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"kanaries.{GROUP}",
            # A cluster rejects groups under k8s.io without it (https://github.com/kubernetes/enhancements/pull/1111).
            "annotations": {"api-approved.kubernetes.io": "unapproved, not a Kubernetes project"},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": "kanaries",
                "singular": "kanary",
                "shortNames": ["ky"],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [_version()],
        },
    }


def _version() -> Json:
    columns = [
        {"name": name, "type": type_, "jsonPath": path, "description": text}
        | ({"priority": priority} if priority else {})
        for name, type_, path, text, priority in _COLUMNS
    ]
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.proxy.replicas",
                "statusReplicasPath": ".status.proxies.replicas",
                "labelSelectorPath": ".status.proxies.selector",
            },
        },
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": _schema()},
    }


def _schema() -> Json:
    spec = structural(KanarySpec.model_json_schema(mode="validation"))
    status = _without_defaults(structural(KanaryStatus.model_json_schema(mode="validation")))
    status["properties"]["conditions"] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    _add_rules(spec, _SPEC_RULES)
    rollout = spec["properties"]["rollout"]["properties"]
    _add_rules(rollout["steps"], _STEPS_RULES)
    _add_rules(rollout["steps"]["items"]["properties"]["to"], _WEIGHT_RULES)
    _add_rules(rollout["analysis"], _ANALYSIS_RULES)
    _add_rules(spec["properties"]["routes"]["items"]["properties"]["weight"], _WEIGHT_RULES)
    kanary = {
        "type": "object",
        "description": "Splits the TCP connections of one Service between several, by weight.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": _METADATA,
            "spec": spec,
            "status": status,
        },
    }
    _add_rules(kanary, _KANARY_RULES)
    return kanary


def _add_rules(schema: Json, rules: _Rules) -> None:
    schema["x-kubernetes-validations"] = [dict(rule) for rule in rules]


def structural(schema: Json) -> Json:
    """Convert a JSON schema of pydantic to that of a CRD: no references, titles or unions.

    A union is either "or null", which becomes an optional field, or an integer or string.
    """
    return _inlined(schema, schema.get("$defs") or {})


def _inlined(node: Json, definitions: Mapping[str, Json]) -> Json:
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[1]]
        return _inlined({**target, **{key: value for key, value in node.items() if key != "$ref"}}, definitions)
    if "anyOf" in node:
        return _inlined(_one_of(node), definitions)
    made = {key: node[key] for key in _KEPT if key in node and node[key] is not None}
    if "properties" in node:
        made["properties"] = {name: _inlined(child, definitions) for name, child in node["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            made[key] = _inlined(node[key], definitions)
    if made.get("default") is None:
        made.pop("default", None)
    return made


def _without_defaults(node: Json) -> Json:
    """The schema of a status: it has no defaults."""
    made = {key: value for key, value in node.items() if key != "default"}
    if "properties" in node:
        made["properties"] = {name: _without_defaults(child) for name, child in node["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            made[key] = _without_defaults(node[key])
    return made


def _one_of(node: Json) -> Json:
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    if node.get("x-kubernetes-int-or-string"):
        # Bounds for numbers and for strings can be combined: each applies only to values of its type.
        bounds = {key: value for branch in node["anyOf"] for key, value in branch.items() if key != "type"}
        return {**bounds, **rest}
    branches = [branch for branch in node["anyOf"] if branch.get("type") != "null"]
    if len(branches) != 1:
        raise ValueError(f"a CRD cannot express {branches}: use one type")
    return {**branches[0], **rest}


def crd_text() -> str:
    """The text of `manifests/base/crd.yaml`."""
    head = "# Generated by `make manifests` from the models in engine/model/.\n"
    return head + yaml.safe_dump(crd(), sort_keys=False, width=120)
