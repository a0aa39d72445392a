"""Reads the objects of a file, for commands that need no cluster."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from engine.model.spec import GROUP, KIND
from engine.ports import DeclaredObjects
from kanary.cli.failure import CommandError
from kanary.cli.yaml_source import read_objects

Json = dict[str, Any]


class InputError(CommandError):
    """The input of a command cannot be used; the message says what to do."""


def read_manifest(filename: str) -> list[Json]:
    """The objects of a file, of which at least one is a Kanary; `-` is the standard input. Raises InputError."""
    documents = _documents(filename)
    if not any(map(is_kanary, documents)):
        kinds = ", ".join(sorted({str(d.get("kind")) for d in documents})) or "nothing"
        raise InputError(f"{filename}: has no object of kind {KIND} in {GROUP}, only {kinds}")
    return documents


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
    owners, ports = metadata.get("ownerReferences") or [], spec.get("ports") or [] if isinstance(spec, dict) else None
    lists = owners, ports
    if not all(isinstance(found, list) and all(isinstance(each, dict) for each in found) for found in lists):
        return False
    has_labels = isinstance(metadata.get("labels") or {}, dict)
    is_whole = has_labels and all(type(port.get("port")) is int for port in ports or ())
    return is_whole and not any(owner.get("kind") == KIND for owner in owners)


def _placed(document: Json, namespace: str, number: int) -> Json:
    """The object with a namespace and a uid: of two Kanaries without creation time, the first one counts as older."""
    metadata = document["metadata"]
    placed = {"uid": f"{number:06}", **metadata, "namespace": str(metadata.get("namespace") or namespace)}
    return {**document, "metadata": placed}


def _key(document: Json) -> tuple[str, str]:
    return document["metadata"]["namespace"], str(document["metadata"].get("name"))


def read_text(filename: str) -> str:
    """The text of a file; `-` is the standard input. Raises InputError, and ValueError for invalid UTF-8."""
    try:
        return sys.stdin.read() if filename == "-" else Path(filename).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{filename}: cannot be read: {error.strerror}") from error


def _documents(filename: str) -> list[Json]:
    try:
        objects = [each.value for each in read_objects(read_text(filename))]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # PyYAML also raises ValueError for invalid UTF-8, and RecursionError.
        raise InputError(f"{filename}: is not YAML: {' '.join(str(error).split())}") from error
    for each in objects:
        if not isinstance(each, dict) or not isinstance(each.get("metadata"), dict):
            raise InputError(f"{filename}: has something that is no Kubernetes object: {str(each)[:60]!r}")
    return objects
