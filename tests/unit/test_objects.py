"""The Kubernetes objects of one Kanary."""

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.placement import BUILT_IN
from engine.model.spec import KanarySpec
from engine.model.states import Written, read_written
from engine.render.config import OPS_PORT, SPLIT_PORT
from engine.render.haproxy import ready_path
from engine.render.objects import (
    GENERATION_ANNOTATION,
    HASH_ANNOTATION,
    TEMPLATE_ANNOTATION,
    TEMPLATE_LABEL,
    Identity,
    config_map,
    covers,
    deployment,
    disruption_budget,
    generation_of,
    made_from,
    mounted_config,
    owner_uid,
)
from engine.render.pods import template
from engine.render.service import destination_service as service
from states import UpdateStrategy
from states.timing import ENDPOINTS_SETTLE
from tests.unit.kanaries import OWNER, Json, json_values, spec, valid_specs
from tests.unit.observations import DIGEST, applied

WRITTEN = Written(applied(), "global\n", "defaults\n")
IMAGE = "kanary-haproxy:test"
SYSCTLS = {"net.ipv4.tcp_keepalive_time": "120"}


def proxies(declared: KanarySpec | None = None, digest: str = DIGEST, owner: Identity = OWNER) -> Json:
    return workload(declared or spec(), digest=digest, owner=owner)


def workload(
    declared: KanarySpec,
    image: str = IMAGE,
    digest: str = DIGEST,
    owner: Identity = OWNER,
    strategy: UpdateStrategy = UpdateStrategy.ROLLING,
) -> Json:
    made = template(owner, declared.proxy.over(BUILT_IN), digest, strategy, default_image=image, sysctls=SYSCTLS)
    return deployment(owner, declared, made, 1)


def pod(declared: KanarySpec | None = None) -> Json:
    return dict(proxies(declared)["spec"]["template"]["spec"])


def container(declared: KanarySpec | None = None) -> Json:
    (only,) = pod(declared)["containers"]
    return dict(only)


def everything(owner: Identity = OWNER) -> list[Json]:
    return [
        config_map(owner, WRITTEN),
        proxies(owner=owner),
        disruption_budget(owner),
        service(owner, spec()),
    ]


# All of them


def test_the_objects_bear_these_kinds_and_names() -> None:
    assert [(o["apiVersion"], o["kind"], o["metadata"]["name"]) for o in everything()] == [
        ("v1", "ConfigMap", "myapp-split-haproxy"),
        ("apps/v1", "Deployment", "myapp-split-haproxy"),
        ("policy/v1", "PodDisruptionBudget", "myapp-split-haproxy"),
        ("v1", "Service", "myapp"),
    ]


def test_selectors_and_pods_have_labels_of_kanary_alone() -> None:
    """Services of users select by `app.kubernetes.io/name` and `instance`."""
    made = {obj["kind"]: obj["spec"] for obj in everything() if "spec" in obj}
    own = {"kanary.k8s.io/name": "myapp-split"}
    assert made["Service"]["selector"] == made["Deployment"]["selector"]["matchLabels"] == own
    labels = made["Deployment"]["template"]["metadata"]["labels"]
    assert labels.keys() == {*own, "app.kubernetes.io/managed-by", TEMPLATE_LABEL}
    assert own.items() < labels.items()


@pytest.mark.parametrize("made", everything(), ids=lambda o: o["kind"])
def test_each_object_is_labelled_and_belongs_to_the_kanary(made: Json) -> None:
    metadata = made["metadata"]
    assert metadata["namespace"] == "shop"
    of_kind = {"endpointslice.kubernetes.io/skip-mirror": "true"} if made["kind"] == "Service" else {}
    assert metadata["labels"] == of_kind | {
        "app.kubernetes.io/managed-by": "kanary",
        "app.kubernetes.io/name": "haproxy",
        "app.kubernetes.io/instance": "myapp-split",
        "kanary.k8s.io/name": "myapp-split",
    }
    assert metadata["ownerReferences"] == [
        {
            "apiVersion": "kanary.k8s.io/v1",
            "kind": "Kanary",
            "name": "myapp-split",
            "uid": OWNER.uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }
    ]
    assert owner_uid(made) == OWNER.uid


@pytest.mark.parametrize("made", everything(), ids=lambda o: o["kind"])
def test_each_object_is_plain_data(made: Json) -> None:
    assert json.loads(json.dumps(made)) == made


def test_the_same_input_makes_the_same_objects() -> None:
    assert everything() == everything()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (proxies(digest="a" * 16), proxies(digest="b" * 16)),
        (proxies(), proxies(spec(proxy={"replicas": 3}))),
        (proxies(), workload(spec(), "another-image")),
        (service(OWNER, spec()), service(OWNER, spec(port=8080))),
        (config_map(OWNER, WRITTEN), config_map(OWNER, replace(WRITTEN, latest="defaults\n"))),
        (disruption_budget(OWNER), disruption_budget(Identity("shop", "myapp-split", "another-uid"))),
    ],
    ids=["digest", "replicas", "image", "port", "configuration", "owner"],
)
def test_the_hash_changes_with_the_object(one: Json, other: Json) -> None:
    assert hash_of(one) != hash_of(other)


def hash_of(made: Json) -> str:
    return str(made["metadata"]["annotations"][HASH_ANNOTATION])


@given(valid_specs, valid_specs)
def test_the_hash_differs_exactly_where_the_objects_differ(one: Json, other: Json) -> None:
    first, second = (proxies(KanarySpec.model_validate(each)) for each in (one, other))
    assert (hash_of(first) == hash_of(second)) is (_bare(first) == _bare(second))


def _bare(made: Json) -> Json:
    bare = deepcopy(made)
    del bare["metadata"]["annotations"][HASH_ANNOTATION]
    return bare


def test_a_change_of_weights_alone_leaves_deployment_and_service_as_they_are_but_for_the_digest() -> None:
    """What the proxies are to do reaches them by the ConfigMap and the digest, and nothing else moves."""
    half = spec(routes=[{"backend": {"serviceName": "v1", "servicePort": 80}, "weight": 100}])
    assert proxies(half) == proxies()
    assert service(OWNER, half) == service(OWNER, spec())


# ConfigMap


def test_the_config_map_holds_the_configuration_and_what_it_was_rendered_from() -> None:
    made = config_map(OWNER, WRITTEN)
    assert (made["data"]["haproxy.cfg"], made["data"]["accepted.cfg"]) == ("global\n", "defaults\n")
    assert read_written(made) == WRITTEN


def test_what_has_no_room_beside_the_configuration_is_left_out() -> None:
    made = config_map(OWNER, replace(WRITTEN, accepted="x" * 999_999))
    assert (made["data"]["haproxy.cfg"], made["data"]["accepted.cfg"]) == ("global\n", "")


# Service


def test_the_service_leads_clients_to_the_proxies() -> None:
    made = service(OWNER, spec(port=5432))["spec"]
    assert made == {
        "type": "ClusterIP",
        "selector": {"kanary.k8s.io/name": "myapp-split"},
        "ports": [{"name": "tcp", "port": 5432, "protocol": "TCP", "targetPort": "split"}],
    }
    assert {"name": "split", "containerPort": SPLIT_PORT, "protocol": "TCP"} in container()["ports"]


def test_service_deployment_and_budget_select_the_proxies_and_nothing_else() -> None:
    template = proxies()["spec"]["template"]["metadata"]["labels"]
    selectors = [
        service(OWNER, spec())["spec"]["selector"],
        proxies()["spec"]["selector"]["matchLabels"],
        disruption_budget(OWNER)["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= template.items()
        assert selector == {"kanary.k8s.io/name": "myapp-split"}


def test_a_drained_node_takes_one_proxy_at_a_time_and_the_only_one_too() -> None:
    assert disruption_budget(OWNER)["spec"]["maxUnavailable"] == 1


# Deployment


def test_new_proxies_come_before_old_ones_go() -> None:
    assert proxies()["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0},
    }


def test_another_configuration_rolls_the_pods() -> None:
    one, other = (proxies(digest=digest)["spec"]["template"] for digest in ("a" * 16, "b" * 16))
    assert one["metadata"]["annotations"]["kanary.k8s.io/config"] == "a" * 16
    assert one != other


def test_the_template_is_known_by_all_in_it_that_does_not_depend_on_the_configuration() -> None:
    def known(declared: KanarySpec, digest: str, strategy: UpdateStrategy = UpdateStrategy.ROLLING) -> str:
        made = template(OWNER, declared.proxy.over(BUILT_IN), digest, strategy, default_image=IMAGE, sysctls=SYSCTLS)
        return str(made["metadata"]["annotations"][TEMPLATE_ANNOTATION])

    assert known(spec(), "a" * 24) == known(spec(port=81), "b" * 24)
    others = [known(spec(proxy={"image": "x"}), "a" * 24), known(spec(), "a" * 24, UpdateStrategy.LIVE)]
    assert len({known(spec(), "a" * 24), *others}) == 3


def test_other_replicas_roll_no_pods() -> None:
    one, other = (proxies(spec(proxy={"replicas": n}))["spec"] for n in (2, 3))
    assert (one["replicas"], other["replicas"]) == (2, 3)
    assert one["template"] == other["template"]


def test_a_proxy_runs_as_nobody_with_nothing_that_it_does_not_need() -> None:
    assert pod()["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65534,
        "runAsGroup": 65534,
        "seccompProfile": {"type": "RuntimeDefault"},
        "sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "120"}],
    }
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod()["automountServiceAccountToken"] is False
    assert pod()["enableServiceLinks"] is False
    assert not pod().keys() & {"hostNetwork", "hostPID", "hostIPC"}


def test_a_proxy_reads_its_own_configuration_whatever_is_rendered_later_and_can_write_nothing() -> None:
    (volume,) = pod()["volumes"]
    (mount,) = container()["volumeMounts"]
    assert volume["configMap"] == {"name": f"myapp-split-haproxy-{DIGEST}"}
    made = mounted_config(OWNER, DIGEST, "global\n")
    assert (made["metadata"]["name"], made["data"]) == (volume["configMap"]["name"], {"haproxy.cfg": "global\n"})
    assert mount == {"name": volume["name"], "mountPath": "/etc/kanary", "readOnly": True}
    assert container()["command"][-1] == "/etc/kanary/haproxy.cfg"


def test_a_proxy_is_ready_only_with_the_configuration_that_it_is_to_serve() -> None:
    for probe in ("startupProbe", "readinessProbe"):
        assert container()[probe]["httpGet"] == {"path": ready_path(DIGEST), "port": "ops"}
    assert {"name": "ops", "containerPort": OPS_PORT, "protocol": "TCP"} in container()["ports"]


def test_a_proxy_that_serves_another_configuration_is_not_killed_for_it() -> None:
    assert container()["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "ops"}


@given(valid_specs)
def test_a_proxy_has_the_time_to_drain_before_it_is_killed(declared: Json) -> None:
    read = KanarySpec.model_validate(declared)
    grace, settle = pod(read)["terminationGracePeriodSeconds"], ENDPOINTS_SETTLE.total_seconds()
    assert container(read)["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", f"{settle:.0f}"]
    assert grace > settle + read.proxy.drain_seconds


def test_the_image_is_the_users_or_else_the_operators() -> None:
    assert container()["image"] == IMAGE
    assert container(spec(proxy={"image": "haproxy:3.2"}))["image"] == "haproxy:3.2"


def test_resources_are_the_users() -> None:
    assert container()["resources"] == {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {}}
    declared = {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}}
    assert container(spec(proxy={"resources": declared}))["resources"] == declared


def test_the_cluster_gives_up_on_a_rollout_when_kanary_does() -> None:
    assert proxies(spec(progressDeadlineSeconds=90))["spec"]["progressDeadlineSeconds"] == 90


def test_the_longest_names_fit_a_dns_label() -> None:
    for made in everything(Identity("shop", "a" * 55, "uid")):
        assert len(made["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in made["metadata"]["labels"].values())


# What is in the cluster


def test_an_object_is_made_from_what_it_was_applied_from() -> None:
    made = proxies()
    assert made_from(made, made)
    assert not made_from(made, proxies(digest="b" * 16))


@pytest.mark.parametrize("live", [None, {}, {"metadata": {}}, {"metadata": {"annotations": None}}])
def test_an_object_without_our_hash_is_not_made_from_ours(live: Json | None) -> None:
    assert not made_from(live, proxies())


@pytest.mark.parametrize(
    ("references", "uid"),
    [
        (None, ""),
        ([], ""),
        ([{"uid": "a"}], ""),
        ([{"uid": "a", "controller": False}, {"uid": "b", "controller": True}], "b"),
    ],
)
def test_an_object_belongs_to_its_controller(references: Any, uid: str) -> None:
    assert owner_uid({"metadata": {"ownerReferences": references}}) == uid


@given(json_values)
def test_every_value_covers_itself(value: Any) -> None:
    assert covers(value, deepcopy(value))


@st.composite
def _defaulted(draw: st.DrawFn) -> tuple[Any, Any]:
    """An object, and what a server might make of it by adding fields at any depth."""
    desired = draw(json_values)
    live = deepcopy(desired)

    def fill(node: Any) -> None:
        if isinstance(node, dict):
            for child in node.values():
                fill(child)
            node |= {f"server.{key}": value for key, value in draw(st.dictionaries(st.text(), json_values)).items()}
        elif isinstance(node, list):
            for child in node:
                fill(child)

    fill(live)
    return live, desired


@given(_defaulted())
def test_what_the_server_adds_is_no_difference(pair: tuple[Any, Any]) -> None:
    live, desired = pair
    assert covers(live, desired)


def test_what_the_server_adds_to_our_objects_is_no_difference() -> None:
    live = proxies()
    live["metadata"] |= {"uid": "1", "resourceVersion": "2", "generation": 1}
    live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    live["spec"]["template"]["spec"] |= {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always"}
    live["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["successThreshold"] = 1
    live["status"] = {"replicas": 2}
    assert covers(live, proxies())


@pytest.mark.parametrize("empty", [{}, ""])
def test_what_is_empty_may_as_well_be_left_out(empty: Any) -> None:
    """A server stores no empty `limits`."""
    assert covers({}, {"limits": empty})
    assert covers({"limits": None}, {"limits": empty})


@pytest.mark.parametrize(
    ("live", "desired"),
    [
        ({"replicas": 3}, {"replicas": 2}),
        ({}, {"replicas": 2}),
        ({}, {"automountServiceAccountToken": False}),
        ({}, {"maxUnavailable": 0}),
        (None, {"replicas": 2}),
        ({"ports": [1, 2]}, {"ports": [1]}),
        ({"ports": [1]}, {"ports": [1, 2]}),
        ({"ports": [2, 1]}, {"ports": [1, 2]}),
        ({"ports": {"0": 1}}, {"ports": [1]}),
        ({"labels": {"a": "1"}}, {"labels": {"a": "2"}}),
        ({"labels": "a"}, {"labels": {"a": "1"}}),
        ({"a": {"b": {"c": [{"d": 1}]}}}, {"a": {"b": {"c": [{"d": 2}]}}}),
    ],
)
def test_what_somebody_changed_or_removed_is_a_difference(live: Any, desired: Any) -> None:
    assert not covers(live, desired)


# Proxies that take a configuration as they run


def live_pod(declared: KanarySpec | None = None) -> Json:
    made = workload(declared or spec(), strategy=UpdateStrategy.LIVE)
    return dict(made["spec"]["template"])


def test_a_change_of_weights_or_timeouts_leaves_the_pods_of_live_proxies_as_they_are() -> None:
    half = spec(routes=[{"backend": {"serviceName": "v1", "servicePort": 80}, "weight": 100}])
    one, other = (workload(each, digest=d, strategy=UpdateStrategy.LIVE) for each, d in [(spec(), "a"), (half, "b")])
    assert one == other
    assert live_pod(spec(proxy={"idleSeconds": 7})) == live_pod()


@pytest.mark.parametrize("proxy", [{"image": "other:1"}, {"drainSeconds": 7}, {"resources": {"limits": {"cpu": 1}}}])
def test_a_change_of_image_resources_or_drain_time_does_not(proxy: Json) -> None:
    assert live_pod(spec(proxy=proxy)) != live_pod()


def test_haproxy_runs_what_the_agent_has_checked_and_only_the_agent_sees_what_is_mounted() -> None:
    body = live_pod()["spec"]
    haproxy, agent = body["containers"]
    assert [mount["name"] for mount in haproxy["volumeMounts"]] == ["run"]
    assert [mount["name"] for mount in agent["volumeMounts"]] == ["config", "run"]
    assert agent["volumeMounts"][0]["readOnly"]
    assert body["volumes"][0]["configMap"] == {
        "name": "myapp-split-haproxy",
        "items": [{"key": name, "path": name} for name in ("haproxy.cfg", "accepted.cfg", "public-key.pem")],
    }


@pytest.mark.parametrize("number", [0, 1], ids=["haproxy", "agent"])
def test_neither_may_do_more_than_it_needs(number: int) -> None:
    body = live_pod()["spec"]
    assert body["containers"][number]["securityContext"] == container()["securityContext"]
    assert body["automountServiceAccountToken"] is False


def test_no_port_of_a_live_proxy_takes_orders() -> None:
    ports = [(p["name"], p["containerPort"]) for c in live_pod()["spec"]["containers"] for p in c["ports"]]
    assert ports == [("split", 8080), ("ops", 8404), ("report", 8405)]


def test_a_live_proxy_stops_as_any_other_does() -> None:
    assert live_pod()["spec"]["containers"][0]["lifecycle"] == container()["lifecycle"]
    assert live_pod()["spec"]["terminationGracePeriodSeconds"] == pod()["terminationGracePeriodSeconds"]


def test_a_generation_that_changes_nothing_leaves_the_deployment_as_it_is() -> None:
    first = proxies()
    template = first["spec"]["template"]
    assert deployment(OWNER, spec(), template, 2, first) == first
    scaled = deployment(OWNER, spec(proxy={"replicas": 3}), template, 2, first)
    assert (generation_of(first), generation_of(scaled)) == (1, 2)
    del first["metadata"]["annotations"][GENERATION_ANNOTATION]
    assert generation_of(deployment(OWNER, spec(), template, 2, first)) == 2
