"""While the operator is gone, the agent returns to the last good weights if its own counts convict a canary."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kanary_agent.contact import LOST_SECONDS, Contact
from kanary_agent.revisions import Revisions
from kanary_agent.rollback import Rollback
from kanary_agent.rollback_plan import plan_of

from engine.model.weight import read_weight
from engine.render.config import ProxyConfig
from engine.render.haproxy import render, split_of
from engine.render.objects import KANARY_LABEL
from engine.render.placement import NOBODY
from engine.render.rollback import RollbackPlan
from kanary.kube.resources import Key
from kanary.operator import agents
from kanary.operator.agents import Agents
from states.timing import AGENT_SIGN_INTERVAL
from tests.agent.configs import reweighted
from tests.agent.live import POD, LiveProxy, live, worker
from tests.agent.moods import MoodyPods, ask, reset_when_asked, visits
from tests.haproxy.pods import greet_and_echo
from tests.haproxy.proxies import config_of, greeted_by
from tests.unit.proxies import live_pod
from tests.unit.snapshots import NOW
from tests.waiting import await_that

REVISION = 7
CONTACT_SECONDS = 1.5
SIGN_SECONDS = 0.3
AWAY = {"contact_seconds": CONTACT_SECONDS}
PATIENT_SECONDS = 5
"""Long enough for signs, also if whoever sends or reads them is held up for two seconds."""


@pytest.fixture
def pods() -> Iterator[MoodyPods]:
    with MoodyPods() as running_pods:
        yield running_pods


def rolling_out(pods: MoodyPods, **settings: Any) -> ProxyConfig:
    """A step of 90 to 10 on the way from 100 to 0."""
    routes = pods.route(90, 2), pods.route(10, 1)
    first, second = (route.backend for route in routes)
    plan = RollbackPlan(
        weights={first: read_weight(100)},
        canaries={second: {REVISION: 0.1}},
        others=(first,),
        steps=3,
        false_alarms=1e-5,
        ratio=1.5,
        fraction=0.001,
    )
    return config_of(*routes, kanary="uid", serial=1, failure_log=True, watched=REVISION, rollback=plan, **settings)


def canary_of(config: ProxyConfig) -> str:
    return config.routes[1].backend


def has_rolled_back(proxy: LiveProxy, revision: int = REVISION) -> bool:
    """By its report, and by the weights in force."""
    report = proxy.reported()
    found = report.get("rolledBack")
    return bool(found) and found["revision"] == revision and report["digest"].startswith("0" * 12)


def await_rollback(proxy: LiveProxy) -> None:
    await_that(lambda: has_rolled_back(proxy), "it has rolled back")


def fail(pods: MoodyPods, proxy: LiveProxy, connections: int = 200) -> None:
    """The canary resets what it accepts."""
    pods.put(reset_when_asked, *proxy.config.routes[1].servers)
    list(visits(proxy, ask, connections))


@contextlib.contextmanager
def operator(proxy: LiveProxy) -> Iterator[Any]:
    """An operator on a stream of reports; to call it is to send a sign."""
    with proxy.connect_to_agent() as connection:
        connection.sendall(b"GET /reports HTTP/1.1\r\n\r\n")
        yield lambda: connection.sendall(Contact(POD).sign)


def test_a_bad_canary_is_rolled_back_once_the_operator_is_gone(pods: MoodyPods) -> None:
    config = rolling_out(pods)
    with live(config, contact_seconds=PATIENT_SECONDS) as proxy, proxy.connect() as held:
        # One connection in ten: it does not fail, and may have begun before the agent counts.
        is_canary = greeted_by(held) in config.routes[1].servers
        process = worker(proxy)
        with operator(proxy) as sign:
            sign()
            fail(pods, proxy)
            sign()
        await_rollback(proxy)
        assert proxy.take(50) == [0] * 50
        found = proxy.report()["rolledBack"]
        assert found["canary"] == canary_of(config)
        failed = found["own"]["failed"]
        assert failed == 20
        assert failed <= found["own"]["connections"] <= failed + is_canary
        assert found["others"]["failed"] == 0
        assert found["chance"] < 1e-5
        assert found["secondsAgo"] < 60
        # Without a reload, and nothing was cut.
        assert worker(proxy) == process
        assert ask(held)


def test_it_rolls_back_as_soon_as_the_failures_that_it_has_counted_convict(pods: MoodyPods) -> None:
    config = rolling_out(pods)
    with live(config, **AWAY) as proxy:
        list(visits(proxy, ask, 30))
        time.sleep(2 * CONTACT_SECONDS)
        pods.put(reset_when_asked, *config.routes[1].servers)
        failed = 0
        while not has_rolled_back(proxy):
            failed += [*visits(proxy, ask, 10)].count(False)
            await_counted(proxy, failed)
            assert failed < 30
        # Ten connections between two looks, of which the canary has one.
        assert proxy.report()["rolledBack"]["own"]["failed"] <= 10
        assert proxy.take(20) == [0] * 20


def await_counted(proxy: LiveProxy, failures: int) -> None:
    """Until it has counted them for the watched revision, or rolled that back."""

    def counted() -> int:
        routes = [route for each in proxy.reported().get("revisions", ()) for route in each["routes"].values()]
        return sum(route["failed"] for route in routes)

    await_that(lambda: has_rolled_back(proxy) or counted() >= failures, "it has counted them")


def test_an_operator_that_is_there_decides_itself(pods: MoodyPods) -> None:
    with live(rolling_out(pods), contact_seconds=PATIENT_SECONDS) as proxy, operator(proxy) as sign:
        pods.put(reset_when_asked, *proxy.config.routes[1].servers)
        end = time.monotonic() + 2 * PATIENT_SECONDS
        while time.monotonic() < end:
            sign()
            for _ in visits(proxy, ask, 50):
                sign()
            time.sleep(SIGN_SECONDS)
        assert proxy.report()["rolledBack"] is None
        # Its connection stays open, but it says nothing any more.
        await_rollback(proxy)


def test_an_operator_sends_the_signs_that_agents_expect(pods: MoodyPods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "AGENT_SIGN_INTERVAL", timedelta(seconds=SIGN_SECONDS))
    found, can_act = live_pod(), [True]
    found["metadata"] |= {"namespace": "shop", "uid": POD, "labels": {KANARY_LABEL: "x"}}
    found["status"]["podIP"] = "127.0.0.1"
    with live(rolling_out(pods), contact_seconds=PATIENT_SECONDS) as proxy:
        operators = Agents(lambda: NOW, proxy.report_port)
        operators.start(lambda _: found, lambda: [Key.of(found)], lambda *_: None, lambda _: can_act[0])
        try:
            fail(pods, proxy)
            time.sleep(2 * PATIENT_SECONDS)
            assert proxy.report()["rolledBack"] is None
            can_act[0] = False
            await_rollback(proxy)
        finally:
            operators.stop()


def test_an_operator_has_missed_three_signs_before_it_is_gone() -> None:
    assert 3 * AGENT_SIGN_INTERVAL.total_seconds() < LOST_SECONDS


def test_good_canaries_stay_without_an_operator(pods: MoodyPods) -> None:
    with live(rolling_out(pods), **AWAY) as proxy:
        time.sleep(CONTACT_SECONDS)
        list(visits(proxy, ask, 300))
        pods.put(reset_when_asked, *(server for route in proxy.config.routes for server in route.servers))
        list(visits(proxy, ask, 50))
        time.sleep(1)
        assert proxy.report()["rolledBack"] is None
        assert proxy.report()["digest"] == render(proxy.config).digest


def test_without_a_plan_nothing_is_rolled_back(pods: MoodyPods) -> None:
    with live(replace(rolling_out(pods), rollback=None), **AWAY) as proxy:
        fail(pods, proxy)
        time.sleep(CONTACT_SECONDS + 1)
        assert proxy.report()["rolledBack"] is None


def test_neither_restarts_nor_the_mounted_configuration_end_it(pods: MoodyPods) -> None:
    config = rolling_out(pods)
    with live(config, **AWAY) as proxy:
        fail(pods, proxy)
        await_rollback(proxy)
        proxy.restart_agent()
        await_rollback(proxy)
        proxy.restart_haproxy()
        await_rollback(proxy)
        assert proxy.take(30) == [0] * 30
        # The kubelet mounts it again, and other endpoints of this revision.
        proxy.mount(config)
        more = replace(config.routes[0], servers=config.routes[0].servers[:1])
        proxy.mount(replace(config, serial=2, routes=(more, *config.routes[1:])))
        await_that(lambda: proxy.reported()["routes"][more.backend]["up"] == 1, "the new endpoints are served")
        assert has_rolled_back(proxy)
        # A reload.
        proxy.mount(replace(proxy.config, serial=3, idle_seconds=1800))
        half = render(proxy.config).digest[12:]
        await_that(lambda: proxy.reported().get("digest") == "0" * 12 + half, "it has reloaded")
        assert proxy.take(30) == [0] * 30


@pytest.mark.parametrize("is_sent", [True, False], ids=["sent", "mounted"])
def test_the_decision_of_the_operator_ends_it(pods: MoodyPods, is_sent: bool) -> None:
    config = rolling_out(pods)
    with live(config, **AWAY) as proxy:
        fail(pods, proxy)
        await_rollback(proxy)
        decided = replace(reweighted(config, 70, 30), serial=2, watched=0, rollback=None)
        if is_sent:
            assert proxy.push(decided) == 202
        else:
            proxy.mount(decided)
        proxy.await_served()
        assert proxy.report()["rolledBack"] is None
        pods.put(greet_and_echo, *config.routes[1].servers)
        assert sorted(set(proxy.take(30)), key=str) == [0, 1]
        proxy.restart_agent()
        proxy.await_served()
        assert proxy.report()["rolledBack"] is None


def test_the_next_step_is_judged_anew(pods: MoodyPods) -> None:
    config = rolling_out(pods)
    with live(config, **AWAY) as proxy:
        fail(pods, proxy)
        await_rollback(proxy)
        assert config.rollback
        plan = replace(config.rollback, canaries={canary_of(config): {REVISION: 0.1, REVISION + 1: 0.5}})
        proxy.serve(replace(reweighted(config, 50, 50), serial=2, watched=REVISION + 1, rollback=plan))
        list(visits(proxy, ask, 30))
        await_that(lambda: has_rolled_back(proxy, REVISION + 1), "it has rolled back again")
        assert proxy.take(30) == [0] * 30


def test_the_plan_is_no_change_of_the_split(pods: MoodyPods) -> None:
    config = rolling_out(pods)
    without = replace(config, rollback=None, serial=2)
    assert split_of(render(config).digest) == split_of(render(without, render(config).digest, 1).digest)
    with live(config) as proxy:
        process = worker(proxy)
        proxy.serve(without)
        assert worker(proxy) == process


def test_the_agent_of_the_image_rolls_back(pods: MoodyPods) -> None:
    """The agent runs as user nobody, with Debian's minimal Python and access to its own files only."""
    with live(rolling_out(pods), pod_user=NOBODY, **AWAY) as proxy:
        fail(pods, proxy)
        await_rollback(proxy)


# In the process of the agent


LOST = Contact(POD, lost_seconds=-1)


def judging(path: Path, **counts: tuple[int, int]) -> Rollback:
    """An agent without an operator that has counted these connections and failures in revision 7."""
    revisions = Revisions()
    for name, (connections, failed) in counts.items():
        revisions._add(REVISION, f"{name}:http", connections, failed)
    return Rollback(str(path), LOST, revisions, lambda: None)


def text_of(revision: int = REVISION) -> str:
    plan = RollbackPlan({"v1:http": read_weight(100)}, {"v2:http": {revision: 0.1}}, ("v1:http",), 3, 1e-5, 1.5, 0.001)
    return f"global\n  set-var proc.split str(ab)\n{plan.line(revision, 'aa')}\n"


def test_what_haproxy_does_not_serve_yet_is_not_judged(tmp_path: Path) -> None:
    rollback = judging(tmp_path / "x", v1=(90, 0), v2=(10, 10))
    rollback.step(text_of(), lambda: False)
    assert rollback.revision == 0
    rollback.step(text_of(), lambda: True)
    assert rollback.revision == REVISION


def test_a_later_agent_continues_a_rollback_until_another_revision(tmp_path: Path) -> None:
    former = judging(tmp_path / "x", v1=(90, 0), v2=(10, 10))
    former.step(text_of(), lambda: True)
    rollback = judging(tmp_path / "x")
    report, expected = rollback.report(), former.report()
    assert report
    assert expected
    assert report | {"secondsAgo": 0} == expected | {"secondsAgo": 0}
    rollback.step("", lambda: True)
    assert "str(aa)" in rollback.applied_to(text_of())
    assert "str(ab)" in rollback.applied_to(text_of(REVISION + 1))
    rollback.step(text_of(REVISION + 1), lambda: True)
    assert rollback.report() is None
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"revision": "x"}', '{"own": 7, "others": {}}', "[" * 100_000])
def test_a_damaged_file_is_no_rollback(tmp_path: Path, content: str) -> None:
    (tmp_path / "x").write_text(content)
    assert judging(tmp_path / "x").report() is None


def test_a_rollback_that_cannot_be_saved_is_one_nevertheless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rollback = judging(tmp_path / "no" / "x", v1=(90, 0), v2=(10, 10))
    rollback.step(text_of(), lambda: True)
    assert rollback.revision == REVISION
    assert "cannot write" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line", ["# rollback {}", '# rollback {"revision": 7, "new": 1}', "# rollback {", "# rollback"]
)
def test_a_plan_of_another_version_is_none(line: str) -> None:
    assert plan_of(f"global\n{line}\n") is None
