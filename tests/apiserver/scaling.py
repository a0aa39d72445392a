"""The subresource scale of custom resources: a Scale that is read from, and written to, the fields that a CRD names."""

from __future__ import annotations

from functools import reduce
from typing import Any

from .cluster import Cluster
from .errors import ApiError, Object, bad_request, unsupported_media_type
from .patch import merge_patch
from .requests import MERGE_PATCH, Request
from .storage import Record
from .writing import Writing

API_VERSION = "autoscaling/v1"
KIND = "Scale"
_UNSET = -(2**31)
"""As many replicas as an object has whose field is left out."""
_COPIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


class Scaling:
    """The verbs of the subresource."""

    def __init__(self, cluster: Cluster, writing: Writing) -> None:
        self._cluster = cluster
        self._writing = writing

    def get(self, request: Request) -> Object:
        scale = _scale(self._writing.existing(request).value, _paths(request))
        if scale["spec"]["replicas"] == _UNSET:
            why = f'the spec replicas field "{_paths(request)["specReplicasPath"]}" does not exist'
            raise ApiError(500, "InternalError", f"Internal error occurred: {why}")
        return scale

    def update(self, request: Request) -> Object:
        with self._cluster.storage.lock:
            return self._write(request, self._writing.existing(request), request.object())

    def patch(self, request: Request) -> Object:
        # Releases from 1.22 on apply it as well.
        if request.content_type != MERGE_PATCH:
            raise unsupported_media_type((MERGE_PATCH,))
        with self._cluster.storage.lock:
            record = self._writing.existing(request)
            change = merge_patch(_scale(record.value, _paths(request)), request.object())
            return self._write(request, record, change)

    def _write(self, request: Request, record: Record, scale: Object) -> Object:
        if (scale.get("apiVersion", API_VERSION), scale.get("kind", KIND)) != (API_VERSION, KIND):
            raise bad_request(f"the object provided is no {KIND} of {API_VERSION}")
        metadata = scale.get("metadata") or {}
        if metadata.get("name") != record.name:
            raise bad_request(f"the name of the object does not match the name on the URL ({record.name})")
        value, path = record.copy(), _paths(request)["specReplicasPath"]
        # As in Go, where a number that is left out is 0.
        replicas = (scale.get("spec") or {}).get("replicas", 0)
        if replicas == _UNSET:
            raise bad_request(f'the spec replicas field "{path}" cannot be empty')
        _set(value, path, replicas)
        if version := metadata.get("resourceVersion"):
            value["metadata"]["resourceVersion"] = version
        return _scale(self._writing.replace(value, record, request), _paths(request))


def _paths(request: Request) -> Object:
    paths = request.target.resource.scale
    assert paths is not None
    return paths


def _scale(value: Object, paths: Object) -> Object:
    metadata, spec = value["metadata"], _at(value, paths["specReplicasPath"])
    selector = _at(value, paths.get("labelSelectorPath", ""))
    return {
        "kind": KIND,
        "apiVersion": API_VERSION,
        "metadata": {key: metadata[key] for key in _COPIED if key in metadata},
        "spec": {"replicas": _UNSET if spec is None else spec},
        "status": {"replicas": _at(value, paths["statusReplicasPath"]) or 0}
        | ({"selector": selector} if selector else {}),
    }


def _steps(path: str) -> list[str]:
    return path.removeprefix(".").split(".")


def _at(value: Object, path: str) -> Any:
    return reduce(lambda found, step: (found or {}).get(step), _steps(path), value)


def _set(value: Object, path: str, replicas: int) -> None:
    *steps, last = _steps(path)
    for step in steps:
        value = value.setdefault(step, {})
    value[last] = replicas
