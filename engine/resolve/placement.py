"""What `spec.proxy.template` and the operator's defaults may not say, because it would break the proxies."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from engine.model.placement import ProxyDefaults, Resources, SecurityContext
from engine.resolve.labels import annotation_problems, label_problems

MAX_TEMPLATE = 16_384
"""Characters of a template. It is stored beside the configuration, in a ConfigMap with the endpoints."""
_PREFIX = "kanary.k8s.io/"
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_PROFILES = ("RuntimeDefault", "Localhost")
_SELINUX_TYPES = (None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
MAX_RESOURCES = 32
"""Of a container, in its requests and in its limits."""
_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_HUGE_PAGES = "hugepages-"
_OURS = ("app.kubernetes.io/managed-by", "pod-template-hash")

EXPECTED: Mapping[str, str] = {
    **dict.fromkeys(("resources", "agentResources"), "an object with requests and limits"),
    "disruptionBudget": "true, false or left out",
    "template": "an object with metadata and spec, as in a Deployment",
    "metadata": "an object with labels and annotations",
    "template.spec": "an object with fields of a pod such as nodeSelector and tolerations",
    **dict.fromkeys(("labels", "annotations", "nodeSelector"), "a map of texts"),
    "entry": "a text, in quotes, of at most 253 characters (annotations: 8192)",
    "tolerations": "a list of at most 32 tolerations",
    "toleration": "an object with key, operator, value, effect and tolerationSeconds",
    "tolerationSeconds": "a whole number",
    "topologySpreadConstraints": "a list of at most 8 topology spread constraints",
    "constraint": "an object with maxSkew, topologyKey and whenUnsatisfiable",
    "imagePullSecrets": "a list of at most 16 objects with name",
    "pull secret": "an object with name",
    "matchLabelKeys": "a list of at most 16 keys of labels",
    "supplementalGroups": "a list of at most 16 group ids",
    **dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup", "supplementalGroup"), "a whole number from 0 to 2147483647"),
    **dict.fromkeys(("maxSkew", "minDomains"), "a whole number from 1 to 2147483647"),
    **dict.fromkeys(
        (
            "key",
            "value",
            "topologyKey",
            "priorityClassName",
            "runtimeClassName",
            "serviceAccountName",
            "pull secret.name",
        ),
        "a text of at most 253 characters",
    ),
    **dict.fromkeys(
        ("operator", "effect", "whenUnsatisfiable", "nodeAffinityPolicy", "nodeTaintsPolicy"),
        "a text of at most 64 characters",
    ),
}
"""What a field has to be, for messages."""


def proxy_problems(where: str, proxy: ProxyDefaults) -> Iterator[str]:
    """Each problem with these settings, whose path is `where`."""
    for name, resources in (("resources", proxy.resources), ("agentResources", proxy.agent_resources)):
        yield from _resource_problems(f"{where}.{name}", resources or Resources())
    if not (template := proxy.template):
        return
    where = f"{where}.template"
    size = len(template.model_dump_json(by_alias=True, exclude_none=True))
    if size > MAX_TEMPLATE:
        yield f"{where} has {size} characters: must have at most {MAX_TEMPLATE}; shorten its annotations or affinity"
        return
    if template.metadata:
        labels = template.metadata.labels or {}
        yield from _metadata_problems(f"{where}.metadata.labels", labels)
        yield from label_problems(f"{where}.metadata.labels", labels)
        annotations = template.metadata.annotations or {}
        yield from _metadata_problems(f"{where}.metadata.annotations", annotations)
        yield from annotation_problems(f"{where}.metadata.annotations", annotations)
        for key, value in annotations.items():
            if key.startswith(_APPARMOR) and value != "runtime/default" and not value.startswith("localhost/"):
                named = f"{where}.metadata.annotations.{key[:80]}"
                yield f"{named} is {_shown(value)}: must be 'runtime/default' or 'localhost/...'"
    yield from label_problems(f"{where}.spec.nodeSelector", (template.spec and template.spec.node_selector) or {})
    if template.spec and template.spec.security_context:
        yield from _security_problems(f"{where}.spec.securityContext", template.spec.security_context)


def _resource_problems(where: str, resources: Resources) -> Iterator[str]:
    limits, requests = resources.limits or {}, resources.requests or {}
    for path, names in ((f"{where}.limits", limits), (f"{where}.requests", requests)):
        if len(names) > MAX_RESOURCES:
            yield f"{path} has {len(names)} resources: must have at most {MAX_RESOURCES}; remove some"
            return
        for name in names:
            if "/" not in name and name not in _RESOURCES and not name.startswith(_HUGE_PAGES):
                near = get_close_matches(name[:80], _RESOURCES, n=1)
                way_out = f"did you mean {near[0]}?" if near else f"it is {', '.join(_RESOURCES)} or like example.com/x"
                yield f"{path} has {name[:80]!a}, which is no resource of a container: {way_out}"
    for name in resources.too_low():
        yield (
            f"{where}.limits.{name} is {limits[name]}, less than {where}.requests.{name}, {requests[name]}: raise the "
            "limit, or lower the request"
        )


def _security_problems(where: str, context: SecurityContext) -> Iterator[str]:
    """What the Pod Security level `restricted` forbids: the right to create Kanaries must not grant more."""
    if context.run_as_user == 0:
        yield (
            f"{where}.runAsUser is 0: must be another user, because the proxies do not run as root; leave it out for "
            "the user that the cluster assigns"
        )
    for name, profile in (("seccompProfile", context.seccomp_profile), ("appArmorProfile", context.app_armor_profile)):
        if profile is not None and profile.get("type") not in _PROFILES:
            yield f"{where}.{name}.type is {_shown(profile.get('type'))}: must be {' or '.join(_PROFILES)}"
    options = context.se_linux_options or {}
    if options.get("type") not in _SELINUX_TYPES:
        allowed = ", ".join(filter(None, _SELINUX_TYPES))
        yield f"{where}.seLinuxOptions.type is {_shown(options['type'])}: must be left out or one of {allowed}"
    for name in ("user", "role"):
        if options.get(name):
            yield f"{where}.seLinuxOptions.{name} is {_shown(options[name])}: must be left out"


def _shown(value: object) -> str:
    return "missing" if value is None else ascii(value)[:80]


def _metadata_problems(where: str, entries: Mapping[str, str]) -> Iterator[str]:
    for key in entries:
        if key.startswith(_PREFIX) or key in _OURS:
            yield f"{where} has {key[:80]!a}, by which Kanary and the cluster find the proxies: remove it"
