"""CustomResourceDefinitions, as far as they are objects like all others. What they make served is in `crd`."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Cause, Object, value_invalid, value_required
from ..storage import Storage

_APPROVAL = "api-approved.kubernetes.io"
_PROTECTED = (".k8s.io", ".kubernetes.io")


def complete(crd: Object, old: Object | None, storage: Storage) -> None:
    """Fills in names and the status of a definition that is served at once."""
    now = crd["metadata"].get("creationTimestamp", "")
    spec = crd.setdefault("spec", {})
    names = spec.setdefault("names", {})
    names.setdefault("singular", str(names.get("kind", "")).lower())
    names.setdefault("listKind", f"{names.get('kind', '')}List")
    spec.setdefault("conversion", {"strategy": "None"})
    stored = [version["name"] for version in spec.get("versions") or () if version.get("storage")]
    conditions = [
        _condition("NamesAccepted", "NoConflicts", "no conflicts found", now),
        _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", now),
    ]
    crd.setdefault("status", {"conditions": conditions, "acceptedNames": names, "storedVersions": stored})


def _condition(kind: str, reason: str, message: str, now: str) -> Object:
    return {"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message}


def check(crd: Object, old: Object | None, storage: Storage) -> list[Cause]:
    return list(_check(crd))


def _check(crd: Object) -> Iterator[Cause]:
    spec, name = crd["spec"], crd["metadata"].get("name", "")
    expected = f"{spec['names'].get('plural', '')}.{spec.get('group', '')}"
    if name != expected:
        yield value_invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        yield value_required("spec.scope")
    if spec.get("group", "").endswith(_PROTECTED) and _APPROVAL not in (crd["metadata"].get("annotations") or {}):
        why = f'protected groups must have approval annotation "{_APPROVAL}"'
        yield value_required(f"metadata.annotations[{_APPROVAL}]", why)
    versions = spec.get("versions") or []
    if sum(bool(version.get("storage")) for version in versions) != 1:
        yield value_invalid("spec.versions", len(versions), "must have exactly one version marked as storage version")
    for index, version in enumerate(versions):
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            yield value_required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required")
