"""Reads the objects of a file, for commands that need no cluster."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.model.spec import GROUP, KIND
from engine.ports import DeclaredObjects
from kanary.cli.failure import CommandError
from kanary.cli.yaml_source import read_objects
from kanary.cli.yaml_values import YamlError

Json = dict[str, Any]

_TEXTS = ("name", "generateName", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")
_MAX_BYTES = 32 << 20
"""As large as a manifest may be; the API server accepts 3 MiB at once."""


class InputError(CommandError):
    """The input of a command cannot be used; the message says what to do."""


def read_manifest(filename: str) -> list[Json]:
    """The objects of a file, of which at least one is a Kanary; `-` is the standard input. Raises InputError."""
    documents = _documents(filename)
    if not any(map(is_kanary, documents)):
        kinds = ", ".join(sorted(set(map(_kind, documents))))
        others = f", only {kinds}" if kinds else ": it is empty"
        raise InputError(f"{filename}: has no object of kind {KIND} in {GROUP}{others}")
    return documents


def _kind(document: Json) -> str:
    """The kind, for a message; of a Kanary of another group with that group."""
    kind = str(document.get("kind"))
    return f"{kind} of {document.get('apiVersion')}" if kind == KIND else kind


class Manifest(DeclaredObjects):
    """The Kanaries and Services of a file. Objects without a namespace are in `namespace`.

    Services that belong to a Kanary are left out: they come from a cluster, where Kanary has created them.
    """

    def __init__(self, documents: Sequence[Json], namespace: str) -> None:
        placed = [_placed(document, namespace, number) for number, document in enumerate(documents)]
        self.kanaries = [document for document in placed if is_kanary(document)]
        self._services = {_key(document): document for document in placed if is_service(document)}

    def kanary(self, namespace: str, name: str) -> Json | None:
        """The Kanary, or None."""
        return next((kanary for kanary in self.kanaries if _key(kanary) == (namespace, name)), None)

    def kanaries_for(self, namespace: str, destination: str) -> Sequence[Json]:
        """The Kanaries of the namespace with this destination."""
        in_namespace = [kanary for kanary in self.kanaries if kanary["metadata"]["namespace"] == namespace]
        return [kanary for kanary in in_namespace if (kanary.get("spec") or {}).get("destination") == destination]

    @property
    def services(self) -> Sequence[Json]:
        """The Services."""
        return [*self._services.values()]

    def service(self, namespace: str, name: str) -> Json | None:
        """The Service, or None."""
        return self._services.get((namespace, name))

    def is_reached(self, kanary: Json, name: str) -> bool:
        """Whether connections to a Kanary, whose spec is valid, reach the Kanary of this name in its namespace."""
        namespace, found = kanary["metadata"]["namespace"], [kanary]
        for each in found:
            services = [route["backend"]["serviceName"] for route in each["spec"]["routes"] if route["weight"]]
            following = [other for service in services for other in self.kanaries_for(namespace, service)]
            found += [other for other in following if other not in found]
        return any(each["metadata"]["name"] == name for each in found)


def is_kanary(document: Json) -> bool:
    """Whether the object is a Kanary, of any version."""
    return document.get("kind") == KIND and str(document.get("apiVersion", "")).startswith(f"{GROUP}/")


def is_service(document: Json) -> bool:
    """Whether the object is a whole Service that no Kanary has created: a patch of one is another object."""
    if (document.get("apiVersion"), document.get("kind")) != ("v1", "Service"):
        return False
    metadata, spec = document["metadata"], document.get("spec") or {}
    if metadata_problem(metadata) or not metadata.get("name") or not isinstance(spec, dict):
        return False
    ports, selector = spec.get("ports") or [], spec.get("selector") or {}
    if not isinstance(ports, list) or not isinstance(selector, dict):
        return False
    is_whole = all(map(_is_whole_port, ports)) and all(isinstance(value, str) for value in selector.values())
    return is_whole and not any(owner.get("kind") == KIND for owner in metadata.get("ownerReferences") or ())


def _is_whole_port(port: object) -> bool:
    return isinstance(port, dict) and type(port.get("port")) is int and type(port.get("targetPort") or 0) in {int, str}


def metadata_problem(metadata: Json) -> str:
    """What the API server would refuse about these fields, beginning with the path; empty if nothing."""
    for name in _TEXTS:
        if not isinstance(metadata.get(name) or "", str):
            return f"metadata.{name} is {json.dumps(metadata[name])[:60]}: must be a string"
    if type(metadata.get("generation") or 0) is not int:
        return "metadata.generation must be a number"
    for name in ("labels", "annotations"):
        found = metadata.get(name) or {}
        if not isinstance(found, dict):
            return f"metadata.{name} must be a map of strings"
        for key, value in found.items():
            if not isinstance(value, str):
                return f"metadata.{name}.{key} is {json.dumps(value)[:60]}: must be a string, in quotes"
    for name in ("ownerReferences", "managedFields"):
        found = metadata.get(name) or []
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            return f"metadata.{name} must be a list of objects"
    return ""


def _placed(document: Json, namespace: str, number: int) -> Json:
    """The object with a namespace and a uid: of two Kanaries without creation time, the first one counts as older."""
    metadata = document["metadata"]
    known = {"uid": metadata.get("uid") or f"{number:06}", "namespace": metadata.get("namespace") or namespace}
    return {**document, "metadata": {**metadata, **known}}


def _key(document: Json) -> tuple[str, str]:
    return document["metadata"]["namespace"], str(document["metadata"].get("name"))


def read_text(filename: str) -> str:
    """The text of a file; `-` is the standard input. Raises InputError, or YamlError if it is large or not UTF-8."""
    try:
        if filename == "-":
            raw = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(filename).open("rb") as file:
                raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{filename}: cannot be read: {error.strerror}") from error
    if len(raw) > _MAX_BYTES:
        raise YamlError(f"is larger than {_MAX_BYTES >> 20} MiB")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise YamlError(f"is not UTF-8: byte {error.start} is invalid") from error


def _documents(filename: str) -> list[Json]:
    try:
        objects = list(read_objects(read_text(filename)))
    except YamlError as error:
        raise InputError(f"{filename}:{error.place}: is not YAML: {error}") from error
    for each in objects:
        if not isinstance(each.value, dict) or not isinstance(each.value.get("metadata"), dict):
            raise InputError(f"{filename}:{each.place}: is not a Kubernetes object: it has no metadata")
        if is_kanary(each.value) and (problem := metadata_problem(each.value["metadata"])):
            raise InputError(f"{filename}:{each.place_of(problem)}: {problem}")
    return [each.value for each in objects]
