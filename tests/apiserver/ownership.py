"""Who owns which field: managedFields, server-side apply and its conflicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from .errors import ApiError, Object
from .fieldsets import NONE, Fields, Path, from_fields_v1, readable, to_fields_v1, without_subtrees
from .merging import compare, fields_of, merge, remove, with_containers
from .shapes import Shape


class Operation(Enum):
    APPLY = "Apply"
    UPDATE = "Update"


@dataclass(frozen=True)
class Manager:
    """An owner of fields. Applying and updating under one name are two owners."""

    name: str
    operation: Operation
    subresource: str = ""
    # An applier is the same in every version; an updater is not.
    version: str = ""


@dataclass(frozen=True)
class Entry:
    """What a manager owns. `time` is in RFC 3339."""

    fields: Fields
    api_version: str
    time: str


@dataclass(frozen=True)
class Writer:
    """Who writes, in which version, to which subresource, and when (RFC 3339)."""

    name: str
    api_version: str
    now: str
    subresource: str = ""

    def manager(self, operation: Operation) -> Manager:
        version = self.api_version if operation is Operation.UPDATE else ""
        return Manager(self.name, operation, self.subresource, version)


Managers = dict[Manager, Entry]

# The server's own fields and what identifies an object belong to nobody.
_UNOWNED = (
    ("f:apiVersion",),
    ("f:kind",),
    *(
        ("f:metadata", f"f:{name}")
        for name in ("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields")
    ),
    ("f:metadata", "f:resourceVersion"),
)


def managers_of(value: Object) -> Managers:
    managers: Managers = {}
    for item in value["metadata"].get("managedFields") or ():
        operation = Operation(item["operation"])
        version = item.get("apiVersion", "")
        known_in = version if operation is Operation.UPDATE else ""
        manager = Manager(item.get("manager", ""), operation, item.get("subresource", ""), known_in)
        managers[manager] = Entry(from_fields_v1(item.get("fieldsV1") or {}), version, item.get("time", ""))
    return managers


def track_update(old: Object | None, new: Object, shape: Shape, writer: Writer, reset: Path) -> Object:
    """`new` with managedFields that give the writer every field that it added or changed.

    `reset` is the part that this endpoint does not write.
    """
    managers = managers_of(new) or (managers_of(old) if old is not None else {})
    before = _bare(old) if old is not None else _empty_like(new)
    comparison = compare(before, _bare(new), shape)
    me = writer.manager(Operation.UPDATE)
    gained = _writable(_owned(comparison.written), reset)
    managers = _without(managers, gained | comparison.removed, but=me)
    mine = managers.get(me, Entry(NONE, writer.api_version, writer.now))
    fields = (mine.fields | gained) - comparison.removed
    managers[me] = mine if fields == mine.fields else Entry(fields, writer.api_version, writer.now)
    return _with_managers(new, managers)


def apply(live: Object | None, config: Object, shape: Shape, writer: Writer, *, force: bool, reset: Path) -> Object:
    """The live object (None when there is none) with the configuration applied.

    `reset` is the part that this endpoint does not write. Raises ApiError 409 when others own what would change and
    `force` is not set.
    """
    config = remove(config, shape, frozenset({reset})) if reset else config
    before = _bare(live) if live is not None else _empty_like(config)
    managers = managers_of(live) if live is not None else {}
    me = writer.manager(Operation.APPLY)
    last = managers.get(me)
    applied = _owned(fields_of(config, shape))
    managers[me] = Entry(applied, writer.api_version, writer.now)
    merged = merge(before, config, shape)
    merged = _pruned(merged, shape, last.fields if last else NONE, managers)
    comparison = compare(before, merged, shape)
    written = _owned(comparison.written)
    _check_conflicts(managers, written, me, force=force)
    managers = _without(managers, written | comparison.removed, but=me)
    if last and last.fields == applied and not (written or comparison.removed):
        managers[me] = last
    return _with_managers(merged, managers)


def _pruned(merged: Object, shape: Shape, last: Fields, managers: Managers) -> Object:
    """`merged` without what the manager applied before, applies no longer, and nobody else owns."""
    if not last:
        return merged
    dropped = with_containers(last, shape)
    owned = with_containers(frozenset(_UNOWNED).union(*(entry.fields for entry in managers.values())), shape)
    present = with_containers(fields_of(merged, shape), shape)
    kept = _present(remove(merged, shape, dropped), shape)
    kept = _present(remove(merged, shape, present - kept - owned), shape)
    # What was neither applied before nor is owned, such as a default, stays.
    pruned: Object = remove(merged, shape, (present - kept) & dropped)
    return pruned


def _present(value: Object | None, shape: Shape) -> Fields:
    return with_containers(fields_of(value, shape), shape) if value else NONE


def _check_conflicts(managers: Managers, written: Fields, me: Manager, *, force: bool) -> None:
    others = {manager: entry.fields & written for manager, entry in managers.items() if manager != me}
    conflicts = {manager: sorted(fields) for manager, fields in others.items() if fields}
    if conflicts and not force:
        raise _conflict({m: conflicts[m] for m in sorted(conflicts, key=lambda m: m.name)}, managers)


def _conflict(conflicts: Mapping[Manager, list[Path]], managers: Managers) -> ApiError:
    causes, parts = [], []
    for manager, paths in conflicts.items():
        whom = _described(manager, managers[manager])
        fields = [readable(path) for path in paths]
        causes += [{"reason": "FieldManagerConflict", "message": f"conflict with {whom}", "field": f} for f in fields]
        parts.append(f"conflicts with {whom}:\n" + "\n".join(f"- {f}" for f in fields))
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(parts)
    return ApiError(409, "Conflict", message, {"causes": causes})


def _described(manager: Manager, entry: Entry) -> str:
    through = f" with subresource {_quoted(manager.subresource)}" if manager.subresource else ""
    used = f" using {entry.api_version}" if manager.operation is Operation.UPDATE else ""
    return f"{_quoted(manager.name)}{through}{used}"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _without(managers: Managers, lost: Fields, but: Manager) -> Managers:
    """The managers after all but one lost these fields."""
    return {
        manager: entry if manager == but else replace(entry, fields=entry.fields - lost)
        for manager, entry in managers.items()
    }


def _owned(fields: Fields) -> Fields:
    return without_subtrees(fields, _UNOWNED) - {("f:metadata",)}


def _writable(fields: Fields, reset: Path) -> Fields:
    return without_subtrees(fields, [reset]) if reset else fields


def _bare(value: Object) -> Object:
    metadata = {key: item for key, item in value["metadata"].items() if key != "managedFields"}
    return value | {"metadata": metadata}


def _empty_like(value: Object) -> Object:
    """What stands for an object that does not exist yet: only its type and name."""
    return {"apiVersion": value["apiVersion"], "kind": value["kind"], "metadata": {}}


def _with_managers(value: Object, managers: Managers) -> Object:
    entries = [_encoded(manager, entry) for manager, entry in managers.items() if entry.fields]
    entries.sort(key=lambda e: (e["operation"], e["time"], e["manager"], e.get("subresource", "")))
    metadata = {key: item for key, item in value["metadata"].items() if key != "managedFields"}
    return value | {"metadata": metadata | ({"managedFields": entries} if entries else {})}


def _encoded(manager: Manager, entry: Entry) -> Object:
    encoded: Object = {
        "manager": manager.name,
        "operation": manager.operation.value,
        "apiVersion": entry.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": to_fields_v1(entry.fields),
    }
    return encoded | ({"subresource": manager.subresource} if manager.subresource else {})
