"""Where and as what the proxies' pods run: `spec.proxy` of a Kanary, and the operator's defaults for all of them."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import Field

from engine.model.shape import Shape

QUANTITY = r"^[+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
"""A quantity as https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity describes it."""
Quantity = Annotated[
    Annotated[int, Field(ge=0, strict=True)] | Annotated[str, Field(pattern=QUANTITY)],
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
]
_Text = Annotated[str, Field(max_length=253)]
_Word = Annotated[str, Field(max_length=64)]
_LongText = Annotated[str, Field(max_length=8_192)]
_Count = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]
_Id = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]
_Flag = Annotated[bool, Field(strict=True)]
_Open = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""As Kubernetes defines it; the API server checks it in the Deployment."""


_SUFFIXES = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "Ki": 2.0**10} | {
    f"{letter}{i}": base**power
    for power, letter in enumerate("MGTPE", start=2)
    for i, base in (("", 1e3), ("i", 2.0**10))
}


def amount_of(quantity: int | str) -> float:
    """A quantity of Kubernetes as a number."""
    found = re.fullmatch(r"([-+]?[\d.]+)(?:[eE]([-+]?\d+)|([a-zA-Z]*))", str(quantity))
    if not found:
        raise ValueError(f"{quantity!r} is not a quantity")
    number, exponent, suffix = found.groups()
    return float(f"{number}e{exponent}") if exponent else float(number) * _SUFFIXES[suffix]


class _Merged(Shape):
    """Fields that the operator's settings may have as well."""

    def over(self, others: "_Merged | None") -> Self:
        """Each field that is set here, otherwise that of `others`."""
        return self.model_copy(update=_merged(self, others)) if others else self


def _merged(mine: _Merged, others: _Merged) -> dict[str, Any]:
    found = {}
    for name in type(others).model_fields:
        own, other = getattr(mine, name), getattr(others, name)
        if own is None:
            found[name] = other
        elif isinstance(own, _Merged):
            found[name] = own.over(other)
    return found


class Resources(_Merged):
    """Compute resources of a container."""

    requests: dict[str, Quantity] | None = Field(default=None, description="Resource requests.")
    limits: dict[str, Quantity] | None = Field(default=None, description="Resource limits.")

    def too_low(self) -> Iterator[str]:
        """The resources whose limit is lower than their request, which the cluster refuses."""
        for name, request in (self.requests or {}).items():
            limit = (self.limits or {}).get(name, request)
            # 300m and 0.3 are equal.
            if amount_of(limit) < amount_of(request) * (1 - 1e-9):
                yield name


class Toleration(Shape):
    """A toleration, as of any pod."""

    key: _Text | None = Field(default=None, description="Key of the taints; all if left out.")
    operator: _Word | None = Field(default=None, description="Equal or Exists.")
    value: _Text | None = Field(default=None, description="Value of the taints, with Equal.")
    effect: _Word | None = Field(default=None, description="NoSchedule, PreferNoSchedule, NoExecute or left out.")
    toleration_seconds: Annotated[int, Field(ge=-(2**31), lt=2**31, strict=True)] | None = Field(
        default=None, description="Time until the pod is evicted, with NoExecute; for ever if left out."
    )


class SpreadConstraint(Shape):
    """A topology spread constraint, as of any pod."""

    max_skew: _Count = Field(description="Maximum difference of the number of pods.")
    topology_key: _Text = Field(description="Label of nodes.")
    when_unsatisfiable: _Word = Field(description="ScheduleAnyway or DoNotSchedule.")
    label_selector: _Open | None = Field(
        default=None,
        description="The pods that count. Default: this Kanary's proxies with the same pod template, so that those "
        "that are being replaced do not count.",
    )
    match_label_keys: Annotated[tuple[_Text, ...], Field(max_length=16)] | None = Field(
        default=None, description="Labels whose values pods that count share; from Kubernetes 1.27."
    )
    min_domains: _Count | None = Field(default=None, description="Minimum number of domains; from Kubernetes 1.25.")
    node_affinity_policy: _Word | None = Field(default=None, description="Honor or Ignore; from Kubernetes 1.26.")
    node_taints_policy: _Word | None = Field(default=None, description="Honor or Ignore; from Kubernetes 1.26.")


class PullSecret(Shape):
    """A Secret with the credentials of an image registry."""

    name: _Text = Field(description="Name of the Secret, in the Kanary's namespace.")


class SecurityContext(Shape):
    """The security context of a pod, without what the proxies set themselves."""

    run_as_user: _Id | None = Field(default=None, description="User id. HAProxy and agent run as any user.")
    run_as_group: _Id | None = Field(default=None, description="Group id.")
    fs_group: _Id | None = Field(default=None, description="Group of the volumes.")
    supplemental_groups: Annotated[tuple[_Id, ...], Field(max_length=16)] | None = Field(
        default=None, description="Further group ids."
    )
    se_linux_options: _Open | None = Field(default=None, description="SELinux context.")
    seccomp_profile: _Open | None = Field(default=None, description="Seccomp profile. Default: type RuntimeDefault.")
    app_armor_profile: _Open | None = Field(default=None, description="AppArmor profile; from Kubernetes 1.30.")


class PodMetadata(_Merged):
    """Metadata of the proxies' pods."""

    labels: dict[str, _Text] | None = Field(
        default=None, description="Further labels. Those of Kanary itself cannot be changed."
    )
    annotations: dict[str, _LongText] | None = Field(
        default=None, description="Further annotations, such as one that keeps a mesh from injecting a sidecar."
    )


class PodPlacement(_Merged):
    """Fields of the proxies' pods, with the names and meanings that every pod has."""

    node_selector: dict[str, _Text] | None = Field(default=None, description="Labels that the nodes must have.")
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] | None = Field(
        default=None,
        description="Taints that the pods tolerate. A node that is not ready or unreachable is tolerated for 10 s, "
        "unless one of these says otherwise.",
    )
    affinity: _Open | None = Field(default=None, description="Node affinity, pod affinity and pod anti-affinity.")
    topology_spread_constraints: Annotated[tuple[SpreadConstraint, ...], Field(max_length=8)] | None = Field(
        default=None, description="How the pods spread. Default: over nodes (kubernetes.io/hostname), if possible."
    )
    priority_class_name: _Text | None = Field(default=None, description="Name of a PriorityClass.")
    runtime_class_name: _Text | None = Field(default=None, description="Name of a RuntimeClass.")
    service_account_name: _Text | None = Field(
        default=None, description="Name of a ServiceAccount. Its token is not mounted."
    )
    image_pull_secrets: Annotated[tuple[PullSecret, ...], Field(max_length=16)] | None = Field(
        default=None, description="Secrets with the credentials of the image's registry."
    )
    security_context: SecurityContext | None = Field(
        default=None,
        description="User and group, and what else a security context has. Default: user and group 65534. {} leaves "
        "them to the cluster, as OpenShift requires. What the Pod Security level `restricted` forbids is rejected.",
    )


class PodTemplate(_Merged):
    """What the proxies' pods have beside what Kanary sets."""

    metadata: PodMetadata | None = Field(default=None, description="Labels and annotations of the pods.")
    spec: PodPlacement | None = Field(default=None, description="Where and as what the pods run.")


class ProxyDefaults(_Merged):
    """What the operator's settings may say about all proxies, and a Kanary about its own.

    A field that a Kanary sets, even to an empty value, replaces that of the settings: each field of
    `template.metadata`, `template.spec`, `resources` and `agentResources` as a whole, and each by itself.
    """

    resources: Resources | None = Field(
        default=None,
        description="Compute resources of HAProxy. Default: requests of 50m CPU and 64Mi memory, and no limits.",
    )
    agent_resources: Resources | None = Field(
        default=None,
        description="Compute resources of the agent, with Live. Default: requests of 5m CPU and 24Mi memory, and no "
        "limits.",
    )
    disruption_budget: _Flag | None = Field(
        default=None,
        description="Whether a PodDisruptionBudget lets one proxy be evicted at a time. Default: true.",
    )
    template: PodTemplate | None = Field(
        default=None,
        description="Labels, annotations, nodes, user and more of the proxies' pods. Changes replace the proxies. Each "
        "field that is left out has the value of the operator's setting KANARY_PROXY_DEFAULTS.",
    )


DEFAULT_MEMORY = "64Mi"
BUILT_IN = ProxyDefaults(
    resources=Resources(requests={"cpu": "50m", "memory": DEFAULT_MEMORY}, limits={}),
    # Enough for the validation of five thousand servers.
    agent_resources=Resources(requests={"cpu": "5m", "memory": "24Mi"}, limits={}),
    disruption_budget=True,
    template=PodTemplate(metadata=PodMetadata(), spec=PodPlacement()),
)
"""Below the operator's settings."""
