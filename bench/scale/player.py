"""Plays what a cluster would do for the operator: controllers, nodes, and the agents in the pods of the proxies.

Each pod has its own address in 127/8. One socket accepts the connections to all agents; the destination address of a
connection identifies the agent.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.scale.agent import INTERVAL_SECONDS, Agent
from bench.scale.api import Api, Json
from engine.model.states import APPLIED_KEY, CONFIG_KEY
from engine.render.objects import KANARY_LABEL
from engine.render.pods import AGENT_PORT

_MANAGED = "app.kubernetes.io/managed-by=kanary"
_FIRST = (127 << 24) + (1 << 16)
"""127.1.0.0, above everything else that listens."""
_ROLLOUTS = 8
"""Deployments that are rolled out at a time: more would only overload the API server."""


@dataclass
class Wait:
    """For the configuration that has this address."""

    address: str
    began: float = field(default_factory=time.monotonic)
    seconds: float | None = None
    """How long it took; None until then."""


@dataclass
class Player:
    """The cluster's side of all Kanaries."""

    api: Api
    digests: dict[str, str] = field(default_factory=dict)
    """Digest of the configuration last written, by the name of the Kanary."""
    _servers: dict[str, dict[str, int]] = field(default_factory=dict)
    """The number of servers of each of its routes, by the name of the Kanary."""
    _waits: dict[str, list[Wait]] = field(default_factory=dict)
    """Oldest first, by the name of the Kanary."""
    _agents: dict[str, Agent] = field(default_factory=dict)
    """By the address of the pod."""
    _observed: dict[str, int] = field(default_factory=dict)
    """Generation of each Deployment that was rolled out."""
    last: int = _FIRST
    """The last new address, as a number."""
    hosts: Sequence[str] = ("0.0.0.0",)  # noqa: S104  in a namespace
    """Where the agents listen; another player may have single addresses of these."""
    _due: asyncio.Queue[Json] = field(default_factory=asyncio.Queue)
    """Deployments that are to be rolled out."""

    async def run(self) -> None:
        """Play until cancelled."""
        server = await asyncio.start_server(self._answer, self.hosts, AGENT_PORT, backlog=1024, reuse_port=True)
        async with server, asyncio.TaskGroup() as group:
            group.create_task(self.api.follow("configmaps", self._see_config_map, _MANAGED))
            group.create_task(self.api.follow("deployments", self._see_deployment, _MANAGED))
            group.create_task(self.api.follow("pods", self._see_pod, _MANAGED))
            group.create_task(self._report())
            for _ in range(_ROLLOUTS):
                group.create_task(self._roll_out_due())

    async def _report(self) -> None:
        """Have each agent count in each interval, each at another moment."""
        for second in itertools.cycle(range(INTERVAL_SECONDS)):
            await asyncio.sleep(1)
            for agent in list(self._agents.values())[second::INTERVAL_SECONDS]:
                agent.count(self._servers.get(agent.kanary, {}))

    def _see_config_map(self, kind: str, obj: Json) -> None:
        name = obj["metadata"]["labels"][KANARY_LABEL]
        if kind != "DELETED":
            applied = json.loads(obj["data"][APPLIED_KEY])
            self.digests[name] = applied["digest"]
            self._servers[name] = {backend: len(found) for backend, found in applied["endpoints"].items()}
            if kind == "ADDED":
                for agent in self._agents.values():
                    if agent.kanary == name:
                        self._load(agent, self.digests[name])
            self.see_config(name, obj["data"][CONFIG_KEY])

    def wait_for(self, name: str, address: str) -> Wait:
        """A wait for the configuration of this Kanary that has this address."""
        wait = Wait(address)
        self._waits.setdefault(name, []).append(wait)
        return wait

    def see_config(self, name: str, text: str) -> None:
        """End the waits for this configuration, which with a later address also has what was to be changed before."""
        waits = self._waits.get(name, [])
        found = next((number for number in reversed(range(len(waits))) if f" {waits[number].address}:" in text), -1)
        for wait in waits[: found + 1]:
            wait.seconds = time.monotonic() - wait.began
        del waits[: found + 1]

    def _see_pod(self, kind: str, obj: Json) -> None:
        """A new pod loads what it mounts."""
        metadata, address = obj["metadata"], (obj.get("status") or {}).get("podIP")
        if kind == "DELETED":
            self._agents.pop(address or "", None)
        elif address:
            agent = self._agents.setdefault(address, Agent(metadata["labels"][KANARY_LABEL], metadata["uid"]))
            if not agent.serves:
                self._load(agent, self.digests.get(agent.kanary, ""))

    def _load(self, agent: Agent, digest: str) -> None:
        agent.serves = digest
        agent.send(self._report_of(agent))

    def _report_of(self, agent: Agent) -> bytes:
        return agent.report(self._servers.get(agent.kanary, {}))

    def _see_deployment(self, kind: str, obj: Json) -> None:
        name, generation = obj["metadata"]["name"], obj["metadata"]["generation"]
        observed = max(self._observed.get(name, 0), (obj.get("status") or {}).get("observedGeneration", 0))
        self._observed[name] = generation
        if kind == "DELETED" or observed == generation:
            return
        self._due.put_nowait(obj)

    async def _roll_out_due(self) -> None:
        while True:
            await self._roll_out(await self._due.get())

    async def _roll_out(self, deployment: Json) -> None:
        """Replace the pods of a Deployment, and those among the endpoints of the destination."""
        metadata, spec = deployment["metadata"], deployment["spec"]
        kanary, names = metadata["labels"][KANARY_LABEL], set()
        addresses = [self._new_address() for _ in range(spec["replicas"])]
        own = spec["template"]["metadata"]
        name = f"{metadata['name']}-{metadata['generation']:010}"
        replica_set = _object(name, spec={"replicas": 0, "selector": spec["selector"], "template": spec["template"]})
        replica_set["metadata"] |= {
            "labels": own["labels"],
            "ownerReferences": [_controlled_by("Deployment", metadata)],
        }
        made = await self.api.create("replicasets", replica_set)
        for number, address in enumerate(addresses):
            name = f"{metadata['name']}-{metadata['generation']:010}-{number:05}"
            names.add(name)
            pod = _object(name, spec={**spec["template"]["spec"], "nodeName": f"node-{number}"})
            pod["metadata"] |= own | {"ownerReferences": [_controlled_by("ReplicaSet", made["metadata"])]}
            created = await self.api.create("pods", pod)
            # The operator may connect before the watch has sent the address.
            self._agents[address] = Agent(kanary, created["metadata"]["uid"], self.digests.get(kanary, ""))
            await self.api.patch("pods", name, {"status": _running(address, pod["spec"]["containers"])}, "/status")
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), spec["replicas"])
        status = {"observedGeneration": metadata["generation"], **counts}
        await self.api.patch("deployments", metadata["name"], {"status": status}, "/status")
        piece = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", **endpoint_slice(kanary, addresses)}
        await self.api.apply(self.api.path_of("endpointslices", piece["metadata"]["name"]), piece)
        selector = f"{KANARY_LABEL}={kanary}"
        for pod in await self.api.list("pods", selector):
            if pod["metadata"]["name"] not in names:
                await self.api.delete("pods", pod["metadata"]["name"])

    def _new_address(self) -> str:
        self.last += 1
        while (address := address_of(self.last)) in self._agents:
            self.last += 1
        return address

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agent = self._agents.get(writer.get_extra_info("sockname")[0])
        if agent is None:
            writer.close()
            return
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"PUT "):
                await self._receive(agent, head, reader, writer)
                return
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + self._report_of(agent))
            agent.streams.add(writer)
            # Nothing more comes but the end: the operator has closed the connection, or ended.
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            agent.streams.discard(writer)
            writer.close()

    async def _receive(
        self, agent: Agent, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Have an agent load the configuration that the operator sends."""
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        content = await reader.readexactly(int(length[1]) if length else 0)
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        if digest := re.search(rb"set-var proc\.digest str\((\w+)\)", content):
            self._load(agent, digest[1].decode())


def address_of(number: int) -> str:
    """The IPv4 address of this number."""
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def endpoint_slice(service: str, addresses: list[str], number: int = 1) -> Json:
    """The slice that the endpoint slice controller writes for ready pods."""
    ports = [{"name": "http", "port": 9000, "protocol": "TCP"}]
    endpoints = [endpoint(service, address) for address in addresses]
    made = _object(f"{service}-{number}", addressType="IPv4", ports=ports, endpoints=endpoints)
    made["metadata"]["labels"] = {"kubernetes.io/service-name": service, "app": service}
    return made


def endpoint(service: str, address: str) -> Json:
    """The endpoint of one ready pod."""
    return {
        "addresses": [address],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": f"node-{hash(address) % 50}",
        "targetRef": {"kind": "Pod", "name": f"{service}-{address.replace('.', '-')}", "namespace": "scale"},
        "zone": "zone-a",
    }


def _running(address: str, containers: list[Json]) -> Json:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    conditions = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": each, "status": "True", "lastTransitionTime": now} for each in conditions],
        "containerStatuses": [_container(each, now) for each in containers],
    }


def _container(container: Json, now: str) -> Json:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": f"sha256:{'0' * 64}",
        "containerID": f"containerd://{'0' * 64}",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": now}},
    }


def _controlled_by(kind: str, metadata: Json) -> Json:
    owner = {"apiVersion": "apps/v1", "kind": kind, "name": metadata["name"], "uid": metadata["uid"]}
    return owner | {"controller": True}


def _object(name: str, **body: Any) -> Json:
    return {"metadata": {"name": name}, **body}
