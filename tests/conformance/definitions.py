"""The custom resources of this suite."""

from __future__ import annotations

from typing import Any

from .api import Object

GROUP = "conformance.kanary.test"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

_CONDITIONS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
    "items": {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"type": "string"}, "status": {"type": "string"}, "reason": {"type": "string"}},
    },
}
_ROUTES = {
    "type": "array",
    "minItems": 1,
    "maxItems": 4,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["backend"],
    "items": {
        "type": "object",
        "required": ["backend"],
        "properties": {"backend": {"type": "string"}, "weight": {"type": "integer", "default": 5}},
    },
}
_SPEC = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 100},
        "replicas": {"type": "integer", "minimum": 1},
        "title": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
        "mode": {"type": "string", "enum": ["Fast", "Safe"], "default": "Fast"},
        "enabled": {"type": "boolean"},
        "ratio": {"type": "number"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "routes": _ROUTES,
        "steps": {"type": "array", "items": {"type": "object", "properties": {"pause": {"type": "integer"}}}},
        "limits": {
            "type": "object",
            "default": {},
            "properties": {"idle": {"type": "integer", "default": 3}, "open": {"type": "integer"}},
        },
    },
}
_STATUS = {
    "type": "object",
    "properties": {
        "phase": {"type": "string", "enum": ["Pending", "Ready"]},
        "observed": {"type": "integer"},
        "selector": {"type": "string"},
        "conditions": _CONDITIONS,
    },
}


def _definition(plural: str, kind: str, versions: list[Object]) -> Object:
    names = {"plural": plural, "kind": kind}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": versions},
    }


def _version(name: str, properties: Object, **more: Any) -> Object:
    schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    return {"name": name, "served": True, "storage": True, "schema": schema, **more}


_SCALE = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.observed",
    "labelSelectorPath": ".status.selector",
}
# With both subresources.
WIDGETS = _definition(
    "widgets",
    "Widget",
    [_version("v1", {"spec": _SPEC, "status": _STATUS}, subresources={"status": {}, "scale": _SCALE})],
)
# No status subresource, and the two extensions that Kubernetes 1.20 cannot combine with typed applying.
_GADGET = {
    "spec": {
        "type": "object",
        "properties": {
            "port": {"x-kubernetes-int-or-string": True},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "text": {"type": "string"},
        },
    },
    "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
}
GADGETS = _definition("gadgets", "Gadget", [_version("v1", _GADGET)])
