"""What the proxies are to serve: from a spec and its endpoints to configuration and objects."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from engine.record import ACCEPTED_KEY, CONFIG_KEY, Record, Texts, read_record, read_texts
from engine.target import DEFAULT_PROXY_IMAGE, Defaults, Target, next_revision, proxy_config, render
from hypothesis import given

from engine.model.spec import KanarySpec
from engine.render import haproxy
from engine.render.objects import CONFIG_ANNOTATION
from engine.resolve.endpoints import Endpoint
from states import KEEP_SERVING, Action, OnEmptyRoute, UpdateStrategy
from tests.unit.kanaries import OWNER, Json, kanary, route, spec, valid_specs
from tests.unit.snapshots import NOW

ENDPOINTS = ((Endpoint("10.0.0.1", 8080, "v1-a"), Endpoint("10.0.0.2", 8080, "v1-b")), (Endpoint("10.0.1.1", 9000),))
LATER = NOW + timedelta(minutes=1)


def target(
    declared: KanarySpec | None = None,
    *,
    last: Record | None = None,
    revision: int = 1,
    strategy: UpdateStrategy = UpdateStrategy.ROLLING,
    **applied: Any,
) -> Target:
    return render(
        OWNER,
        declared or spec(),
        ENDPOINTS,
        last=last,
        revision=revision,
        now=NOW,
        strategy=strategy,
        defaults=Defaults("image:1"),
        **applied,
    )


# Objects


def test_each_action_that_serves_has_its_objects_in_the_order_of_the_actions() -> None:
    made = target()
    assert tuple(made.objects) == KEEP_SERVING
    kinds = ["ConfigMap", "ConfigMap", "Deployment", "PodDisruptionBudget", "Service"]
    assert [o["kind"] for o in made.all_objects] == kinds
    assert made.deployment["kind"] == "Deployment"
    assert made.service["kind"] == "Service"


def test_where_the_cluster_has_no_disruption_budgets_none_is_made() -> None:
    defaults = Defaults(disruption_budgets=False)
    made = render(
        OWNER, spec(), ENDPOINTS, last=None, revision=1, now=NOW, strategy=UpdateStrategy.ROLLING, defaults=defaults
    )
    assert [o["kind"] for o in made.all_objects] == ["ConfigMap", "ConfigMap", "Deployment", "Service"]


def test_config_map_probes_and_pods_speak_of_the_same_configuration() -> None:
    made = target()
    config = made.objects[Action.CONFIGURE][0]["data"][CONFIG_KEY]
    digest = haproxy.digest(proxy_config(spec(), ENDPOINTS))
    template = made.deployment["spec"]["template"]
    assert config == haproxy.render(proxy_config(spec(), ENDPOINTS))
    assert template["metadata"]["annotations"][CONFIG_ANNOTATION] == made.record.digest == digest
    assert template["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] == haproxy.ready_path(digest)
    assert f"set-var proc.digest str({digest})" in config


def test_the_operators_image_is_run_where_the_user_names_none() -> None:
    assert target().deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "image:1"
    assert Defaults().proxy_image == DEFAULT_PROXY_IMAGE


@given(valid_specs)
def test_every_spec_that_can_be_read_can_be_rendered(declared: Json) -> None:
    read = KanarySpec.model_validate(declared)
    endpoints = tuple((Endpoint(f"10.0.{number}.1", 80),) for number in range(len(read.routes)))
    made = render(
        OWNER, read, endpoints, last=None, revision=1, now=NOW, strategy=UpdateStrategy.ROLLING, defaults=Defaults()
    )
    assert read_record(made.objects[Action.CONFIGURE][1]) == made.record


# Configuration


def test_the_proxies_are_told_weights_pods_policy_and_times() -> None:
    declared = spec(onEmptyRoute="Fail", proxy={"idleSeconds": 60, "drainSeconds": 30})
    config = proxy_config(declared, ENDPOINTS)
    assert [(r.weight, [s.address for s in r.servers]) for r in config.routes] == [
        (80, ["10.0.0.1", "10.0.0.2"]),
        (20, ["10.0.1.1"]),
    ]
    assert (config.on_empty_route, config.idle_seconds, config.drain_seconds) == (haproxy.OnEmptyRoute.FAIL, 60, 30)


def test_the_proxies_are_told_how_many_connections_to_take_how_to_spread_them_and_what_to_send_ahead() -> None:
    asking = route("v1", 80) | {"sendProxyProtocol": "V2"}
    declared = spec(routes=[asking, route("v2", 20)], proxy={"maxConnections": 50, "balance": "leastconn"})
    config = proxy_config(declared, ENDPOINTS)
    assert (config.max_connections, config.balance) == (50, haproxy.Balance.LEAST_CONNECTIONS)
    assert [route.proxy_protocol for route in config.routes] == [haproxy.ProxyProtocol.V2, None]


def test_both_layers_mean_the_same_by_a_policy() -> None:
    assert {policy.value for policy in OnEmptyRoute} == {policy.value for policy in haproxy.OnEmptyRoute}


# Whether anything has changed


def test_what_was_recorded_is_configured_and_keeps_its_time() -> None:
    last = replace(target().record, written_at=LATER)
    again = target(last=last)
    assert again.is_configured
    assert again.record == last


def test_nothing_is_configured_without_a_record() -> None:
    assert not target().is_configured
    assert target().record.written_at == NOW


@pytest.mark.parametrize(
    "last",
    [
        replace(target().record, spec=spec(port=81)),
        replace(target().record, digest="f" * 16),
        replace(target().record, revision=7),
    ],
    ids=["spec", "digest", "revision"],
)
def test_what_differs_from_the_record_is_not_configured_and_is_written_now(last: Record) -> None:
    made = target(last=replace(last, written_at=LATER))
    assert not made.is_configured
    assert made.record.written_at == NOW


# What new proxies begin with where HAProxy refuses the latest configuration


def accepted(made: Target) -> str:
    return read_texts(made.objects[Action.CONFIGURE][-1]).accepted


TEXTS = Texts("latest", "before that")


@pytest.mark.parametrize("strategy", UpdateStrategy)
def test_what_a_proxy_was_seen_to_serve_is_kept_beside_its_successor(strategy: UpdateStrategy) -> None:
    assert accepted(target(texts=TEXTS, is_accepted=True, strategy=strategy)) == "latest"
    assert accepted(target(texts=TEXTS, is_accepted=False, strategy=strategy)) == "before that"
    assert accepted(target(strategy=strategy)) == ""


def test_what_is_kept_stays_as_long_as_the_configuration_does() -> None:
    made = target(last=target().record, texts=TEXTS, is_accepted=True)
    assert made.is_configured
    assert accepted(made) == "before that"


def test_what_has_no_room_beside_the_configuration_is_not_kept() -> None:
    made = target(texts=Texts("latest", "x" * 999_000))
    assert accepted(made) == ""
    assert made.config


def test_pods_mount_both() -> None:
    volume = target(strategy=UpdateStrategy.LIVE).deployment["spec"]["template"]["spec"]["volumes"][0]
    assert [item["key"] for item in volume["configMap"]["items"]] == [CONFIG_KEY, ACCEPTED_KEY]


def test_pods_of_a_route_without_weight_change_nothing() -> None:
    """Else every pod of a version that is switched off would roll the proxies."""
    declared = spec(routes=[route("v1", 100), route("v2", 0)])
    one, other = (
        render(
            OWNER,
            declared,
            (ENDPOINTS[0], second),
            last=None,
            revision=1,
            now=NOW,
            strategy=UpdateStrategy.ROLLING,
            defaults=Defaults(),
        ).record.digest
        for second in ((), ENDPOINTS[1])
    )
    assert one == other


@pytest.mark.parametrize("strategy", UpdateStrategy)
def test_proxies_that_were_once_reached_over_ipv6_go_on_listening_there(strategy: UpdateStrategy) -> None:
    """Else one look at a moment without proxies would be a new configuration, and the next look another one."""
    first = target(strategy=strategy, ipv6=True)
    assert first.config.count("v6only") == 2
    assert target(last=first.record, strategy=strategy).is_configured


def test_without_a_word_of_ipv6_proxies_do_not_listen_there() -> None:
    """HAProxy does not start with it on a host that has none."""
    assert "v6only" not in target(last=target().record).config


# Revisions

FIRST = (("myapp-v1", 80), ("myapp-v2", 20))
OTHER = spec(routes=[route("myapp-v1", 50), route("myapp-v2", 50)])


def recorded(declared: KanarySpec, revision: int) -> Record:
    return Record(declared, ((), ()), revision, "", NOW)


def test_the_first_weights_are_revision_1() -> None:
    assert next_revision(None, spec(), 0, ()) == 1


def test_other_weights_are_the_next_revision() -> None:
    assert next_revision(recorded(spec(), 4), OTHER, 4, FIRST) == 5


def test_the_same_weights_keep_their_revision_whatever_else_changes() -> None:
    assert next_revision(recorded(spec(), 4), spec(port=81, onEmptyRoute="Hold"), 4, FIRST) == 4


def test_the_same_weights_for_other_backends_are_other_weights() -> None:
    renamed = KanarySpec.model_validate(kanary(routes=[route("myapp-v2", 80), route("myapp-v3", 20)])["spec"])
    assert next_revision(recorded(spec(), 4), renamed, 4, FIRST) == 5


def test_without_a_record_the_status_knows_the_revision() -> None:
    assert next_revision(None, spec(), 4, FIRST) == 4
    assert next_revision(None, OTHER, 4, FIRST) == 5


def test_a_revision_is_never_given_twice() -> None:
    """The record may be ahead of the status, and a status may be ahead of a record that was restored."""
    assert next_revision(recorded(spec(), 6), OTHER, 4, FIRST) == 7
    assert next_revision(recorded(spec(), 4), OTHER, 6, FIRST) == 7


# Proxies that take a configuration as they run


def test_live_proxies_mount_the_config_map_that_changes() -> None:
    made = target(strategy=UpdateStrategy.LIVE)
    assert [o["kind"] for o in made.all_objects] == ["ConfigMap", "Deployment", "PodDisruptionBudget", "Service"]
    (config_map,) = made.objects[Action.CONFIGURE]
    volumes = made.deployment["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["configMap"]["name"] == config_map["metadata"]["name"]


def test_another_way_of_updating_is_to_be_configured_although_the_configuration_is_the_same() -> None:
    last = target(strategy=UpdateStrategy.LIVE).record
    assert target(last=last, strategy=UpdateStrategy.LIVE).is_configured
    assert not target(last=last, strategy=UpdateStrategy.ROLLING).is_configured


def test_a_configuration_that_comes_back_is_told_apart_from_its_forerunner() -> None:
    first = target(strategy=UpdateStrategy.LIVE).record
    half = spec(routes=[route("myapp-v1", 50), route("myapp-v2", 50, 9090)])
    between = target(half, last=first, revision=2, strategy=UpdateStrategy.LIVE).record
    back = target(last=between, revision=3, strategy=UpdateStrategy.LIVE).record
    assert len({first.digest, between.digest, back.digest}) == 3


def test_what_proxies_need_not_know_leaves_their_configuration_as_it_is() -> None:
    first = target(strategy=UpdateStrategy.LIVE).record
    patient = target(spec(progressDeadlineSeconds=7), last=first, strategy=UpdateStrategy.LIVE)
    assert patient.record.digest == first.digest
    assert not patient.is_configured


def test_proxies_that_are_replaced_may_be_the_same_again() -> None:
    first = target(strategy=UpdateStrategy.ROLLING).record
    half = spec(routes=[route("myapp-v1", 50), route("myapp-v2", 50, 9090)])
    between = target(half, last=first, revision=2, strategy=UpdateStrategy.ROLLING).record
    assert target(last=between, revision=3, strategy=UpdateStrategy.ROLLING).record.digest == first.digest
