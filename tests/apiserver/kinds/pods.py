"""Pods and pod templates: the defaults that every reader sees."""

from __future__ import annotations

from ..errors import Object
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
_FILE_MODE = 0o644


def complete_pod(new: Object, old: Object | None, storage: Storage) -> None:
    complete_spec(new.setdefault("spec", {}))
    new.setdefault("status", {"phase": "Pending"})


def complete_spec(spec: Object) -> None:
    _fill(spec, _SPEC_DEFAULTS)
    spec.setdefault("securityContext", {})
    for container in spec.get("containers") or ():
        _complete_container(container)
    for volume in spec.get("volumes") or ():
        if "configMap" in volume:
            volume["configMap"].setdefault("defaultMode", _FILE_MODE)


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
