"""From what is to be in force to configuration and objects, and how that differs from what was written."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from engine import plan
from engine.destination import Destination
from engine.fleet.proxy import Proxy
from engine.memo import Memo
from engine.model.entries import Share
from engine.model.spec import KanarySpec, weights_text
from engine.model.states import (
    ACCEPTED_KEY,
    CONFIG_KEY,
    PUBLIC_KEY,
    Endpoint,
    Endpoints,
    Written,
    read_written,
    unpaused,
)
from engine.observe import Defaults
from engine.plan import Target, plan_unapplied
from engine.proxy_config import proxy_config
from engine.render import haproxy
from engine.render.config import Balance, ProxyConfig, ProxyProtocol
from engine.render.haproxy import render, split_of
from engine.render.objects import CONFIG_ANNOTATION
from engine.render.slots import assign
from engine.render.sysctls import sysctls_for
from states import KEEP_SERVING, Action, Difference, OnEmptyRoute, UpdateStrategy
from tests.unit.kanaries import OWNER, Json, route, spec, valid_specs
from tests.unit.observations import ENDPOINTS, V1, V2, objects_of, observed, split
from tests.unit.proxies import late, live, rolling
from tests.unit.snapshots import NOW

LATER = NOW + timedelta(minutes=1)
ROLLING = spec(updateStrategy="Rolling")
HALF = spec(routes=[route("myapp-v1", 50), route("myapp-v2", 50, 9090)])
NEW_POD: Endpoints = {V1: (*ENDPOINTS[V1], Endpoint("10.0.0.3", 8080, "v1-c")), V2: ENDPOINTS[V2]}
NO_V2: Endpoints = {V1: ENDPOINTS[V1], V2: ()}


def target(
    declared: KanarySpec | None = None,
    last: Target | Written | None = None,
    *,
    revision: int = 1,
    endpoints: Endpoints | None = None,
    **seen: Any,
) -> Target:
    """What is planned of a Kanary, of which that was written last."""
    found = split(declared, revision, **({"endpoints": endpoints} if endpoints else {}))
    written = last.written if isinstance(last, Target) else last
    return plan.plan(observed(last=written or Written(), **seen), found)


def configured(declared: KanarySpec | None = None) -> ProxyConfig:
    """The configuration of the proxies by a spec."""
    found = split(declared)
    slots = assign((), (), [str(route.backend) for route in found.spec.routes])
    return proxy_config(found.spec, list(found.endpoints.values()), "", slots)


# Objects


def test_each_action_that_serves_has_its_objects_in_the_order_of_the_actions() -> None:
    assert tuple(target(ROLLING).planned) == KEEP_SERVING
    kinds = ["ConfigMap", "Deployment", "PodDisruptionBudget", "Service"]
    assert [o["kind"] for o in objects_of(target())] == kinds
    assert [o["kind"] for o in objects_of(target(ROLLING))] == ["ConfigMap", *kinds]


def test_where_the_cluster_has_no_disruption_budgets_none_is_made() -> None:
    made = target(defaults=Defaults("image:1", disruption_budgets=False))
    assert [o["kind"] for o in objects_of(made)] == ["ConfigMap", "Deployment", "Service"]


@pytest.mark.parametrize(("version", "options"), [("v1.31.9", 1), ("v1.32.0", 0)])
def test_either_the_pod_or_each_connection_sets_the_keepalive_times(version: str, options: int) -> None:
    made = target(defaults=Defaults("image:1", sysctls=sysctls_for(version)))
    context = objects_of(made, Action.RUN_PROXIES)[0]["spec"]["template"]["spec"]["securityContext"]
    assert [entry["name"] for entry in context["sysctls"]].count("net.ipv4.tcp_keepalive_time") == 1 - options
    assert made.written.latest.count("  clitcpka-idle 120s\n") == options


@pytest.mark.parametrize("declared", [spec(), ROLLING], ids=["Live", "Rolling"])
def test_other_kernel_parameters_replace_the_proxies(declared: KanarySpec) -> None:
    """The cluster was upgraded, or the operator has another setting."""
    before = target(declared, defaults=Defaults("image:1", sysctls=sysctls_for("v1.31.9")))
    after = target(declared, before, defaults=Defaults("image:1", sysctls=sysctls_for("v1.32.0")))
    assert after.difference is Difference.SETTINGS
    assert after.goal.template != before.goal.template


def test_config_map_probes_and_pods_speak_of_the_same_configuration() -> None:
    made = target(ROLLING)
    config, digest = objects_of(made, Action.CONFIGURE)[0]["data"][CONFIG_KEY], made.applied.digest
    template = objects_of(made, Action.RUN_PROXIES)[0]["spec"]["template"]
    assert (config, digest) == (render(configured()).text, render(configured()).digest)
    assert template["metadata"]["annotations"][CONFIG_ANNOTATION] == digest == made.goal.digest
    assert template["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] == haproxy.ready_path(digest)
    assert f"set-var proc.digest str({digest})" in config


def test_proxies_that_load_their_configuration_mount_the_config_map_that_changes() -> None:
    made = target()
    (config_map,) = objects_of(made, Action.CONFIGURE)
    volume = objects_of(made, Action.RUN_PROXIES)[0]["spec"]["template"]["spec"]["volumes"][0]["configMap"]
    assert volume["name"] == config_map["metadata"]["name"]
    assert [item["key"] for item in volume["items"]] == [CONFIG_KEY, ACCEPTED_KEY, PUBLIC_KEY]
    assert read_written(config_map) == made.written


def test_the_operators_image_is_run_where_the_user_names_none() -> None:
    containers = objects_of(target(), Action.RUN_PROXIES)[0]["spec"]["template"]["spec"]["containers"]
    assert [container["image"] for container in containers] == ["image:1", "image:1"]


def test_the_goal_is_what_the_destination_leads_to_as_well() -> None:
    assert target(destinations={"myapp": Destination(None, 2)}).goal.ready_endpoints == 2
    assert (target().goal.ready_endpoints, target(spec(proxy={"replicas": 3})).goal.replicas) == (0, 3)


@settings(max_examples=40)
@given(valid_specs)
def test_every_spec_that_can_be_read_can_be_planned_and_is_read_back(declared: Json) -> None:
    read = KanarySpec.model_validate(declared)
    endpoints = {r.backend: (Endpoint(f"10.0.{number}.1", 80),) for number, r in enumerate(read.all_routes)}
    made = plan_unapplied(OWNER, read, endpoints, Defaults("image:1"), NOW)
    assert read_written(objects_of(made, Action.CONFIGURE)[-1]) == made.written


# Configuration


def test_the_proxies_receive_weights_pods_policy_and_times() -> None:
    config = configured(spec(onEmptyRoute="Fail", proxy={"idleSeconds": 60, "drainSeconds": 30}))
    assert [(r.backend, r.weight, [s.address for s in r.servers]) for r in config.routes] == [
        ("myapp-v1:http", 80, ["10.0.0.1", "10.0.0.2"]),
        ("myapp-v2:9090", 20, ["10.0.1.1"]),
    ]
    assert (config.on_empty_route, config.idle_seconds, config.drain_seconds) == (OnEmptyRoute.FAIL, 60, 30)


def test_the_proxies_receive_limits_balance_and_the_proxy_protocol() -> None:
    asking = route("v1", 80) | {"sendProxyProtocol": "V2"}
    config = configured(spec(routes=[asking, route("v2", 20)], proxy={"maxConnections": 50, "balance": "leastconn"}))
    assert (config.max_connections, config.balance) == (50, Balance.LEAST_CONNECTIONS)
    assert [route.proxy_protocol for route in config.routes] == [ProxyProtocol.V2, None]


@pytest.mark.parametrize("strategy", UpdateStrategy)
def test_proxies_that_were_once_reached_over_ipv6_go_on_listening_there(strategy: UpdateStrategy) -> None:
    declared = spec(updateStrategy=strategy.value)
    first = target(declared, proxies=[replace(rolling(), address="fd00::1")])
    assert first.written.latest.count("v6only") == 2
    assert target(declared, first).difference is Difference.NONE
    # HAProxy does not start with it on a host that has none.
    assert "v6only" not in target(declared, target(declared)).written.latest


@pytest.mark.parametrize(
    ("addresses", "service", "expected"),
    [
        ([], None, False),
        (["", "10.0.0.1"], {"spec": {"clusterIP": "10.1.0.1"}}, False),
        (["10.0.0.1"], {"spec": {"clusterIP": "None"}}, False),
        (["10.0.0.1", "fd00::1"], None, True),
        ([], {"spec": {"clusterIP": "fd00::1"}}, True),
        (["10.0.0.1"], {"spec": {"clusterIP": "10.1.0.1", "clusterIPs": ["10.1.0.1", "fd00::1"]}}, True),
    ],
    ids=["nothing", "IPv4", "headless", "a pod of IPv6", "a Service of IPv6", "a Service of both"],
)
def test_proxies_are_reached_over_ipv6_where_they_or_their_service_have_such_an_address(
    addresses: list[str], service: Json | None, expected: bool
) -> None:
    proxies = [replace(rolling(), address=address) for address in addresses]
    seen = observed(proxies=proxies, destinations={"myapp": Destination(service, 0)})
    assert seen.is_reached_by_ipv6("myapp") is expected


def test_weights_are_one_line_of_bounded_length() -> None:
    assert weights_text(spec().shares) == "myapp-v1:http=80 myapp-v2:9090=20"
    shares = [Share(backend=f"{'v' * 59}-{number:03}:http", weight=1) for number in range(100)]
    text = weights_text(shares)
    assert len(text) <= 1_004
    assert text.endswith(":http=1 ...")


# How it differs from what was written


def test_what_was_written_is_the_target_and_keeps_its_time() -> None:
    first = target()
    again = target(last=first, now=LATER)
    assert (again.difference, again.applied) == (Difference.NONE, first.applied)
    assert again.applied.written_at == NOW


def _of_other_digest(last: Target) -> Written:
    return replace(last.written, applied=last.applied.model_copy(update={"digest": "f" * 24}))


@pytest.mark.parametrize("strategy", UpdateStrategy)
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Difference.NONE),
        ({"endpoints": NEW_POD}, Difference.ENDPOINTS),
        ({"endpoints": NO_V2}, Difference.SETTINGS),
        ({"port": 81}, Difference.SETTINGS),
        ({"proxy": {"idleSeconds": 7}}, Difference.SETTINGS),
        ({"revision": 2}, Difference.WEIGHTS),
    ],
    ids=["nothing", "a pod", "an empty route", "a port", "a time", "a revision"],
)
def test_pods_that_come_and_go_are_distinguished_from_settings_and_weights(
    strategy: UpdateStrategy, changes: Json, expected: Difference
) -> None:
    kept = {"endpoints", "revision"}
    declared = {key: value for key, value in changes.items() if key not in kept} | {"updateStrategy": strategy.value}
    last = target(spec(updateStrategy=strategy.value))
    seen = {key: changes[key] for key in kept & changes.keys()}
    made = target(spec(**declared), last, now=LATER, **seen)
    assert made.difference is expected
    assert (made.applied.written_at == LATER) is (expected is not Difference.NONE)


def test_without_anything_written_all_of_it_is_new() -> None:
    assert target().difference is Difference.WEIGHTS


def test_a_text_that_somebody_changed_is_written_anew() -> None:
    assert target(last=_of_other_digest(target())).difference is Difference.SETTINGS


def test_another_way_of_updating_differs_although_the_configuration_may_be_the_same() -> None:
    assert target(ROLLING, target()).difference is Difference.SETTINGS


def test_running_proxies_get_the_pods_of_a_route_of_weight_0_without_another_split() -> None:
    """So that a weight that it gets needs no reload."""
    declared = spec(routes=[route("myapp-v1", 100), route("myapp-v2", 0, 9090)])
    without = target(declared, endpoints=NO_V2)
    with_pods = target(declared, without)
    assert with_pods.difference is Difference.ENDPOINTS
    assert split_of(with_pods.applied.digest) == split_of(without.applied.digest)


def test_pods_of_a_route_of_weight_0_do_not_replace_proxies() -> None:
    declared = spec(routes=[route("myapp-v1", 100), route("myapp-v2", 0, 9090)], updateStrategy="Rolling")
    without = target(declared, endpoints=NO_V2)
    assert target(declared, without).difference is Difference.NONE
    assert "myapp-v2" not in without.written.latest


def test_what_proxies_need_not_know_leaves_their_configuration_as_it_is() -> None:
    first = target()
    patient = target(spec(progressDeadlineSeconds=7), first)
    assert (patient.applied.digest, patient.difference) == (first.applied.digest, Difference.SETTINGS)


# How proxies receive it


def test_proxies_that_are_late_are_replaced_until_the_spec_changes() -> None:
    first = target()
    written = replace(first.written, applied=first.applied.model_copy(update={"digest": "a" * 24}))
    rolled_out = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    deployment = {"metadata": {"generation": 1}, "status": {"observedGeneration": 1, **rolled_out}}
    fleet = replace(observed(proxies=[late(), late("x-2")]).fleet, deployment=deployment)
    replaced = target(last=written, fleet=fleet)
    assert replaced.applied.strategy is UpdateStrategy.ROLLING
    assert replaced.fallback.startswith("pod x-1 did not load the configuration")
    assert target(last=replaced).applied.strategy is UpdateStrategy.ROLLING
    assert target(last=replaced).fallback == ""
    assert target(HALF, replaced, revision=2).applied.strategy is UpdateStrategy.LIVE


def test_a_configuration_that_comes_back_is_distinguished_from_its_forerunner() -> None:
    first = target()
    between = target(HALF, first, revision=2)
    back = target(last=between, revision=3)
    made = [first.applied, between.applied, back.applied]
    assert len({split_of(each.digest) for each in made}) == 3
    assert [each.serial - first.applied.serial for each in made] == [0, 1, 2]
    assert [each.split_serial for each in made] == [each.serial for each in made]


def test_the_serial_of_a_lost_record_is_above_all_former_ones() -> None:
    """Proxies that load configurations reject older ones."""
    last = target(HALF, target(), revision=2).applied.serial
    memo, later, declared = Memo(), NOW + timedelta(seconds=1), unpaused(spec())
    lost = target(declared, memo=memo, now=later)
    assert lost.applied.serial > last
    # The history has the digest before the record is written.
    assert target(declared, memo=memo, now=later + timedelta(seconds=1)).applied.digest == lost.applied.digest


def test_each_process_renders_what_the_former_one_has_written() -> None:
    last = target(endpoints=NEW_POD, last=target(HALF, target(), revision=2), revision=3)
    assert target(endpoints=NEW_POD, last=last, revision=3).difference is Difference.NONE


def test_so_is_one_of_a_pod_that_goes_and_comes_back() -> None:
    """A proxy that is about to load the one in between must not report that it has the last one already."""
    first = target(endpoints=NEW_POD)
    without = target(last=first)
    again = target(last=without, endpoints=NEW_POD)
    assert [made.applied.serial - first.applied.serial for made in (first, without, again)] == [0, 1, 2]
    assert first.applied.digest != again.applied.digest
    assert split_of(first.applied.digest) == split_of(without.applied.digest) == split_of(again.applied.digest)


def test_proxies_that_are_replaced_may_be_the_same_again() -> None:
    first = target(ROLLING)
    between = target(spec(updateStrategy="Rolling", port=81, proxy={"idleSeconds": 7}), first)
    assert target(ROLLING, between).applied.digest == first.applied.digest


@pytest.mark.parametrize("strategy", UpdateStrategy)
def test_each_change_is_rendered_once_however_often_it_is_looked_at(
    strategy: UpdateStrategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ProxyConfig] = []

    def counted(config: ProxyConfig) -> haproxy.Draft:
        made.append(config)
        return haproxy.draft(config)

    monkeypatch.setattr(plan, "draft", counted)
    declared, memo = unpaused(spec(updateStrategy=strategy.value)), Memo()
    last = target(declared, memo=memo)
    for endpoints in (NEW_POD, ENDPOINTS, NEW_POD):
        for _ in range(3):
            memo.end_round()
            waiting = target(declared, last, endpoints=endpoints, memo=memo)
        last = waiting
        for _ in range(3):
            memo.end_round()
            assert target(declared, last, endpoints=endpoints, memo=memo).difference is Difference.NONE
    assert len(made) == 4


def test_another_key_is_written_and_no_proxy_loads_or_is_replaced_for_it() -> None:
    last = target()
    made = target(last=replace(last.written, public_key="another key"))
    assert made.difference is Difference.NONE
    (before,), (after,) = (objects_of(each, Action.CONFIGURE) for each in (last, made))
    assert after["data"] == before["data"] | {PUBLIC_KEY: "another key"}
    assert objects_of(made, Action.RUN_PROXIES) == objects_of(last, Action.RUN_PROXIES)


# What new proxies begin with where HAProxy rejects the latest configuration


def accepted(declared: KanarySpec, proxies: Sequence[Proxy], before: str = "before that", revision: int = 2) -> str:
    last = target(declared)
    written = replace(last.written, applied=last.applied.model_copy(update={"digest": "a" * 24}), accepted=before)
    return target(declared, written, revision=revision, proxies=proxies).written.accepted


@pytest.mark.parametrize(("declared", "proxy"), [(spec(), live()), (ROLLING, rolling())])
def test_what_a_proxy_was_seen_to_serve_is_kept_beside_its_successor(declared: KanarySpec, proxy: Proxy) -> None:
    assert accepted(declared, [proxy]) == target(declared).written.latest
    assert accepted(declared, []) == "before that"
    assert target(declared).written.accepted == ""


def test_what_is_kept_stays_as_long_as_the_configuration_does() -> None:
    first = target()
    again = target(last=replace(first.written, accepted="before that"), proxies=[live(report=first.applied.digest)])
    assert (again.difference, again.written.accepted) == (Difference.NONE, "before that")
