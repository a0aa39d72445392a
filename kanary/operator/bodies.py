"""What the writer sends, from the object that is in the cluster and the desired one."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from engine.render.service import replaced_spec

Json = dict[str, Any]

_OF_ALL = ("labels", "annotations")
"""Maps in which others have entries as well."""


def replacing(live: Json, desired: Json) -> Json:
    """The object with the fields of `desired`, for the version that was read."""
    metadata = {key: {**(live["metadata"].get(key) or {}), **desired["metadata"][key]} for key in _OF_ALL}
    body = {**live, "metadata": {**live["metadata"], **metadata}}
    body |= {key: value for key, value in desired.items() if key not in ("metadata", "spec")}
    if desired["kind"] == "Service":
        body["spec"] = replaced_spec(live["spec"], desired["spec"])
    elif "spec" in desired:
        # In a budget, another field contradicts ours.
        kept = {} if desired["kind"] == "PodDisruptionBudget" else live["spec"]
        body["spec"] = {**kept, **desired["spec"]}
    return body


def as_applied(entries: Sequence[Json], manager: str) -> list[Json]:
    """The managedFields in which all fields that this manager has set count as applied."""
    ours = [entry for entry in entries if entry.get("manager") == manager and not entry.get("subresource")]
    nothing: Json = {}
    fields = reduce(_union, (entry["fieldsV1"] for entry in ours), nothing)
    applied = [{**entry, "operation": "Apply", "fieldsV1": fields} for entry in ours[:1]]
    return [*(entry for entry in entries if entry not in ours), *applied]


def _union(fields: Json, others: Json) -> Json:
    return {**fields, **{name: _union(fields.get(name, {}), inner) for name, inner in others.items()}}
