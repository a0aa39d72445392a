"""The parts of the proxies' pods that users may have a say in: metadata, nodes, user, resources."""

from collections.abc import Mapping
from typing import Any

from engine.model.placement import PodPlacement, Resources, SecurityContext, SpreadConstraint, Toleration
from engine.model.spec import ProxySettings
from engine.render.objects import TEMPLATE_LABEL, Identity, hash_of

Json = dict[str, Any]

NOBODY = 65534
NODE_FAILURE_SECONDS = 10
"""Kubernetes waits 300 s before it replaces the pods of a lost node."""
_NODE_FAILURES = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_EVICTED = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}
"""The volume of a proxy has nothing to lose."""
_SPREAD = SpreadConstraint(max_skew=1, topology_key="kubernetes.io/hostname", when_unsatisfiable="ScheduleAnyway")


def placed(
    owner: Identity, proxy: ProxySettings, annotations: Mapping[str, str], body: Json, sysctls: Mapping[str, str]
) -> Json:
    """The pod template of this body, with what the settings `proxy` say; the operator's defaults are in them."""
    template = proxy.template
    assert template and template.metadata and template.spec  # noqa: S101  the built-in defaults have them
    spec, metadata = template.spec, template.metadata
    context = {
        "runAsNonRoot": True,
        **_security(spec.security_context),
        "sysctls": [{"name": name, "value": value} for name, value in sysctls.items()],
    }
    made: Json = {
        **body,
        # Never left out: the API server keeps the former one in a second field.
        "serviceAccountName": "default",
        **{field: value for field, value in _json(spec).items() if value != ""},
        "securityContext": context,
        "tolerations": _tolerations(spec.tolerations or ()),
    }
    labels = {**(metadata.labels or {}), **owner.pod_labels}
    annotations = {**_EVICTED, **(metadata.annotations or {}), **annotations}
    revision = {TEMPLATE_LABEL: hash_of({"labels": labels, "annotations": annotations, "spec": made})}
    spread = (_SPREAD,) if spec.topology_spread_constraints is None else spec.topology_spread_constraints
    own = {"matchLabels": {**owner.selector, **revision}}
    made["topologySpreadConstraints"] = [{"labelSelector": own, **_json(each)} for each in spread]
    return {"metadata": {"labels": {**labels, **revision}, "annotations": annotations}, "spec": made}


def resources_json(resources: Resources | None) -> Json:
    """As a container has them."""
    found = resources or Resources()
    return {"requests": found.requests or {}, "limits": found.limits or {}}


def _security(context: SecurityContext | None) -> Json:
    given = {"runAsUser": NOBODY, "runAsGroup": NOBODY} if context is None else _json(context)
    return {"seccompProfile": {"type": "RuntimeDefault"}, **given}


def _tolerations(given: tuple[Toleration, ...]) -> list[Json]:
    """With a short one of each failure of a node that no given one is about."""
    made = [_json(each) for each in given]
    for key in _NODE_FAILURES:
        if not any((each.key or key) == key and (each.effect or "NoExecute") == "NoExecute" for each in given):
            made.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_FAILURE_SECONDS}
            )
    return made


def _json(model: PodPlacement | SecurityContext | SpreadConstraint | Toleration) -> Json:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
