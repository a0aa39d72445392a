"""The Kanary that `kubectl apply` of a manifest leaves in the cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from engine.model.times import time_text
from kanary.kube.resources import Json

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def after_apply(live: Json | None, declared: Json, now: datetime) -> Json:
    """The Kanary after an apply; `live` is the one in the cluster, if there is one.

    As with kubectl, a field that the manifest does not have is removed if a former apply has set it, and stays if
    somebody else has, such as `kubectl patch`. Lists are replaced as a whole.
    """
    spec = declared.get("spec") or {}
    if live is None:
        metadata = {**declared["metadata"], "generation": 1, "creationTimestamp": time_text(now)}
        return {**declared, "metadata": metadata, "spec": spec}
    return after_replace(live, {**declared, "spec": _merged(live.get("spec") or {}, spec, _declared_before(live))})


def after_replace(live: Json, declared: Json) -> Json:
    """The Kanary with the spec of the manifest."""
    present, spec = live.get("spec") or {}, declared.get("spec") or {}
    metadata = dict(live["metadata"])
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **(declared["metadata"].get("annotations") or {})}
    metadata["generation"] = metadata.get("generation", 1) + (spec != present)
    return {**live, "metadata": metadata, "spec": spec}


def _merged(live: Any, declared: Any, before: Any) -> Any:
    if not isinstance(declared, Mapping) or not isinstance(live, Mapping):
        return declared
    former = before if isinstance(before, Mapping) else {}
    kept = {key: value for key, value in live.items() if key not in declared and key not in former}
    return kept | {key: _merged(live.get(key), value, former.get(key)) for key, value in declared.items()}


def _declared_before(live: Json) -> Json:
    """The fields of the spec that former applies have set."""
    found: Json = {}
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("operation") == "Apply":
            found = _united(found, _fields((entry.get("fieldsV1") or {}).get("f:spec") or {}))
    # A user may write anything into it.
    with suppress(ValueError, AttributeError):
        last = json.loads((live["metadata"].get("annotations") or {}).get(_LAST_APPLIED) or "{}")
        found = _united(found, last.get("spec") or {})
    return found


def _fields(managed: Json) -> Json:
    """From `{"f:proxy": {"f:replicas": {}}}` to `{"proxy": {"replicas": {}}}`."""
    return {key[2:]: _fields(value) for key, value in managed.items() if key.startswith("f:")}


def _united(one: Any, other: Any) -> Any:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return one
    return {key: _united(one.get(key, {}), other.get(key, {})) for key in {**one, **other}}
