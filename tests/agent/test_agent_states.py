"""What a reload keeps: the servers that are down or ejected are so in the new worker, from its first connection on."""

from __future__ import annotations

import pytest
from kanary_agent.master import Master, SilentError

from tests.agent.clients import stream
from tests.agent.configs import changes_of
from tests.agent.live import live, worker
from tests.agent.moods import MoodyPods, failures, reset_at_once
from tests.agent.test_agent_killed import new_agent
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of
from tests.held.configs import with_servers
from tests.waiting import await_that

RELOADS = 3


def test_no_connection_fails_after_a_reload_while_a_route_is_down(pods: Pods) -> None:
    config = config_of(pods.route(50, 2), pods.route(50, 2))
    changes = changes_of(config)
    with live(config) as proxy:
        pods.kill(*config.routes[1].servers)
        proxy.await_servers_up(1, 0)
        with stream(proxy) as clients:
            for _ in range(RELOADS):
                former = worker(proxy)
                proxy.serve(next(changes))
                assert worker(proxy) != former
                # The first connections of the new worker.
                assert proxy.take(20) == [0] * 20
        pods.revive(*config.routes[1].servers)
        proxy.await_servers_up(1, 2)
    assert clients.failed == 0


def test_no_connection_fails_after_a_reload_while_a_pod_is_ejected() -> None:
    with MoodyPods() as pods:
        config = config_of(pods.route(100, 3))
        bad, *_ = config.routes[0].servers
        changes = changes_of(config)
        with live(config, eject_seconds=600) as proxy:
            pods.put(reset_at_once, bad)
            await_that(lambda: failures(proxy, 20) == 0, "the pod is ejected")
            with stream(proxy) as clients:
                for _ in range(RELOADS):
                    proxy.serve(next(changes))
                    before = clients.served
                    await_that(lambda served=before: clients.served >= served + 20, "20 more connections")
            assert proxy.ejected() == [f"{bad.address}:{bad.port}"]
    assert clients.failed == 0


def test_a_pod_that_returns_with_a_reload_is_in_service(pods: Pods) -> None:
    """It was in maintenance in the former worker."""
    config = config_of(pods.route(100, 2))
    with live(config) as proxy:
        proxy.serve(with_servers(config, 0, config.routes[0].servers[0]))
        proxy.serve(next(changes_of(config)))
        proxy.await_servers_up(0, 2)
        assert len({proxy.ask() for _ in range(10)}) == 2


def test_a_restarted_haproxy_has_no_states_of_former_workers(pods: Pods) -> None:
    config = config_of(pods.route(100, 1))
    with live(config) as proxy:
        pods.kill(*config.routes[0].servers)
        proxy.await_servers_up(0, 0)
        proxy.serve(next(changes_of(config)))
        pods.revive(*config.routes[0].servers)
        proxy.restart_haproxy()
        await_that(proxy.is_ready, "HAProxy is back")
        assert proxy.take(10) == [0] * 10


def test_no_states_are_left_after_a_reload_without_an_answer(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later start of HAProxy would read them."""
    config = config_of(pods.route(100, 1))
    with live(config) as proxy:
        proxy.kill_agent()
        proxy.mount(next(changes_of(config)))
        agent, reload = new_agent(proxy), Master.reload

        def reload_in_silence(master: Master) -> str:
            reload(master)
            raise SilentError("no answer")

        def has_reloaded() -> bool:
            agent.step()
            return agent.changes > 0

        monkeypatch.setattr(Master, "reload", reload_in_silence)
        await_that(has_reloaded, "the agent reloads HAProxy")
        assert not (proxy.run / "servers.state").exists()
