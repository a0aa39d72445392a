"""The Pod Security Standards as checks of a pod, with all controls of `baseline` and `restricted`.

Written from https://kubernetes.io/docs/concepts/security/pod-security-standards/: the cluster of the end-to-end tests
is older than the admission plugin.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")
}
SYSCTLS = {
    "kernel.shm_rmid_forced": 0,
    "net.ipv4.ip_local_port_range": 0,
    "net.ipv4.ip_unprivileged_port_start": 0,
    "net.ipv4.tcp_syncookies": 0,
    "net.ipv4.ping_group_range": 0,
    "net.ipv4.ip_local_reserved_ports": 27,
    "net.ipv4.tcp_keepalive_time": 29,
    "net.ipv4.tcp_fin_timeout": 29,
    "net.ipv4.tcp_keepalive_intvl": 29,
    "net.ipv4.tcp_keepalive_probes": 29,
}
"""Those that are allowed, with the first minor version of Kubernetes in which they are."""
SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def violations(template: Json, minor: int) -> list[str]:
    """What a namespace that enforces `restricted` rejects in a pod of this template, in Kubernetes 1.`minor`."""
    pod = template["spec"]
    containers = [each for kind in KINDS for each in pod.get(kind, ())]
    found = [*_of_pod(pod, minor), *_of_annotations(template), *_of_volumes(pod)]
    for container in containers:
        found += [f"{container['name']}: {each}" for each in _of_container(container, pod.get("securityContext", {}))]
    return found


KINDS = ("containers", "initContainers", "ephemeralContainers")


def _of_pod(pod: Json, minor: int) -> Iterator[str]:
    yield from (field for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field))
    security = pod.get("securityContext", {})
    for each in security.get("sysctls", ()):
        if minor < SYSCTLS.get(each["name"], 10**6):
            yield f"sysctls: {each['name']}"
    yield from _of_both(security)
    if security.get("runAsUser") == 0:
        yield "runAsUser"


def _of_annotations(template: Json) -> Iterator[str]:
    for key, value in template.get("metadata", {}).get("annotations", {}).items():
        if key.startswith(APPARMOR) and value != "runtime/default" and not value.startswith("localhost/"):
            yield "appArmorProfile"


def _of_volumes(pod: Json) -> Iterator[str]:
    for volume in pod.get("volumes", ()):
        if not {*volume} - {"name"} <= VOLUMES:
            yield f"volumes: {volume['name']}"


def _of_both(security: Json) -> Iterator[str]:
    """The controls of pods and of containers."""
    options = security.get("seLinuxOptions", {})
    if options.get("type") not in SELINUX_TYPES or options.get("user") or options.get("role"):
        yield "seLinuxOptions"
    if security.get("appArmorProfile", {}).get("type") not in (None, "RuntimeDefault", "Localhost"):
        yield "appArmorProfile"
    if security.get("windowsOptions", {}).get("hostProcess"):
        yield "hostProcess"
    if security.get("seccompProfile", {}).get("type") not in (None, "RuntimeDefault", "Localhost"):
        yield "seccompProfile"


def _of_container(container: Json, of_pod: Json) -> Iterator[str]:
    security = container.get("securityContext", {})
    yield from _of_both(security)
    yield from _of_identity(security, of_pod)
    if security.get("privileged"):
        yield "privileged"
    if security.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if security.get("procMount") not in (None, "Default"):
        yield "procMount"
    capabilities = security.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()) or not {*capabilities.get("add", ())} <= {"NET_BIND_SERVICE"}:
        yield "capabilities"
    if any(port.get("hostPort") for port in container.get("ports", ())):
        yield "hostPorts"
    yield from _of_probes(container)


def _of_identity(security: Json, of_pod: Json) -> Iterator[str]:
    if security.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot"
    if security.get("runAsUser") == 0:
        yield "runAsUser"
    if (security.get("seccompProfile") or of_pod.get("seccompProfile") or {}).get("type") is None:
        yield "seccompProfile"


def _of_probes(container: Json) -> Iterator[str]:
    """Since 1.34, probes and hooks name no host."""
    hooks = container.get("lifecycle", {})
    handlers = [container.get(f"{kind}Probe") for kind in ("liveness", "readiness", "startup")] + [*hooks.values()]
    for handler in filter(None, handlers):
        if any(handler.get(action, {}).get("host") for action in ("httpGet", "tcpSocket")):
            yield "host of a probe"
