"""The next agent completes the work of an agent that is killed at any point."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kanary_agent.master import Master
from kanary_agent.routes import Routes
from kanary_agent.slots import Slots
from kanary_agent.totals import Totals
from kanary_agent.updater import Updater

from engine.render.config import ProxyConfig
from engine.render.haproxy import render
from tests.agent.clients import held, is_alive, stream
from tests.agent.configs import changes_of, reweighted
from tests.agent.live import LiveProxy, live
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import CONFIG_FILE, HAPROXY, config_of
from tests.waiting import await_that


class Killed(BaseException):
    """Simulates the end of the process. A BaseException, so that no handler catches it."""


class Fate:
    """Lets so many effects happen, and kills before or after the next one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, effects: int, after: bool) -> None:
        self._left = effects
        self._after = after
        for owner, name in ((os, "replace"), (os, "posix_spawnp"), (Master, "_exchange")):
            monkeypatch.setattr(owner, name, self._deadly(getattr(owner, name)))

    def _deadly(self, effect: Any) -> Any:
        def happen(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left == -1 and not self._after:
                raise Killed
            result = effect(*arguments, **options)
            if self._left == -1:
                raise Killed
            return result

        return happen


def new_agent(proxy: LiveProxy) -> Updater:
    mounted, (routes, _), master = proxy.mounted.folder / CONFIG_FILE, counting(proxy), master_of(proxy)
    return Updater(str(mounted), str(proxy.run), str(HAPROXY), master, count=routes.count_now, change=str)


def counting(proxy: LiveProxy) -> tuple[Routes, Totals]:
    """The counters as a new agent finds them."""
    totals = Totals(str(proxy.run / "counts.json"))
    return Routes(master_of(proxy), Slots(), totals), totals


def master_of(proxy: LiveProxy) -> Master:
    return Master(str(proxy.run / "master.sock"), str(proxy.run))


def is_at_rest(proxy: LiveProxy) -> bool:
    """What is mounted is what HAProxy starts with, what it serves, and what is kept for a failure."""
    text = render(proxy.config).text
    files = (proxy.run / CONFIG_FILE, proxy.run / "served.cfg")
    served = f"<{render(proxy.config).digest}>" in proxy.command("@1 get var proc.digest")
    return served and all(file.exists() and file.read_text() == text for file in files)


def work(agent: Updater, proxy: LiveProxy) -> None:
    def is_done() -> bool:
        agent.step()
        return is_at_rest(proxy)

    await_that(is_done, "the agent has done its work")


def survives(agent: Updater, proxy: LiveProxy, effects: int, after: bool) -> bool:
    """Whether the change takes no more than so many effects."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        Fate(monkeypatch, effects, after)
        try:
            work(agent, proxy)
        except Killed:
            return False
        finally:
            agent.stop()
    return True


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_before_or_after_any_effect_the_next_one_agrees_with_what_is_served(pods: Pods, after: bool) -> None:
    config = config_of(pods.route(99, 1), pods.route(1, 1), drain_seconds=600)
    changes = changes_of(config)
    with live(config) as proxy, held(proxy, 5) as connections:
        proxy.kill_agent()
        for effects in itertools.count():
            proxy.take(3)
            count = proxy.count()
            proxy.mount(next(changes))
            if survives(new_agent(proxy), proxy, effects, after):
                break
            work(new_agent(proxy), proxy)
            assert proxy.count() == count
        # The check, the files, the reload, and what is asked before and after it.
        assert effects >= 8
        assert all(is_alive(connection) for connection in connections)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_in_a_change_of_weights_no_connection_counts_for_other_weights(pods: Pods, after: bool) -> None:
    """All connections of a revision go to one route, and those of the next one to the other."""
    config = config_of(pods.route(100, 1), pods.route(0, 1), watched=8)
    with live(config) as proxy:
        proxy.kill_agent()
        for effects in itertools.count():
            proxy.take(3)
            revision = proxy.config.watched + 1
            weights = (0, 100) if revision % 2 else (100, 0)
            proxy.mount(replace(reweighted(config, *weights), watched=revision))
            is_done = survives(new_agent(proxy), proxy, effects, after)
            proxy.take(3)
            work(new_agent(proxy), proxy)
            counting(proxy)[0].count_now()
            proxy.take(3)
            routes, totals = counting(proxy)
            routes.count_now()
            counted = totals.revisions.of(revision)
            assert {each: set(found) for each, found in counted.items()} == {
                each: {config.routes[each % 2].backend} for each in counted
            }
            assert 3 <= counted[revision][config.routes[revision % 2].backend].connections <= 6
            if is_done:
                break
        # The check, the file, the counters, and each of the variables.
        assert effects >= 8


def test_killed_between_split_and_digest_the_next_one_does_not_report_the_digest(pods: Pods) -> None:
    config = config_of(pods.route(80, 1), pods.route(20, 1))
    half = render(reweighted(config, 50, 50)).text.partition("set-var proc.split ")[2].partition("\n")[0]
    with live(config) as proxy:
        proxy.kill_agent()
        proxy.command(f"experimental-mode on\n@1 set var proc.split {half}")
        agent, master = new_agent(proxy), master_of(proxy)
        assert master.state().digest == render(config).digest
        assert agent.digest_of(master.state()) == ""

        def is_corrected() -> bool:
            agent.step()
            return agent.digest_of(master.state()) == render(config).digest

        await_that(is_corrected, "the split is set again")


def test_killed_at_random_while_configurations_change_it_loses_no_connection(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1), drain_seconds=600)
    with live(config) as proxy, held(proxy, 20) as connections:
        with stream(proxy) as clients:
            for change in itertools.islice(changes_of(config), 20):
                proxy.mount(change)
                # At rest, on its way, or done: every moment will do.
                time.sleep(random.uniform(0, 0.3))
                proxy.restart_agent()
            proxy.await_served()
        assert all(is_alive(connection) for connection in connections)
        await_that(lambda: is_at_rest(proxy), "the agent has done its work")
        report = proxy.report()
        assert (report["rejected"], report["problem"]) == (None, "")
    assert clients.failed == 0
    assert clients.served > 0


def up(proxy: LiveProxy) -> list[int]:
    """The servers that are up, by route that has been checked."""
    routes = proxy.report()["routes"].values()
    return sorted((route["up"] for route in routes if route["unreachedSeconds"] is None), reverse=True)


def test_an_agent_that_is_started_again_reports_the_same(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1), drain_seconds=600)
    with live(config) as proxy, held(proxy, 2):
        await_that(lambda: up(proxy) == [2, 1], "the pods have been checked")
        proxy.serve(next(changes_of(config)))
        await_that(lambda: proxy.report()["draining"] == 1, "the former worker drains")
        await_that(lambda: up(proxy) == [2, 1], "the pods have been checked again")
        before = proxy.report()
        proxy.restart_agent()
        await_that(lambda: {**proxy.reported(), "time": before["time"]} == before, f"the new agent reports {before}")
        reloads = proxy.command("show proc").count(" worker ") - 1
        assert reloads == 1


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Path]:
    """A check that does not end by itself."""
    program = tmp_path / "check"
    program.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 600\n")
    program.chmod(0o755)
    yield program
    (tmp_path / "pid").unlink(missing_ok=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_stop_signal_ends_the_agent_with_success_and_does_not_affect_haproxy(
    pods: Pods, number: signal.Signals
) -> None:
    config = config_of(pods.route(100, 1))
    with live(config) as proxy:
        assert proxy.stop_agent(number) == 0
        assert proxy.take(10) == [0] * 10


def test_a_stop_signal_during_a_check_ends_the_check(pods: Pods, stuck: Path) -> None:
    config: ProxyConfig = config_of(pods.route(100, 1))
    with live(config) as proxy:
        proxy.restart_agent(program=stuck)
        proxy.mount(next(changes_of(config)))
        pid = stuck.parent / "pid"
        await_that(lambda: pid.exists() and pid.read_text() != "", "the check runs")
        assert proxy.report()["digest"] == render(config).digest
        assert proxy.stop_agent(signal.SIGTERM) == 0
        await_that(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists(), "the check is gone")
