"""What this process last wrote of each object that belongs to a Kanary."""

import threading
from typing import NamedTuple

from engine.render.adoption import adoption_of
from engine.render.objects import controller_of, owner_uid
from kanary.kube.resources import Json, Key


class AppliedVersion(NamedTuple):
    """An object as it was written."""

    owner: str
    """The UID of the Kanary."""
    uid: str
    hash: str
    version: str
    """The resulting one. The server may store another form than it receives (a CPU quantity of 0.5 becomes 500m), which
    must not cause another write."""


class LastApplied:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_kanaries: dict[Key, dict[tuple[str, str], AppliedVersion]] = {}
        """By kind and name of the object."""

    def remember(self, desired: Json, written: Json) -> None:
        """`desired` was written, and the cluster has stored it so."""
        with self._lock:
            self._of_kanaries.setdefault(kanary_of(desired), {})[_name(desired)] = _applied(desired, written)

    def was_applied(self, desired: Json) -> bool:
        """Whether this process has written the object before, for the same Kanary."""
        last = self._of(desired)
        return last is not None and last.owner == owner_uid(desired)

    def is_applied(self, desired: Json, live: Json) -> bool:
        """Whether the object in the cluster is what became of `desired`."""
        return self._of(desired) == _applied(desired, live)

    def drop(self, obj: Json) -> None:
        """Forget an object that was deleted."""
        with self._lock:
            self._of_kanaries.get(kanary_of(obj), {}).pop(_name(obj), None)

    def drop_all(self, kanary: Key) -> None:
        """Forget the objects of a deleted Kanary."""
        with self._lock:
            self._of_kanaries.pop(kanary, None)

    def _of(self, obj: Json) -> AppliedVersion | None:
        with self._lock:
            return self._of_kanaries.get(kanary_of(obj), {}).get(_name(obj))


def kanary_of(obj: Json) -> Key:
    """The Kanary that the object belongs to."""
    name = controller_of(obj).get("name") or adoption_of(obj).kanary
    return Key(obj["metadata"]["namespace"], name)


def _name(obj: Json) -> tuple[str, str]:
    return obj["kind"], obj["metadata"]["name"]


def _applied(desired: Json, stored: Json) -> AppliedVersion:
    metadata = stored["metadata"]
    annotations = str(sorted(desired["metadata"]["annotations"].items()))
    # Kinds without a generation have the resourceVersion only.
    version = str(metadata.get("generation") or metadata.get("resourceVersion"))
    return AppliedVersion(owner_uid(desired), metadata["uid"], annotations, version)
