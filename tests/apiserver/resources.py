"""What is served: resources by group, version and plural, as discovery, routing and the verbs see them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from .errors import Object, Subject, not_served

Convert = Callable[[Object], Object]


@dataclass(frozen=True)
class Codec:
    """How a served version differs from the version that is stored."""

    decode: Convert
    encode: Convert


@dataclass(frozen=True, eq=False)
class Resource:
    """One resource in one version. `schema` is an openAPIV3Schema: objects are pruned, defaulted and checked by it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = False
    short_names: tuple[str, ...] = ()
    schema: Object | None = None
    singular: str = ""
    # Resources of one bucket are views of the same stored objects.
    bucket: str = ""
    custom: bool = True
    generation: bool = True
    # A PUT without a resourceVersion overwrites, and a PUT of what does not exist creates.
    unconditional_update: bool = False
    create_on_update: bool = False
    # Field selectors beyond metadata.name and metadata.namespace: label -> dotted path.
    selectable: Mapping[str, str] = field(default_factory=dict)
    codec: Codec | None = None

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage(self) -> str:
        """Names the stored objects that this resource shows."""
        return self.bucket or f"{self.group}/{self.plural}"

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    def subject(self, name: str = "") -> Subject:
        return Subject(self.group, self.plural, self.kind, name)

    def names(self) -> set[str]:
        """Every name by which kubectl would find it."""
        return {self.plural, self.kind, self.kind.lower(), self.singular or self.kind.lower(), *self.short_names}


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
        """The resource that kubectl would take for NAME or NAME.GROUP.

        Raises KeyError when none matches.
        """
        plain, _, group = name.partition(".")
        for resource in self.all():
            if plain in resource.names() and group in ("", resource.group):
                return resource
        raise KeyError(f"no resource {name!r} is served; served are {sorted(r.plural for r in self.all())}")

    def groups(self) -> list[str]:
        """Names of the served groups, the core group ("") left out, each once and in order of first appearance."""
        return list(dict.fromkeys(r.group for r in self.all() if r.group))

    def versions(self, group: str) -> list[str]:
        return list(dict.fromkeys(r.version for r in self.all() if r.group == group))

    def of_version(self, group: str, version: str) -> list[Resource]:
        return [r for r in self.all() if (r.group, r.version) == (group, version)]
