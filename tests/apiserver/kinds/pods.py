"""Pods and pod templates: the defaults that every reader sees, and the containers that a pod must have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import Cause, Object, value_duplicate, value_invalid, value_required
from ..names import is_port
from ..storage import Storage

_SPEC_DEFAULTS: Object = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
}
_CONTAINER_DEFAULTS: Object = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_PROBE_DEFAULTS: Object = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
# Files of these volumes are readable for all unless it is said otherwise.
_FILE_VOLUMES = ("configMap", "secret", "projected", "downwardAPI")
_FILE_MODE = 0o644


def complete_pod(new: Object, old: Object | None, storage: Storage) -> None:
    complete_spec(new.setdefault("spec", {}))
    new.setdefault("status", {"phase": "Pending", "qosClass": "BestEffort"})


def complete_spec(spec: Object) -> None:
    _fill(spec, _SPEC_DEFAULTS)
    spec.setdefault("securityContext", {})
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        _complete_container(container)
    for volume in spec.get("volumes") or ():
        for kind in _FILE_VOLUMES:
            if isinstance(volume.get(kind), dict):
                volume[kind].setdefault("defaultMode", _FILE_MODE)


def _complete_container(container: Object) -> None:
    _fill(container, _CONTAINER_DEFAULTS)
    container.setdefault("resources", {})
    tag = str(container.get("image", "")).rpartition("/")[2].partition(":")[2]
    container.setdefault("imagePullPolicy", "Always" if tag in ("", "latest") else "IfNotPresent")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        if field := (variable.get("valueFrom") or {}).get("fieldRef"):
            field.setdefault("apiVersion", "v1")
    for probe in (container[name] for name in _PROBES if container.get(name)):
        _fill(probe, _PROBE_DEFAULTS)
        if request := probe.get("httpGet"):
            _fill(request, {"path": "/", "scheme": "HTTP"})


def _fill(target: Object, defaults: Object) -> None:
    for key, value in defaults.items():
        target.setdefault(key, value)


def check(new: Object, old: Object | None, storage: Storage) -> list[Cause]:
    return list(check_spec(new["spec"], "spec"))


def check_spec(spec: Object, path: str) -> Iterator[Cause]:
    containers = spec.get("containers") or []
    if not containers:
        yield value_required(f"{path}.containers")
    names: set[str] = set()
    for index, container in enumerate(containers):
        at = f"{path}.containers[{index}]"
        yield from _check_container(container, at)
        if container.get("name") in names:
            yield value_duplicate(f"{at}.name", container["name"])
        names.add(container.get("name", ""))
    yield from _check_mounts(spec, containers, path)


def _check_container(container: Object, path: str) -> Iterator[Cause]:
    if not container.get("name"):
        yield value_required(f"{path}.name")
    if not container.get("image"):
        yield value_required(f"{path}.image")
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort", 0)
        if not is_port(number):
            rule = "must be between 1 and 65535, inclusive"
            yield value_invalid(f"{path}.ports[{index}].containerPort", number, rule)


def _check_mounts(spec: Object, containers: list[Any], path: str) -> Iterator[Cause]:
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    for index, container in enumerate(containers):
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            if mount.get("name") not in volumes:
                at = f"{path}.containers[{index}].volumeMounts[{number}].name"
                yield Cause("FieldValueNotFound", f'Not found: "{mount.get("name")}"', at)
