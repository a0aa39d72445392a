"""What the cluster says of a Deployment or pod that it refuses, in terms of the Kanary, with the way out."""

import re

_FIELDS = (
    (r"\.?spec\.template\.spec\.containers\[0\]\.resources\b", "spec.proxy.resources"),
    (r"\.?spec\.template\.spec\.containers\[1\]\.resources\b", "spec.proxy.agentResources"),
    (r"\.?spec\.template\.spec\.containers\[\d\]\.image\b", "spec.proxy.image"),
    (r"\.?spec\.template\.(?=labels|annotations)", "spec.proxy.template.metadata."),
    (r"\.?spec\.template\.(?=metadata|spec)", "spec.proxy.template."),
)
_TEMPLATE = "spec.proxy.template.spec"
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
    """The text with the fields of the Kanary instead of those of its Deployment."""
    for path, field in _FIELDS:
        text = re.sub(rf"(?<![\w.]){path}", field, text)
    return text


def with_way_out(text: str) -> str:
    """The reason why no pod is created, and what to change."""
    ways = (way for pattern, way in _WAYS_OUT if re.search(pattern, text))
    way = next(ways, "")
    return f"{text}: {way}" if way else text
