"""The template of the proxies' pods, for both update strategies.

Rolling: HAProxy alone. It mounts a ConfigMap that never changes, and is ready with exactly that configuration.

Live: HAProxy and an agent. The agent mounts the ConfigMap that changes, validates it and passes it to HAProxy in a
directory that both share and that outlives both containers. If HAProxy rejects the latest configuration in a new pod,
the pod starts with one that others have accepted.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from engine.model.spec import ProxySettings
from engine.model.states import ACCEPTED_KEY, CONFIG_KEY, PUBLIC_KEY
from engine.model.times import time_text
from engine.render.config import OPS_PORT, SPLIT_PORT
from engine.render.haproxy import LOG_DESCRIPTOR, STOPPING_PATH, ready_path
from engine.render.objects import CONFIG_ANNOTATION, STRATEGY_ANNOTATION, TEMPLATE_ANNOTATION, Identity, hash_of
from engine.render.placement import placed, resources_json
from states import UpdateStrategy
from states.timing import ENDPOINTS_SETTLE

Json = dict[str, Any]

DEFAULT_PROXY_IMAGE = "kanary-haproxy:0.1.0"
"""The image of HAProxy 3.0 that `make images` builds."""
AGENT_PORT = 8405
CONFIG_DIRECTORY = "/etc/kanary"
RUN_DIRECTORY = "/run/kanary"
RENEWED_ANNOTATION = "kanary.k8s.io/renewed-at"
"""How often the proxies were replaced because of the processes that reloads have left."""
FAILURE_PIPE = "failures.pipe"
"""The agent's pipe for records of connections that failed."""

_SETTLE_SECONDS = int(ENDPOINTS_SETTLE.total_seconds())
STOP_MARGIN_SECONDS = 10
"""Grace period beyond the drain, so that HAProxy ends by itself."""
START_PROBES = 30
"""Seconds that a proxy may take to serve its configuration before it is restarted."""

_CHECKED = f"{RUN_DIRECTORY}/{CONFIG_KEY}"
# Only the agent validates configurations. A stop must not wait for it. It has created the pipe before: opened for
# reading as well, this does not wait for the agent, and no record is lost while the agent restarts.
_WHEN_CHECKED = (
    f"trap 'exit 0' USR1 TERM; until [ -e {_CHECKED} ]; do sleep 0.1; done; "
    f"exec {LOG_DESCRIPTOR}<>{RUN_DIRECTORY}/{FAILURE_PIPE}; "
    f"exec haproxy -W -db -S {RUN_DIRECTORY}/master.sock,mode,600 -f {_CHECKED}"
)


def rolling(owner: Identity, proxy: ProxySettings, image: str, sysctls: Mapping[str, str], digest: str) -> Json:
    """A pod that serves only the configuration of `digest`."""
    config = {"name": "config", "configMap": {"name": owner.mounted_name(digest)}}
    haproxy = {
        **_haproxy(proxy, image, ready_path(digest)),
        "command": ["haproxy", "-W", "-db", "-f", f"{CONFIG_DIRECTORY}/{CONFIG_KEY}"],
        "volumeMounts": [{"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": True}],
    }
    return _template(owner, proxy, {CONFIG_ANNOTATION: digest}, [haproxy], [config], sysctls=sysctls)


def live(
    owner: Identity, proxy: ProxySettings, image: str, sysctls: Mapping[str, str], renewed_at: datetime | None = None
) -> Json:
    """A pod that follows the changes of its ConfigMap; with another time of renewal it is another one."""
    config = {
        "name": "config",
        "configMap": {
            "name": owner.proxy_name,
            "items": [{"key": key, "path": key} for key in (CONFIG_KEY, ACCEPTED_KEY, PUBLIC_KEY)],
        },
    }
    run = {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}
    shared = {"name": "run", "mountPath": RUN_DIRECTORY}
    haproxy = {
        **_haproxy(proxy, image, STOPPING_PATH),
        "command": ["sh", "-c", _WHEN_CHECKED],
        "volumeMounts": [shared],
    }
    mounted = {"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": True}
    agent = {**_agent(proxy, image), "volumeMounts": [mounted, shared]}
    annotations = {
        STRATEGY_ANNOTATION: UpdateStrategy.LIVE.value,
        "kubectl.kubernetes.io/default-container": "haproxy",
        **({RENEWED_ANNOTATION: time_text(renewed_at)} if renewed_at else {}),
    }
    return _template(owner, proxy, annotations, [haproxy, agent], [config, run], sysctls=sysctls)


def renewed_in(deployment: Mapping[str, Any]) -> str:
    """The time of renewal in the template of a Deployment; empty without one."""
    metadata = deployment["spec"]["template"].get("metadata") or {}
    return (metadata.get("annotations") or {}).get(RENEWED_ANNOTATION) or ""


def template(
    owner: Identity,
    proxy: ProxySettings,
    digest: str,
    strategy: UpdateStrategy,
    *,
    default_image: str,
    sysctls: Mapping[str, str],
    renewed_at: datetime | None = None,
) -> Json:
    """The pod template for this strategy; `default_image` is used if the settings have no image."""
    image = proxy.image or default_image
    if strategy is UpdateStrategy.LIVE:
        made = lasting = live(owner, proxy, image, sysctls, renewed_at)
    else:
        made, lasting = (rolling(owner, proxy, image, sysctls, served) for served in (digest, ""))
    annotations = {**made["metadata"]["annotations"], TEMPLATE_ANNOTATION: hash_of(lasting)}
    return {**made, "metadata": {**made["metadata"], "annotations": annotations}}


def _template(
    owner: Identity,
    proxy: ProxySettings,
    annotations: dict[str, str],
    containers: list[Json],
    volumes: list[Json],
    *,
    sysctls: Mapping[str, str],
) -> Json:
    body = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _SETTLE_SECONDS + proxy.drain_seconds + STOP_MARGIN_SECONDS,
        "containers": containers,
        "volumes": volumes,
    }
    return placed(owner, proxy, annotations, body, sysctls)


def _haproxy(proxy: ProxySettings, image: str, ready: str) -> Json:
    probe = {"httpGet": {"path": ready, "port": "ops"}, "periodSeconds": 1, "timeoutSeconds": 2}
    return {
        **_container("haproxy", image),
        "ports": [
            {"name": "split", "containerPort": SPLIT_PORT, "protocol": "TCP"},
            {"name": "ops", "containerPort": OPS_PORT, "protocol": "TCP"},
        ],
        "resources": resources_json(proxy.resources),
        # A proxy that does not start with its configuration within this time is restarted.
        "startupProbe": {**probe, "failureThreshold": START_PROBES},
        "readinessProbe": {**probe, "failureThreshold": 2},
        "livenessProbe": _alive("ops"),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_SETTLE_SECONDS)]}}},
    }


def _agent(proxy: ProxySettings, image: str) -> Json:
    return {
        **_container("agent", image),
        "command": [
            "kanary-agent",
            *("--mounted", f"{CONFIG_DIRECTORY}/{CONFIG_KEY}"),
            *("--run", RUN_DIRECTORY),
            *("--port", str(AGENT_PORT)),
            *("--pod", "$(POD_UID)"),
        ],
        # The API server adds the version of the field's path if it is missing.
        "env": [{"name": "POD_UID", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}}],
        "ports": [{"name": "report", "containerPort": AGENT_PORT, "protocol": "TCP"}],
        "resources": resources_json(proxy.agent_resources),
        "livenessProbe": _alive("report"),
    }


def _container(name: str, image: str) -> Json:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        # The pod's status keeps the last log lines of a failed container, for the message of the Kanary.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _alive(port: str) -> Json:
    return {
        "httpGet": {"path": "/healthz", "port": port},
        "periodSeconds": 5,
        "timeoutSeconds": 5,
        "failureThreshold": 6,
    }
