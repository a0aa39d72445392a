"""Where and as what the proxies run: what a Kanary says, what the operator's settings say, and what is refused."""

from typing import Any

import pytest

from engine.fleet.refused import as_declared, with_way_out
from engine.model.placement import BUILT_IN
from engine.render.objects import TEMPLATE_LABEL
from engine.render.pods import template
from engine.resolve.placement import MAX_TEMPLATE
from engine.resolve.validation import InvalidSpecError, read_defaults
from kanary.kube.errors import ApiError, Meaning
from kanary.operator.settings import BadSettingError, Settings, read_proxies
from states import UpdateStrategy
from tests.unit.kanaries import OWNER, Json, spec

SHORT = [
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10}
    for key in ("not-ready", "unreachable")
]
EVERYTHING: Json = {
    "nodeSelector": {"pool": "edge"},
    "tolerations": [{"key": "edge", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
            }
        }
    },
    "priorityClassName": "high",
    "runtimeClassName": "gvisor",
    "serviceAccountName": "proxies",
    "imagePullSecrets": [{"name": "registry"}],
}


def made(
    defaults: str = "", strategy: UpdateStrategy = UpdateStrategy.LIVE, digest: str = "d" * 24, **proxy: Any
) -> Json:
    """The template of the pods of a Kanary with these settings."""
    settings = spec(proxy=proxy).proxy.over(read_proxies(defaults))
    return template(OWNER, settings, digest, strategy, default_image="i:1", sysctls={"net.a": "1"})


def pod(**fields: Any) -> Json:
    return dict(made(template={"spec": fields})["spec"])


def refusal(template: Json) -> str:
    with pytest.raises(InvalidSpecError) as caught:
        spec(proxy={"template": template})
    return str(caught.value)


# What a Kanary says


@pytest.mark.parametrize("strategy", UpdateStrategy)
def test_each_field_of_a_pod_stands_in_the_template_as_it_was_declared(strategy: UpdateStrategy) -> None:
    body = made(template={"spec": EVERYTHING}, strategy=strategy)["spec"]
    assert {key: body[key] for key in EVERYTHING if key != "tolerations"} == {
        key: value for key, value in EVERYTHING.items() if key != "tolerations"
    }
    assert body["tolerations"] == [*EVERYTHING["tolerations"], *SHORT]


@pytest.mark.parametrize("strategy", UpdateStrategy)
def test_labels_and_annotations_are_added_to_those_of_kanary(strategy: UpdateStrategy) -> None:
    plain = made(strategy=strategy)["metadata"]
    changed = made(
        strategy=strategy,
        template={"metadata": {"labels": {"team": "a"}, "annotations": {"sidecar.istio.io/inject": "false"}}},
    )["metadata"]
    assert changed["labels"] == plain["labels"] | {"team": "a", TEMPLATE_LABEL: changed["labels"][TEMPLATE_LABEL]}
    assert changed["annotations"]["sidecar.istio.io/inject"] == "false"
    assert changed["annotations"].keys() - plain["annotations"].keys() == {"sidecar.istio.io/inject"}


def test_both_containers_have_the_resources_that_a_quota_or_limit_range_may_demand() -> None:
    both = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": 1, "memory": "128Mi"}}
    body = made(resources=both, agentResources=both)["spec"]
    assert [container["resources"] for container in body["containers"]] == [both, both]


def test_proxies_may_lie_with_the_autoscaler_although_they_have_a_volume() -> None:
    assert made()["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "true"
    own = {"metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}}}
    assert made(template=own)["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_a_service_account_that_is_left_out_again_is_written_too() -> None:
    """The API server keeps it in the field serviceAccount, from which it would return."""
    assert pod()["serviceAccountName"] == "default"


def test_an_empty_name_leaves_out_that_of_the_operators_settings() -> None:
    names = ("serviceAccountName", "priorityClassName", "runtimeClassName")
    defaults = f"{{template: {{spec: {{{', '.join(f'{name}: a' for name in names)}}}}}}}"
    plain = made(defaults)["spec"]
    emptied = made(defaults, template={"spec": dict.fromkeys(names, "")})["spec"]
    assert [plain[name] for name in names] == ["a", "a", "a"]
    assert [emptied.get(name) for name in names] == ["default", None, None]


# Tolerations and spreading


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ([], SHORT),
        ([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 300}], SHORT[:1]),
        ([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule"}], SHORT),
        ([{"operator": "Exists"}], []),
        ([{"operator": "Exists", "effect": "NoExecute"}], []),
        ([{"operator": "Exists", "effect": "NoSchedule"}], SHORT),
        ([{"key": "edge", "operator": "Exists"}], SHORT),
    ],
)
def test_a_lost_node_is_tolerated_for_a_short_time_unless_the_user_says_for_how_long(
    given: list[Json], added: list[Json]
) -> None:
    assert pod(tolerations=given)["tolerations"] == [*given, *added]


@pytest.mark.parametrize("strategy", UpdateStrategy)
def test_replacements_are_spread_without_the_pods_that_they_replace(strategy: UpdateStrategy) -> None:
    """The scheduler counts pods that match the constraint: each template of the pods has a label value of its own."""
    templates = [made(strategy=strategy), made(strategy=strategy, drainSeconds=7), made(strategy=strategy, image="i:2")]
    templates.append(made(strategy=strategy, template={"metadata": {"annotations": {"a": "1"}}}))
    if strategy is UpdateStrategy.ROLLING:
        templates.append(made(strategy=strategy, digest="e" * 24))
    labels = [each["metadata"]["labels"] for each in templates]
    for number, each in enumerate(templates):
        (constraint,) = each["spec"]["topologySpreadConstraints"]
        selector = constraint["labelSelector"]["matchLabels"]
        assert [selector.items() <= pod_labels.items() for pod_labels in labels] == [
            number == other for other in range(len(templates))
        ]
        assert constraint.keys() == {"maxSkew", "topologyKey", "whenUnsatisfiable", "labelSelector"}  # known since 1.19


def test_own_constraints_select_the_same_pods_unless_they_say_otherwise() -> None:
    zone = {"maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    own = {"labelSelector": {"matchLabels": {"app": "x"}}, "matchLabelKeys": ["pod-template-hash"], "minDomains": 2}
    found = made(template={"spec": {"topologySpreadConstraints": [zone, zone | own]}})
    first, second = found["spec"]["topologySpreadConstraints"]
    assert first["labelSelector"]["matchLabels"].items() <= found["metadata"]["labels"].items()
    assert {**zone, "labelSelector": first["labelSelector"]} == first
    assert second == zone | own
    assert pod(topologySpreadConstraints=[])["topologySpreadConstraints"] == []


# User and group


def test_user_and_group_may_be_left_to_the_cluster() -> None:
    kept = {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "sysctls": [{"name": "net.a", "value": "1"}],
    }
    assert pod()["securityContext"] == kept | {"runAsUser": 65534, "runAsGroup": 65534}
    assert pod(securityContext={})["securityContext"] == kept
    assert pod(securityContext={"runAsUser": 1000, "fsGroup": 7})["securityContext"] == kept | {
        "runAsUser": 1000,
        "fsGroup": 7,
    }
    profile = {"type": "Localhost", "localhostProfile": "p.json"}
    assert pod(securityContext={"seccompProfile": profile})["securityContext"] == kept | {"seccompProfile": profile}


# The operator's settings


def test_a_kanary_overrides_the_operators_settings_field_by_field() -> None:
    defaults = """
        resources: {requests: {cpu: 1}, limits: {memory: 1Gi}}
        template:
          metadata: {labels: {team: ops, tier: edge}, annotations: {a: "1"}}
          spec: {nodeSelector: {pool: edge}, priorityClassName: high, securityContext: {runAsUser: 7}}
    """
    plain, own = (
        made(defaults),
        made(
            defaults,
            resources={"requests": {"memory": "1Mi"}},
            template={"metadata": {"labels": {"team": "shop"}}, "spec": {"nodeSelector": {}, "securityContext": {}}},
        ),
    )
    assert plain["spec"]["containers"][0]["resources"] == {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}}
    assert own["spec"]["containers"][0]["resources"] == {"requests": {"memory": "1Mi"}, "limits": {"memory": "1Gi"}}
    assert own["spec"]["containers"][1]["resources"] == {"requests": {"cpu": "5m", "memory": "24Mi"}, "limits": {}}
    assert (plain["spec"]["nodeSelector"], own["spec"]["nodeSelector"]) == ({"pool": "edge"}, {})
    assert own["spec"]["priorityClassName"] == "high"
    assert "runAsUser" not in own["spec"]["securityContext"]
    labels = [{key: each["metadata"]["labels"].get(key) for key in ("team", "tier")} for each in (plain, own)]
    assert labels == [{"team": "ops", "tier": "edge"}, {"team": "shop", "tier": None}]
    assert own["metadata"]["annotations"]["a"] == "1"


def test_without_settings_there_are_the_built_in_ones() -> None:
    assert read_proxies("") == read_defaults({}, "x").over(BUILT_IN) == BUILT_IN


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1", "expected YAML or JSON: "),
        ("3", "defaults is 3: must be an object"),
        (
            "{template: {spec: {nodeSelectr: {}}}}",
            "defaults.template.spec.nodeSelectr is not a field of a Kanary: did you mean nodeSelector?",
        ),
        ("{replicas: 3}", "defaults.replicas is not a field of a Kanary: it has resources, agentResources, "),
        ("{disruptionBudget: 1}", "defaults.disruptionBudget is 1: must be true, false or left out"),
        (
            "{template: {metadata: {labels: {kanary.k8s.io/name: x}}}}",
            "defaults.template.metadata.labels has 'kanary.k8s.io/name', by which Kanary and the cluster find ",
        ),
    ],
)
def test_settings_that_are_wrong_are_refused_with_the_field(text: str, message: str) -> None:
    with pytest.raises(BadSettingError) as caught:
        Settings.load(proxy_defaults=text)
    assert str(caught.value).startswith(f"KANARY_PROXY_DEFAULTS: {message}")


# What is refused


@pytest.mark.parametrize(
    "key", ["kanary.k8s.io/name", "kanary.k8s.io/pod-template", "app.kubernetes.io/managed-by", "pod-template-hash"]
)
@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_what_the_proxies_are_found_by_cannot_be_changed(field: str, key: str) -> None:
    assert refusal({"metadata": {field: {key: "x"}}}) == (
        f"spec.proxy.template.metadata.{field} has '{key}', by which Kanary and the cluster find the proxies: remove it"
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            {"spec": {"securityContext": {"runAsUser": 0}}},
            "spec.proxy.template.spec.securityContext.runAsUser is 0: must be another user",
        ),
        (
            {"spec": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}},
            "spec.proxy.template.spec.securityContext.seccompProfile.type is 'Unconfined': must be RuntimeDefault or ",
        ),
        (
            {"spec": {"securityContext": {"appArmorProfile": {}}}},
            "spec.proxy.template.spec.securityContext.appArmorProfile.type is missing: must be RuntimeDefault or ",
        ),
        (
            {"spec": {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}},
            "spec.proxy.template.spec.securityContext.seLinuxOptions.type is 'spc_t': must be left out or one of ",
        ),
        (
            {"spec": {"securityContext": {"seLinuxOptions": {"role": ["r"]}}}},
            "spec.proxy.template.spec.securityContext.seLinuxOptions.role is ['r']: must be left out",
        ),
        (
            {"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}}},
            "spec.proxy.template.metadata.annotations.container.apparmor.security.beta.kubernetes.io/a is 'unconfined'",
        ),
        (
            {"metadata": {"labels": {"a": True}}},
            "spec.proxy.template.metadata.labels.a is true: must be a text, in quotes",
        ),
        (
            {"spec": {"nodeSelector": {"a": 1}}},
            "spec.proxy.template.spec.nodeSelector.a is 1: must be a text, in quotes",
        ),
        ({"spec": {"affinity": []}}, "spec.proxy.template.spec.affinity is []: must be an object"),
        *(
            (
                {"spec": {"securityContext": {name: value}}},
                f"spec.proxy.template.spec.securityContext.{name} is {value}: must be a whole number from 0 to",
            )
            for name in ("runAsUser", "runAsGroup", "fsGroup")
            for value in (-1, 2**31)
        ),
        (
            {"spec": {"securityContext": {"supplementalGroups": [1, 2**31]}}},
            "spec.proxy.template.spec.securityContext.supplementalGroups[1] is 2147483648: must be a whole number",
        ),
        (
            {"spec": {"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "b"}]}},
            "spec.proxy.template.spec.topologySpreadConstraints[0].maxSkew is 0: must be a whole number from 1 to",
        ),
        (
            {"metadata": {"labels": {"team web": "a"}}},
            "spec.proxy.template.metadata.labels has the key 'team web': must be at most 63 letters, digits, ",
        ),
        (
            {"metadata": {"labels": {"team": "web/1"}}},
            "spec.proxy.template.metadata.labels.team is 'web/1': must be empty or at most 63 letters, digits, ",
        ),
        (
            {"metadata": {"annotations": {"a/b/c": "x y"}}},
            "spec.proxy.template.metadata.annotations has the key 'a/b/c': must be at most 63 letters, digits, ",
        ),
        (
            {"spec": {"nodeSelector": {"-disk": "ssd"}}},
            "spec.proxy.template.spec.nodeSelector has the key '-disk': must be at most 63 letters, digits, ",
        ),
        (
            {"spec": {"tolerations": {}}},
            "spec.proxy.template.spec.tolerations is {}: must be a list of at most 32 tolerations",
        ),
        (
            {"spec": {"tolerations": [{"tolerationSeconds": "10s"}]}},
            'spec.proxy.template.spec.tolerations[0].tolerationSeconds is "10s": must be a whole number',
        ),
        (
            {"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a"}]}},
            "spec.proxy.template.spec.topologySpreadConstraints[0].whenUnsatisfiable is missing",
        ),
        (
            {"spec": {"imagePullSecrets": ["a"]}},
            'spec.proxy.template.spec.imagePullSecrets[0] is "a": must be an object',
        ),
        (
            {"spec": {"affinity": {"a": "x" * MAX_TEMPLATE}}},
            f"spec.proxy.template has {MAX_TEMPLATE + 30} characters: must have at most {MAX_TEMPLATE}",
        ),
    ],
)
def test_a_template_that_cannot_be_is_refused_with_field_value_and_way_out(template: Json, message: str) -> None:
    assert refusal(template).startswith(message)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a", ""),
        ("A.b_c-d", "E.f_g-h"),
        ("x" * 63, "y" * 63),
        (f"{'a.' * 126}a/b", "1"),
        (f"{'a' * 253}/b", "1"),
        ("sub.example.com/Team", "1"),
    ],
)
def test_labels_that_kubernetes_accepts_are_accepted(key: str, value: str) -> None:
    made(template={"metadata": {"labels": {key: value}}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            (key, "")
            for key in (
                "",
                "x" * 64,
                "/a",
                "a/",
                "A/b",
                f"{'a.' * 127}a/b",
                "a." * 8000,
                "a_b/c",
                ".a/b",
                "\u00e4",
                "a\n",
            )
        ),
        *(("a", value) for value in ("y" * 64, "-a", "a-", "a b", "\u00e4", "a\n")),
    ],
)
def test_labels_that_kubernetes_refuses_are_refused(key: str, value: str) -> None:
    assert "must be" in refusal({"metadata": {"labels": {key: value}}})


@pytest.mark.parametrize("name", ["resources", "agentResources"])
@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (
            {"limits": {"memory": "-1Mi"}},
            '.limits.memory is "-1Mi": must be a quantity from 0, such as 2, 500m or 128Mi',
        ),
        ({"requests": {"cpu": -1}}, ".requests.cpu is -1: must be a quantity from 0, such as 2, 500m or 128Mi"),
        ({"requests": {"cpu": "-.5"}}, '.requests.cpu is "-.5": must be a quantity from 0, such as 2, 500m or 128Mi'),
        (
            {"limits": {"memroy": "1Gi"}},
            ".limits has 'memroy', which is no resource of a container: did you mean memory?",
        ),
        (
            {"requests": {f"r{number}": 1 for number in range(33)}},
            ".requests has 33 resources: must have at most 32",
        ),
        (
            {"limits": {"disk": 1}},
            ".limits has 'disk', which is no resource of a container: it is cpu, memory, ephemeral",
        ),
        (
            {"limits": {"memory": "1M"}, "requests": {"memory": "64Mi"}},
            ".limits.memory is 1M, less than spec.proxy.{}.requests.memory, 64Mi: raise the limit, or",
        ),
    ],
)
def test_resources_that_cannot_be_are_refused(name: str, resources: Json, message: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        spec(proxy={name: resources})
    assert str(caught.value).startswith(f"spec.proxy.{name}{message.format(name)}")


@pytest.mark.parametrize(
    "resources",
    [
        {"limits": {"cpu": "300m"}, "requests": {"cpu": "0.3"}},
        {"limits": {"memory": "1Gi"}, "requests": {"memory": "1024Mi", "cpu": 2}},
        {"limits": {"memory": "+1e6", "example.com/fpga": 1, "hugepages-2Mi": "4Mi", "ephemeral-storage": "1Gi"}},
    ],
)
def test_resources_that_kubernetes_accepts_are_accepted(resources: Json) -> None:
    assert made(resources=resources)["spec"]["containers"][0]["resources"].items() >= resources.items()


@pytest.mark.parametrize("field", ["hostNetwork", "hostPID", "containers", "volumes", "initContainers", "hostname"])
def test_fields_that_would_break_the_proxies_do_not_exist(field: str) -> None:
    assert field not in pod(**{field: True}) or field in ("containers", "volumes")
    assert pod(**{field: True}) == pod()


# What the cluster refuses


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            'Deployment.apps "x" is invalid: spec.template.spec.tolerations[0].operator: Invalid value: "Is"',
            'Deployment.apps "x" is invalid: spec.proxy.template.spec.tolerations[0].operator: Invalid value: "Is"',
        ),
        (
            "failed to create typed patch object (shop/x-haproxy; apps/v1, Kind=Deployment): "
            ".spec.template.spec.affinity.podAfinity: field not declared in schema",
            "failed to create typed patch object (shop/x-haproxy; apps/v1, Kind=Deployment): "
            "spec.proxy.template.spec.affinity.podAfinity: field not declared in schema",
        ),
        (
            'spec.template.spec.containers[0].resources.requests: Invalid value: "64Mi": must be less than or equal to '
            "memory limit of 1M",
            'spec.proxy.resources.requests: Invalid value: "64Mi": must be less than or equal to memory limit of 1M: '
            "raise spec.proxy.resources.limits (agentResources: those of the agent), or set the request as well: a "
            "request that is left out has the operator's default",
        ),
        (
            "spec.template.spec.containers[0].resources.requests: Invalid value: 2",
            "spec.proxy.resources.requests: Invalid value: 2",
        ),
        ("spec.template.spec.containers[1].resources.limits[cpu]: x", "spec.proxy.agentResources.limits[cpu]: x"),
        ("spec.template.labels: Invalid value: a b", "spec.proxy.template.metadata.labels: Invalid value: a b"),
        ("spec.replicas: Invalid value", "spec.replicas: Invalid value"),
    ],
)
def test_what_the_cluster_says_of_the_deployment_names_the_fields_of_the_kanary(said: str, shown: str) -> None:
    assert as_declared(said) == shown


QUOTA = 'FailedCreate: pods "x" is forbidden: failed quota: compute: must specify limits.cpu,limits.memory'
LIMIT = 'FailedCreate: pods "x" is forbidden: minimum memory usage per Container is 100Mi, but request is 24Mi'
EXCEEDED = 'FailedCreate: pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2'
ACCOUNT = 'FailedCreate: pods "x" is forbidden: error looking up service account shop/a: serviceaccount "a" not found'
PRIORITY = 'FailedCreate: pods "x" is forbidden: no PriorityClass with name high was found'
RUNTIME = 'FailedCreate: pods "x" is forbidden: pod rejected: RuntimeClass "gvisor" not found'
LEVEL = (
    'FailedCreate: pods "x" is forbidden: violates PodSecurity "restricted:latest": seccompProfile (pod must not set '
    'securityContext.seccompProfile.type to "Unconfined")'
)
SYSCTLS = 'FailedCreate: pods "x" is forbidden: violates PodSecurity "baseline:v1.28": forbidden sysctls (net.ipv4.a)'
SCC = (
    "FailedCreate: pods is forbidden: unable to validate against any security context constraint: "
    "[provider restricted-v2: .spec.securityContext.runAsUser: Invalid value: 65534: must be in the ranges]"
)


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        (QUOTA, ("spec.proxy.resources", "spec.proxy.agentResources")),
        (LIMIT, ("spec.proxy.resources", "spec.proxy.agentResources")),
        (EXCEEDED, ("spec.proxy.replicas", "ResourceQuota")),
        (ACCOUNT, ("spec.proxy.template.spec.serviceAccountName",)),
        (PRIORITY, ("spec.proxy.template.spec.priorityClassName",)),
        (RUNTIME, ("spec.proxy.template.spec.runtimeClassName",)),
        (LEVEL, ("spec.proxy.template.spec.securityContext",)),
        (SYSCTLS, ("KANARY_POD_SYSCTLS=false",)),
        (SCC, ("spec.proxy.template.spec.securityContext to {}",)),
    ],
)
def test_pods_that_a_namespace_refuses_are_reported_with_the_field_to_set(said: str, fields: tuple[str, ...]) -> None:
    text = with_way_out(said)
    assert text.startswith(f"{said}: ")
    assert all(field in text for field in fields)


def test_other_refusals_are_reported_as_they_are() -> None:
    assert with_way_out("FailedCreate: admission webhook denied it") == "FailedCreate: admission webhook denied it"


def test_an_apply_with_an_unknown_field_is_a_rejection_and_no_outage() -> None:
    """API servers of all releases answer it with 500."""
    error = ApiError(500, "", "failed to create typed patch object (...): .spec.x: field not declared in schema")
    assert (error.meaning, error.is_outage) == (Meaning.REJECTED, False)
    assert (ApiError(500, "", "etcd").meaning, ApiError(500, "", "etcd").is_outage) == (Meaning.RETRY, True)
