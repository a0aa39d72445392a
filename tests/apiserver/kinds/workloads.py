"""Deployments and ReplicaSets: the selector is fixed and selects the template's pods."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Cause, Object, value_invalid
from ..selectors import selects
from ..storage import Storage, same
from . import pods

_ROLLING: Object = {"maxUnavailable": "25%", "maxSurge": "25%"}


def complete_deployment(new: Object, old: Object | None, storage: Storage) -> None:
    complete_replica_set(new, old, storage)
    spec = new["spec"]
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    for key, value in _ROLLING.items():
        strategy.setdefault("rollingUpdate", {}).setdefault(key, value)


def complete_replica_set(new: Object, old: Object | None, storage: Storage) -> None:
    spec = new["spec"]
    spec.setdefault("replicas", 1)
    template = spec["template"]
    template.setdefault("metadata", {})
    pods.complete_spec(template.setdefault("spec", {}))
    new.setdefault("status", {})


def check(new: Object, old: Object | None) -> list[Cause]:
    return list(_check(new["spec"], None if old is None else old["spec"]))


def _check(spec: Object, before: Object | None) -> Iterator[Cause]:
    labels = spec["template"]["metadata"].get("labels") or {}
    if before is not None and not same(spec["selector"], before["selector"]):
        yield value_invalid("spec.selector", "LabelSelector", "field is immutable")
    elif not selects(spec["selector"], labels):
        rule = "`selector` does not match template `labels`"
        yield value_invalid("spec.template.metadata.labels", f"{labels}", rule)
