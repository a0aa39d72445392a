"""Namespaces: active from the start."""

from __future__ import annotations

from ..errors import Object
from ..storage import Storage

BUCKET = "/namespaces"
LABEL = "kubernetes.io/metadata.name"


def complete(new: Object, old: Object | None, storage: Storage) -> None:
    new["metadata"].setdefault("labels", {})[LABEL] = new["metadata"]["name"]
    new.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    new.setdefault("status", {"phase": "Active"})
