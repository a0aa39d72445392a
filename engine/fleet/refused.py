"""What the cluster says of a Deployment, pod or Service that it refuses, in terms of the Kanary, with the way out."""

import re
from collections.abc import Sequence

_FIELDS = (
    (r"\.?spec\.template\.spec\.containers\[0\]\.resources\b", "spec.proxy.resources"),
    (r"\.?spec\.template\.spec\.containers\[1\]\.resources\b", "spec.proxy.agentResources"),
    (r"\.?spec\.template\.spec\.containers\[\d\]\.image\b", "spec.proxy.image"),
    (r"\.?spec\.template\.(?=labels|annotations)", "spec.proxy.template.metadata."),
    (r"\.?spec\.template\.(?=metadata|spec)", "spec.proxy.template."),
)
_OF_SERVICE = (
    "type",
    "loadBalancerClass",
    "loadBalancerSourceRanges",
    "allocateLoadBalancerNodePorts",
    "externalTrafficPolicy",
    "internalTrafficPolicy",
    "ipFamilyPolicy",
    "ipFamilies",
    "sessionAffinity",
    "sessionAffinityConfig",
    "trafficDistribution",
)
_ABOUT_SERVICE = re.compile(r"cannot (create|apply) Service ")
_SERVICE_WAYS_OUT = (
    (r"ipFamilies\[0\].*may not (be )?change", "the first family of a Service stays: leave it as it was"),
    (
        r"loadBalancerClass.*may not (be )?change",
        "set spec.service.type to ClusterIP first, which gives back the load balancer",
    ),
    (r"already allocated", "choose another nodePort, or leave it out"),
    (r"not declared in schema", "this release of Kubernetes does not have the field: leave it out"),
    (r"exceeded quota", "raise the ResourceQuota, or set spec.service.type to ClusterIP"),
)
_TEMPLATE = "spec.proxy.template.spec"
_DEPLOYMENT_WAYS_OUT = (
    (
        r"must be less than or equal to .*limit",
        "raise spec.proxy.resources.limits (agentResources: those of the agent), or set the request as well: a request "
        "that is left out has the operator's default",
    ),
)
_WAYS_OUT = (
    (
        r"failed quota: .*must specify|(minimum|maximum) .* usage per (Container|Pod)|limit to request ratio",
        "set requests and limits in spec.proxy.resources and spec.proxy.agentResources",
    ),
    (
        r"exceeded quota",
        "lower spec.proxy.resources, spec.proxy.agentResources or spec.proxy.replicas, or raise the ResourceQuota: "
        "while proxies are replaced, there are twice as many",
    ),
    (
        r"looking up service account|serviceaccount \"[^\"]*\" not found",
        f"create the ServiceAccount, or change {_TEMPLATE}.serviceAccountName",
    ),
    (r"no PriorityClass", f"create the PriorityClass, or change {_TEMPLATE}.priorityClassName"),
    (r"RuntimeClass", f"create the RuntimeClass, or change {_TEMPLATE}.runtimeClassName"),
    (
        r"violates PodSecurity",
        f"change {_TEMPLATE}.securityContext, or run the operator with KANARY_POD_SYSCTLS=false if it is about sysctls",
    ),
    (
        r"security ?context constraint|runAsUser|runAsGroup|fsGroup",
        f"set {_TEMPLATE}.securityContext to {{}}, which leaves user and group to the cluster",
    ),
)
"""By what is in the message of an API server from 1.20 on; the first one that fits."""


def as_declared(text: str) -> str:
    """The text with the fields of the Kanary instead of those of its Deployment or Service."""
    if _ABOUT_SERVICE.match(text):
        return _with_way_out(service_fields_as_declared(text), _SERVICE_WAYS_OUT)
    for path, field in _FIELDS:
        text = re.sub(rf"(?<![\w.]){path}", field, text)
    return _with_way_out(text, _DEPLOYMENT_WAYS_OUT)


def service_fields_as_declared(text: str) -> str:
    """The text with the fields of the Kanary instead of those of its destination Service."""
    text = re.sub(r"(?<![\w.])metadata\.(labels|annotations)\b", r"spec.service.\1", text)
    return re.sub(r"(?<![\w.])\.?spec\.(?:ports\[(\d{1,3})\]|(\w+))", _field_of_service, text)


def _field_of_service(found: re.Match[str]) -> str:
    index, name = found.groups()
    if index is not None:
        return f"spec.ports[{int(index) - 1}]" if int(index) else "spec.service.port"
    # Kubernetes 1.20 writes some names with a capital.
    declared = name[0].lower() + name[1:]
    return f"spec.service.{declared}" if declared in _OF_SERVICE else found.group()


def with_way_out(text: str) -> str:
    """The reason why no pod is created, and what to change."""
    return _with_way_out(text, _WAYS_OUT)


def _with_way_out(text: str, known: Sequence[tuple[str, str]]) -> str:
    way = next((way for pattern, way in known if re.search(pattern, text)), "")
    return f"{text}: {way}" if way else text
