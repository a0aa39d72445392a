"""Deployments and ReplicaSets: the selector is fixed and selects the template's pods."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Cause, Object, value_invalid, value_required
from ..selectors import selects
from ..storage import Storage, same
from . import pods

_ROLLING: Object = {"maxUnavailable": "25%", "maxSurge": "25%"}


def complete_deployment(new: Object, old: Object | None, storage: Storage) -> None:
    spec = new.setdefault("spec", {})
    complete_replica_set(new, old, storage)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        for key, value in _ROLLING.items():
            strategy.setdefault("rollingUpdate", {}).setdefault(key, value)


def complete_replica_set(new: Object, old: Object | None, storage: Storage) -> None:
    spec = new.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    pods.complete_spec(template.setdefault("spec", {}))
    new.setdefault("status", {})


def check(new: Object, old: Object | None, storage: Storage) -> list[Cause]:
    return list(_check(new["spec"], None if old is None else old["spec"]))


def _check(spec: Object, before: Object | None) -> Iterator[Cause]:
    selector = spec.get("selector")
    labels = spec["template"]["metadata"].get("labels") or {}
    if not selector:
        yield value_required("spec.selector")
    elif before is not None and not same(selector, before.get("selector")):
        yield value_invalid("spec.selector", "LabelSelector", "field is immutable")
    elif not selects(selector, labels):
        rule = "`selector` does not match template `labels`"
        yield value_invalid("spec.template.metadata.labels", f"{labels}", rule)
    if spec["replicas"] < 0:
        yield value_invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0")
    yield from pods.check_spec(spec["template"]["spec"], "spec.template.spec")
