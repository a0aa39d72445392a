"""Events: one stored object, shown by core/v1 and by events.k8s.io/v1 in different words."""

from __future__ import annotations

from ..errors import Object
from ..resources import Codec
from .leases import check_micro_time

# events.k8s.io/v1 -> core/v1
_RENAMED = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
# Always present, if only as null or empty.
_CORE_FIELDS: Object = {
    "involvedObject": {},
    "source": {},
    "firstTimestamp": None,
    "lastTimestamp": None,
    "eventTime": None,
    "reportingComponent": "",
    "reportingInstance": "",
}


def _to_core(value: Object) -> Object:
    check_micro_time(value.get("eventTime"), "Event")
    check_micro_time((value.get("series") or {}).get("lastObservedTime"), "Event")
    renamed = {_RENAMED.get(key, key): item for key, item in value.items()}
    return _CORE_FIELDS | renamed | {"apiVersion": "v1"}


def _to_events(value: Object) -> Object:
    names = {core: name for name, core in _RENAMED.items()}
    return {names.get(key, key): item for key, item in value.items()} | {"apiVersion": "events.k8s.io/v1"}


CORE = Codec(decode=_to_core, encode=lambda value: value)
EVENTS = Codec(decode=_to_core, encode=_to_events)
SELECTABLE = {
    **{
        f"involvedObject.{name}": f"involvedObject.{name}"
        for name in ("kind", "namespace", "name", "uid", "apiVersion")
    },
    "reason": "reason",
    "type": "type",
    "reportingComponent": "reportingComponent",
    "source": "source.component",
}
SELECTABLE_AS_EVENTS = {
    **{f"regarding.{name}": f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion")},
    "reason": "reason",
    "type": "type",
    "reportingController": "reportingComponent",
}
