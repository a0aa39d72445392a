"""RBAC: who may do what, by the roles and bindings of manifests, and what of it was used.

A request without a token is a test's own, and may do everything.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from .cluster import Cluster
from .errors import ApiError
from .requests import APPLY_PATCH, Request

Json = dict[str, Any]


class Right(NamedTuple):
    """One verb on one kind of object; an empty namespace means all, an empty name every object."""

    verb: str
    resource: str
    """PLURAL, PLURAL.GROUP, or one of these with /SUBRESOURCE."""
    namespace: str = ""
    name: str = ""

    def covers(self, needed: Right) -> bool:
        return (self.verb, self.resource) == (needed.verb, needed.resource) and (
            self.namespace in ("", needed.namespace) and self.name in ("", needed.name)
        )

    def __str__(self) -> str:
        scope = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        return f"{self.verb} {self.resource}{f' {self.name}' if self.name else ''} {scope}"


class Subject(NamedTuple):
    """One for whom the server looks up rights: its name, and what is granted to it."""

    name: str
    granted: frozenset[Right]


def granted_to(account: tuple[str, str], documents: Iterable[Json]) -> frozenset[Right]:
    """What these roles and bindings grant to the ServiceAccount of this namespace and name."""
    documents = [*documents]
    roles = {(d["kind"], _name_of(d)): d for d in documents if d["kind"] in ("Role", "ClusterRole")}
    found: set[Right] = set()
    for binding in documents:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        namespace = binding["metadata"].get("namespace", "")
        kind, name = binding["roleRef"]["kind"], binding["roleRef"]["name"]
        role = roles[kind, (namespace if kind == "Role" else "", name)]
        if any((each.get("namespace"), each["name"]) == account for each in binding["subjects"]):
            found |= rights_of(role, namespace)
    return frozenset(found)


def rights_of(role: Json, namespace: str) -> frozenset[Right]:
    """What a role grants if it is bound in this namespace; empty means all."""
    return frozenset(_rights(role["rules"], namespace))


def _rights(rules: Iterable[Json], namespace: str) -> Iterator[Right]:
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    for verb in rule["verbs"]:
                        yield Right(verb, _qualified(resource, group), namespace, name)


def _name_of(document: Json) -> tuple[str, str]:
    return document["metadata"].get("namespace", ""), document["metadata"]["name"]


def _qualified(resource: str, group: str) -> str:
    plural, slash, subresource = resource.partition("/")
    return f"{plural}.{group}{slash}{subresource}" if group else resource


class Authorizer:
    """Compares each request with what its sender may do. Safe to use from many threads."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._subjects: Mapping[str, Subject] = {}
        self._lock = threading.Lock()
        self._used: dict[str, set[Right]] = {}
        self._refused: dict[str, set[Right]] = {}

    def let(self, token: str, name: str, granted: Iterable[Right]) -> None:
        """Requests with this token are from one who has this name and these rights, and no others."""
        self._subjects = {**self._subjects, token: Subject(name, frozenset(granted))}

    def used(self, token: str) -> set[Right]:
        """What was needed for the requests with this token that were allowed."""
        with self._lock:
            return {*self._used.get(token, ())}

    def refused(self, token: str) -> set[Right]:
        """What the requests with this token lacked."""
        with self._lock:
            return {*self._refused.get(token, ())}

    def check(self, request: Request, token: str) -> None:
        """Raises ApiError 403 if its sender has no right to it, and 401 if it is nobody's token."""
        if not token:
            return
        subject = self._subjects.get(token)
        if subject is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        for needed in self._needed(request):
            allowed = any(right.covers(needed) for right in subject.granted)
            with self._lock:
                (self._used if allowed else self._refused).setdefault(token, set()).add(needed)
            if not allowed:
                raise _forbidden(subject.name, request, needed)

    def _needed(self, request: Request) -> Iterator[Right]:
        target = request.target
        resource = _qualified(target.resource.plural, target.resource.group)
        resource += f"/{target.subresource}" if target.subresource else ""
        yield Right(_verb(request), resource, target.namespace, target.name)
        # An apply that creates the object needs that right as well. A port-forward over WebSockets is a GET, but
        # current API servers check for `create` too.
        if target.subresource == "portforward" or (request.content_type == APPLY_PATCH and not self._exists(request)):
            yield Right("create", resource, target.namespace, target.name)

    def _exists(self, request: Request) -> bool:
        target = request.target
        return self._cluster.storage.get(target.resource.storage, target.namespace, target.name) is not None


def _verb(request: Request) -> str:
    if request.method == "GET":
        if request.target.name:
            return "get"
        return "watch" if request.is_watch else "list"
    return {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[request.method]


def _forbidden(user: str, request: Request, needed: Right) -> ApiError:
    target = request.target
    kind = target.resource.plural + (f"/{target.subresource}" if target.subresource else "")
    named = f'{kind} "{target.name}"' if target.name else kind
    scope = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
    where = f'in API group "{target.resource.group}" {scope}'
    message = f'{named} is forbidden: User "{user}" cannot {needed.verb} resource "{kind}" {where}'
    return ApiError(403, "Forbidden", message, target.resource.subject(target.name).details(kind))
