"""The agent serves a mounted configuration without losing a connection, or rejects it without any effect."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from engine.render.haproxy import render
from tests.agent.clients import held, is_alive, stream
from tests.agent.configs import (
    changes_of,
    is_rejection_of,
    listening_elsewhere,
    rejected,
    rejected_at_start,
    reweighted,
)
from tests.agent.live import live, pod
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import CONFIG_FILE, POD_USERS, config_of
from tests.haproxy.test_haproxy_lifecycle import can_play_the_kubelet
from tests.waiting import await_that


def test_a_mounted_configuration_is_served(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1))
    with live(config) as proxy:
        assert Counter(proxy.take(100)) == {0: 80, 1: 20}
        proxy.serve(reweighted(config, 50, 50))
        assert Counter(proxy.take(100)) == {0: 50, 1: 50}
        proxy.serve(reweighted(config, 0, 100))
        assert Counter(proxy.take(100)) == {1: 100}


def test_connections_live_through_twenty_changes(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1), drain_seconds=600)
    with live(config) as proxy, held(proxy, 50) as connections:
        with stream(proxy) as clients:
            for change in islice(changes_of(config), 20):
                proxy.serve(change)
        assert sum(is_alive(connection) for connection in connections) == 50
    assert clients.failed == 0
    assert clients.served > 0


def test_the_stream_of_clients_notices_a_proxy_that_is_stopped_and_started(pods: Pods) -> None:
    """The counterpart of the test above: it can fail."""
    with live(config_of(pods.route(100, 1))) as proxy, held(proxy, 50) as connections:
        with stream(proxy) as clients:
            proxy.restart_haproxy()
            # The report may be from before.
            await_that(proxy.is_ready, "HAProxy is back")
            proxy.await_served()
        assert sum(is_alive(connection) for connection in connections) == 0
    assert clients.failed > 0


def test_a_small_route_gets_its_share_however_often_something_changes(pods: Pods) -> None:
    """If the count started anew at each change, the small route would get no connection, or one at each change."""
    config = config_of(pods.route(99, 1), pods.route(1, 1))
    taken: Counter[int | None] = Counter()
    with live(config) as proxy:
        for change in islice(changes_of(config), 20):
            proxy.serve(change)
            taken.update(proxy.take(20))
    assert taken == {0: 396, 1: 4}


def test_the_last_of_many_changes_is_served(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1))
    with live(config) as proxy:
        for change in islice(changes_of(config), 50):
            proxy.mount(change)
        proxy.await_served()
        reloads = sum(line.startswith("serving: ") for line in proxy.agent_log()) - 1
        assert 1 <= reloads < 50


def test_a_rejected_configuration_changes_nothing_and_is_reported_with_haproxys_message(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1))
    other = reweighted(config, 50, 50)
    with live(config) as proxy:
        proxy.mount(rejected(other))
        await_that(lambda: is_rejection_of(other, proxy.reported()), "the rejection is reported")
        report = proxy.report()
        assert report["digest"] == render(config).digest
        assert report["rejected"]["message"].startswith("config : parsing [haproxy.cfg:")
        assert "'konnect'" in report["rejected"]["message"]
        assert report["problem"] == ""
        assert (proxy.run / CONFIG_FILE).read_text() == render(config).text
        assert Counter(proxy.take(100)) == {0: 80, 1: 20}
        proxy.serve(other)
        assert proxy.report()["rejected"] is None
        assert Counter(proxy.take(100)) == {0: 50, 1: 50}


def test_a_proxy_that_never_had_a_good_configuration_does_not_start_and_says_why(pods: Pods) -> None:
    config = config_of(pods.route(100, 1))
    with pod(config) as proxy:
        proxy.mount(rejected(config))
        await_that(lambda: is_rejection_of(config, proxy.reported()), "the rejection is reported")
        assert proxy.report()["digest"] == ""
        assert not (proxy.run / CONFIG_FILE).exists()
        proxy.serve(config)
        assert proxy.take(10) == [0] * 10


def test_a_proxy_that_is_rejected_its_first_configuration_starts_with_one_that_others_serve(pods: Pods) -> None:
    """So that a lost proxy is replaced while HAProxy rejects the latest configuration."""
    config = config_of(pods.route(80, 2), pods.route(20, 1))
    other = reweighted(config, 50, 50)
    with pod(config) as proxy:
        proxy.mounted.swap(rejected(other), accepted=render(config).text)
        proxy.await_served()
        assert Counter(proxy.take(100)) == {0: 80, 1: 20}
        assert is_rejection_of(other, proxy.report())
        proxy.serve(other)
        assert proxy.report()["rejected"] is None


def test_a_serving_proxy_ignores_the_accepted_configuration_of_others(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1))
    with live(config) as proxy:
        proxy.mounted.swap(rejected(config), accepted=render(reweighted(config, 50, 50)).text)
        await_that(lambda: is_rejection_of(config, proxy.reported()), "the rejection is reported")
        assert Counter(proxy.take(100)) == {0: 80, 1: 20}


def test_haproxy_does_not_restart_with_a_configuration_that_failed_to_start(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1))
    other = reweighted(config, 50, 50)
    with live(config) as proxy, stream(proxy) as clients:
        proxy.mount(rejected_at_start(other))
        await_that(lambda: "/nowhere" in proxy.reported().get("problem", ""), "the failure is reported")
        assert proxy.report()["digest"] == render(config).digest
        assert proxy.report()["draining"] == 0
        await_that(lambda: (proxy.run / CONFIG_FILE).read_text() == render(config).text, "the former text is back")
        proxy.serve(other)
        assert proxy.report()["problem"] == ""
    assert clients.failed == 0


def test_an_address_that_cannot_be_bound_costs_no_connection(pods: Pods) -> None:
    """A reload with it would: HAProxy has the former worker release its ports while it tries."""
    config = config_of(pods.route(80, 2), pods.route(20, 1))
    other = reweighted(config, 50, 50)
    with live(config) as proxy, stream(proxy) as clients:
        proxy.mount(listening_elsewhere(other))
        await_that(lambda: "port 80 of 192.0.2.1" in proxy.reported().get("problem", ""), "the problem is reported")
        assert proxy.report()["digest"] == render(config).digest
        proxy.serve(other)
        assert proxy.report()["problem"] == ""
    assert clients.failed == 0


def test_a_text_without_a_digest_is_a_problem_and_changes_nothing(pods: Pods) -> None:
    config = config_of(pods.route(100, 1))
    with live(config) as proxy:
        proxy.mount("global\n")
        await_that(lambda: "has no digest" in proxy.reported().get("problem", ""), "the problem is reported")
        assert proxy.report()["digest"] == render(config).digest


def test_a_killed_check_is_not_a_rejection_and_is_repeated(pods: Pods, tmp_path: Path) -> None:
    config = config_of(pods.route(100, 1))
    program = tmp_path / "check"
    program.write_text(f'#!/bin/sh\n[ -e {tmp_path}/well ] || kill -9 $$\nexec true "$@"\n')
    program.chmod(0o755)
    with pod(config, program=program) as proxy:
        proxy.mount(config)
        await_that(lambda: "signal 9" in proxy.reported().get("problem", ""), "the problem is reported")
        assert proxy.report()["rejected"] is None
        (tmp_path / "well").touch()
        proxy.await_served()


def test_a_restarted_haproxy_serves_the_last_validated_configuration_without_an_agent(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1))
    with live(config) as proxy:
        other = reweighted(config, 50, 50)
        proxy.serve(other)
        proxy.kill_agent()
        proxy.restart_haproxy()
        await_that(proxy.is_ready, "the proxy is ready")
        assert Counter(proxy.take(100)) == {0: 50, 1: 50}


def test_each_start_begins_elsewhere_in_the_round_after_a_change_too(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1))
    with live(config) as proxy:
        proxy.serve(next(changes_of(config)))
        await_that(
            lambda: "proc.start int(" not in (proxy.run / CONFIG_FILE).read_text(), "the count of the reload is gone"
        )


def test_an_agent_waits_for_haproxy_and_finds_it_again(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1))
    with live(config) as proxy:
        proxy.process.kill()
        proxy.process.wait()
        await_that(lambda: proxy.reported().get("digest") == "", "the report says that nothing is served")
        assert "does not respond" in proxy.report()["problem"]
        # What changes meanwhile is served from the start.
        proxy.mount(reweighted(config, 50, 50))
        proxy.restart_haproxy()
        # The report may be from before.
        await_that(proxy.is_ready, "HAProxy is back")
        proxy.await_served()
        assert Counter(proxy.take(100)) == {0: 50, 1: 50}


@pytest.mark.skipif(not can_play_the_kubelet(), reason="needs root that may mount")
@pytest.mark.parametrize("user", POD_USERS)
def test_both_containers_run_as_any_user_without_capabilities_on_a_read_only_root(pods: Pods, user: int) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1), drain_seconds=600)
    with live(config, pod_user=user) as proxy, held(proxy, 1) as connections:
        for process in (proxy.agent, proxy.process):
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            status = dict(line.split(":\t", 1) for line in lines)
            assert status["Uid"].split() == [str(user)] * 4
            assert int(status["CapBnd"], 16) == 0
        proxy.serve(reweighted(config, 50, 50))
        assert Counter(proxy.take(100)) == {0: 50, 1: 50}
        assert is_alive(connections[0])
        proxy.mount(rejected(config))
        await_that(lambda: is_rejection_of(config, proxy.reported()), "the rejection is reported")
