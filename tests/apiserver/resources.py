"""What is served: resources by group, version and plural, as discovery, routing and the verbs see them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import Object, Subject, not_served


@dataclass(frozen=True, eq=False)
class Resource:
    """One resource. `schema` is an openAPIV3Schema: objects are pruned, defaulted and checked by it.

    `scale` has the paths of the fields of its Scale, if it has one.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = False
    scale: Object | None = None
    schema: Object | None = None
    custom: bool = True
    generation: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage(self) -> str:
        """Names the stored objects of this resource."""
        return f"{self.group}/{self.plural}"

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    def subject(self, name: str = "") -> Subject:
        return Subject(self.group, self.plural, self.kind, name)


class Catalog:
    """The resources that are served at the moment. Safe to use from many threads."""

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self._lock = threading.Lock()
        self._served = {(r.group, r.version, r.plural): r for r in resources}

    def add(self, resource: Resource) -> None:
        with self._lock:
            self._served = self._served | {(resource.group, resource.version, resource.plural): resource}

    def withdraw(self, group: str, version: str, plural: str) -> Resource:
        """No longer serves a resource; its objects stay stored.

        Raises KeyError when it was not served.
        """
        with self._lock:
            remaining = dict(self._served)
            withdrawn = remaining.pop((group, version, plural))
            self._served = remaining
        return withdrawn

    def all(self) -> list[Resource]:
        return list(self._served.values())

    def find(self, group: str, version: str, plural: str) -> Resource:
        """Raises ApiError 404 when it is not served."""
        try:
            return self._served[group, version, plural]
        except KeyError:
            raise not_served() from None

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        return next((r for r in self.all() if r.api_version == api_version and r.kind == kind), None)

    def named(self, name: str) -> Resource:
        """The resource of this PLURAL or PLURAL.GROUP.

        Raises KeyError when none matches.
        """
        plural, _, group = name.partition(".")
        for resource in self.all():
            if plural == resource.plural and group in ("", resource.group):
                return resource
        raise KeyError(f"no resource {name!r} is served; served are {sorted(r.plural for r in self.all())}")

    def of_version(self, group: str, version: str) -> list[Resource]:
        return [r for r in self.all() if (r.group, r.version) == (group, version)]
