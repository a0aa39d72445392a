"""What all verbs work on: the stored state, and what is served."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .builtin import NAMESPACES, RESOURCES
from .resources import Catalog, Resource
from .storage import Record, Storage

# Called in the same step as the write: the state afterwards, and whether it was removed.
Effect = Callable[[Record, bool], None]


@dataclass
class Cluster:
    """The state of one API server."""

    storage: Storage = field(default_factory=Storage)
    catalog: Catalog = field(default_factory=lambda: Catalog(RESOURCES))
    effects: dict[str, Effect] = field(default_factory=dict)
    # Exceptions that no client should have been able to cause.
    defects: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.add_namespace("default")

    def now(self) -> str:
        """RFC 3339 with whole seconds, as metadata has it."""
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def new_uid(self) -> str:
        return str(uuid.uuid4())

    def add_namespace(self, name: str) -> None:
        """Makes an active namespace where there is none of that name."""
        with self.storage.lock:
            if self.storage.get(NAMESPACES.storage, "", name) is None:
                self.storage.write(NAMESPACES.storage, self._namespace(name))

    def _namespace(self, name: str) -> dict[str, object]:
        created = {"uid": self.new_uid(), "creationTimestamp": self.now()}
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **created}}

    def write(self, resource: Resource, value: dict[str, object]) -> Record:
        """Stores an object and does what follows from it."""
        with self.storage.lock:
            record = self.storage.write(resource.storage, value)
            if effect := self.effects.get(resource.storage):
                effect(record, False)
            return record

    def remove(self, bucket: str, record: Record) -> Record:
        """Removes an object and does what follows from it."""
        with self.storage.lock:
            last = self.storage.remove(bucket, record.namespace, record.name)
            if effect := self.effects.get(bucket):
                effect(last, True)
            return last
