"""The connections to the sidecar agents of all running proxies: reports arrive by themselves, configurations are sent.

One thread with one event loop holds a connection to each pod that has an agent. Reconciles use the last reports and
wait for nothing.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from engine.fleet.proxy import Proxy, has_agent, read_proxy
from engine.fleet.reports import Report
from engine.ports import RetryLaterError
from engine.render.objects import KANARY_LABEL
from engine.render.pods import AGENT_PORT
from kanary.kube.resources import Key
from kanary.operator.proxy_agent import ProxyAgent
from kanary.operator.sending import Push, Sending
from kanary.operator.streams import Limits
from kanary.outbound.background import BackgroundLoop
from states.timing import AGENT_SIGN_INTERVAL, FIRST_REPORT_LIMIT

Json = dict[str, Any]


class Agents:
    """The agent of each proxy pod. Pods are connected from `start` on: a standby has no connections.

    All state is changed in the thread of the event loop. `now` is the time with which reconciles compare what is
    reported.
    """

    def __init__(self, now: Callable[[], datetime], port: int = AGENT_PORT) -> None:
        self._now = now
        self._port = port
        self._loop = BackgroundLoop("agents")
        self._agents: dict[Key, ProxyAgent] = {}
        self._sendings: dict[Key, Sending] = {}
        self._find: Callable[[Key], Json | None] = lambda _key: None
        self._on_news: Callable[[Key, float], None] = lambda _key, _seconds: None
        self._can_act: Callable[[Key], bool] = lambda _key: False
        self._count: Callable[[str, str, Report, Report], None] = lambda _namespace, _name, _former, _report: None
        self._watching: set[Key] = set()
        """The pods that count the connections of a rollout, or did at the last sign."""
        self._next_sign: asyncio.TimerHandle | None = None
        self._limits = Limits()

    def start(
        self,
        find: Callable[[Key], Json | None],
        pods: Callable[[], Iterable[Key]],
        on_news: Callable[[Key, float], None],
        can_act: Callable[[Key], bool],
        *,
        count: Callable[[str, str, Report, Report], None] = lambda _namespace, _name, _former, _report: None,
    ) -> None:
        """Connect to the present pods, which `pods` returns, and to those of which `changed` is called from now on.

        `find` returns the present pod of a key. `on_news` is called, in another thread, when the report of a proxy
        differs from the last one in more than counts: with the key of its Kanary, and the seconds that a reconcile may
        wait. `can_act` returns, in that thread, whether this process can act on the rollout of a Kanary: agents that
        receive no sign of it for a while may roll back by themselves. `count` is called, in that thread, at each
        further report of a proxy: with the namespace and name of its Kanary, the former report, and this one.
        """
        self._find, self._on_news, self._can_act, self._count = find, on_news, can_act, count
        self._loop.start()
        # Only now: a pod that appears before the thread runs is reported to nobody.
        for key in pods():
            self.changed(key)

    def stop(self) -> None:
        """Close all connections."""
        self._loop.stop()

    def changed(self, key: Key) -> None:
        """The proxy pod of this key may be new, changed or gone."""
        self._loop.run(partial(self._follow, key))

    def send(self, namespace: str, proxies: Sequence[Proxy], push: Push) -> None:
        """Send this configuration to these proxies until their reports have it, or another one is sent."""
        self._loop.run(partial(self._send, namespace, proxies, push))

    def reports(self, pods: Sequence[Json]) -> Mapping[str, Report]:
        """The last reports of these pods, by name. An older report is still true: without a new mount nothing changes.

        Raises RetryLaterError while a ready pod may still send its first report.
        """
        found = {}
        for pod in pods:
            agent = self._agents.get(Key.of(pod))
            if agent and agent.uid != pod["metadata"]["uid"]:
                agent = None
            if agent and agent.report:
                found[pod["metadata"]["name"]] = agent.report
                continue
            proxy = read_proxy(pod, None)
            if proxy.is_ready and proxy.has_reachable_agent:
                remaining = agent.first_report_left() if agent else FIRST_REPORT_LIMIT.total_seconds()
                if remaining > 0:
                    # Its first report starts the next reconcile earlier.
                    raise RetryLaterError(f"pod {proxy.name} has not reported yet", remaining)
        return found

    def _follow(self, key: Key) -> None:
        pod, agent = self._find(key), self._agents.get(key)
        if agent and (pod is None or pod["metadata"]["uid"] != agent.uid):
            agent.stop()
            if sending := self._sendings.pop(key, None):
                sending.stop()
            del self._agents[key]
            agent = None
        name = pod["metadata"]["labels"].get(KANARY_LABEL) if pod else None
        if pod is None or not name or not has_agent(pod):
            return
        if agent is None:
            kanary = Key(key.namespace, name)
            agent = ProxyAgent(
                key,
                pod["metadata"]["uid"],
                kanary,
                port=self._port,
                limits=self._limits,
                on_news=self._take_news,
                on_counts=self._count,
                now=self._now,
            )
            self._agents[key] = agent
        agent.follow(read_proxy(pod, None))

    def _take_news(self, agent: ProxyAgent, after: timedelta) -> None:
        # A line may arrive in the moment in which the pod is forgotten.
        if self._agents.get(agent.pod) is agent:
            if sending := self._sendings.get(agent.pod):
                sending.reported()
            if agent.is_watching and agent.pod not in self._watching:
                self._watching.add(agent.pod)
                self._send_sign(agent)
                if self._next_sign is None:
                    self._await_next_sign()
            self._on_news(agent.kanary, after.total_seconds())

    def _send_signs(self) -> None:
        """Send a sign to each agent of a rollout under way, and again as long as there is one."""
        found = [agent for key in self._watching if (agent := self._agents.get(key)) and agent.is_watching]
        self._watching, self._next_sign = {agent.pod for agent in found}, None
        for agent in found:
            self._send_sign(agent)
        if found:
            self._await_next_sign()

    def _send_sign(self, agent: ProxyAgent) -> None:
        if self._can_act(agent.kanary):
            agent.send_sign()

    def _await_next_sign(self) -> None:
        loop, seconds = asyncio.get_running_loop(), AGENT_SIGN_INTERVAL.total_seconds()
        self._next_sign = loop.call_later(seconds, self._send_signs)

    def _send(self, namespace: str, proxies: Sequence[Proxy], push: Push) -> None:
        for proxy in proxies:
            key = Key(namespace, proxy.name)
            agent = self._agents.get(key)
            if agent is None or agent.uid != proxy.uid:
                # The reconcile may know the pod first.
                self._follow(key)
                agent = self._agents.get(key)
            if agent and agent.uid == proxy.uid:
                sending = self._sendings.get(key)
                if sending is None:
                    forget = partial(self._sendings.pop, key, None)
                    sending = Sending(key, self._port, self._limits, agent.has_decided, forget)
                    self._sendings[key] = sending
                sending.send(proxy.address, push)
