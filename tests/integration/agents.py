"""The agents of all proxies' pods in the tests' API server: they serve their reports at the pods' addresses.

A pod loads what it mounts when it is new, and then what the operator sends.
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from engine.model.states import Applied, read_written
from engine.render.objects import KANARY_LABEL, STRATEGY_ANNOTATION
from tests.apiserver import ApiServer
from tests.apiserver.follower import Follower
from tests.apiserver.storage import Change

Json = dict[str, Any]

_HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class ClusterAgents:
    """All agents: one server on every address of this host, which knows the pod by the address that it is called at."""

    def __init__(self, server: ApiServer) -> None:
        self.silent = False
        """Whether operators that connect from now on get no report."""
        self.hostile: dict[str, Callable[[socket.socket, Json], None]] = {}
        """By name of a Kanary, how the agents of its proxies answer instead."""
        self.deceived: set[str] = set()
        """The uids of the pods that have answered so."""
        self.routes: dict[str, Json] = {}
        """By name of a Kanary, what the agents of its proxies report of its routes."""
        self._server = server
        self._listener = socket.create_server(("", 0))
        self.port: int = self._listener.getsockname()[1]
        # The one under which `_on_change` is called.
        self._lock = server.cluster.storage.lock
        self._served: dict[str, str] = {}
        """By pod, the digest of the configuration that it serves."""
        self._serials: dict[str, int] = {}
        """By pod, the number of that configuration."""
        self.sent: list[tuple[str, int, str, bool]] = []
        """Of each configuration that was sent: the pod, its number and digest, and whether it was accepted."""
        self._streams: dict[str, list[socket.socket]] = {}
        """By pod, the connections of operators."""
        self._follower = Follower(server.cluster, self._on_change, "agents")
        self._follower.start()
        threading.Thread(target=self._accept, name="agents", daemon=True).start()

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._follower.stop()
        with self._lock:
            for stream in (stream for streams in self._streams.values() for stream in streams):
                stream.close()

    @property
    def connected(self) -> set[str]:
        """The uids of the pods to whose agents an operator has connected."""
        return {*self._streams} | self.deceived

    def report_routes(self, kanary: str, routes: Json) -> None:
        """All agents of this Kanary report these routes from now on."""
        self.routes[kanary] = routes
        with self._lock:
            for pod in self._server.store.find("pods", lambda pod: pod["metadata"]["uid"] in self._served):
                if pod["metadata"]["labels"][KANARY_LABEL] == kanary:
                    self._publish(pod)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                stream, _ = self._listener.accept()
                threading.Thread(target=self._welcome, args=(stream,), daemon=True).start()

    def _welcome(self, stream: socket.socket) -> None:
        stream.settimeout(10)
        address = stream.getsockname()[0]
        pods = self._server.store.find("pods", lambda pod: (pod.get("status") or {}).get("podIP") == address)
        head = b""
        with suppress(OSError):
            head = stream.recv(4096)
        is_hostile = any(pod["metadata"]["labels"][KANARY_LABEL] in self.hostile for pod in pods)
        if head.startswith(b"PUT ") and not is_hostile:
            with suppress(OSError):
                self._receive(stream, head, pods)
            stream.close()
            return
        with suppress(OSError), self._lock:
            for pod in pods:
                if answer := self.hostile.get(pod["metadata"]["labels"][KANARY_LABEL]):
                    self.deceived.add(pod["metadata"]["uid"])
                    threading.Thread(target=_answer, args=(answer, stream, pod), daemon=True).start()
                    continue
                self._streams.setdefault(pod["metadata"]["uid"], []).append(stream)
                stream.sendall(_HEAD)
                if not self.silent:
                    self._load(pod)
                    stream.sendall(self._report(pod))

    def _receive(self, stream: socket.socket, head: bytes, pods: Sequence[Json]) -> None:
        """What a pod's agent is sent, it serves, if it is newer."""
        serial = int((re.search(rb"Kanary-Configuration: \S+ (\d+)", head) or [b"", b"0"])[1])
        if any(serial <= self._serials.get(pod["metadata"]["uid"], 0) for pod in pods):
            self.sent += [(pod["metadata"]["uid"], serial, "", False) for pod in pods]
            stream.sendall(b"HTTP/1.1 409 Conflict\r\n\r\n")
            return
        length = re.search(rb"Content-Length: (\d+)", head)
        stream.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        content = b""
        while length and len(content) < int(length[1]) and (more := stream.recv(2**20)):
            content += more
        stream.sendall(b"HTTP/1.1 202 Accepted\r\n\r\n")
        digest = re.search(rb"proc\.digest str\((\w+)\)", content)
        if self.silent or not digest:
            return
        with self._lock:
            for pod in pods:
                uid = pod["metadata"]["uid"]
                is_newer = serial > self._serials.get(uid, 0)
                self.sent.append((uid, serial, digest[1].decode(), is_newer))
                if is_newer:
                    self._served[uid], self._serials[uid] = digest[1].decode(), serial
                    self._publish(pod)

    def _on_change(self, change: Change) -> None:
        pod = change.record.value
        if pod.get("kind") != "Pod" or STRATEGY_ANNOTATION not in (pod["metadata"].get("annotations") or {}):
            return
        with self._lock:
            if self._load(pod) and not self.silent:
                self._publish(pod)

    def _publish(self, pod: Json) -> None:
        for stream in self._streams.get(pod["metadata"]["uid"], ()):
            with suppress(OSError):
                stream.sendall(self._report(pod))

    def _load(self, pod: Json) -> bool:
        """Loads what is mounted if the pod is new; returns whether it is."""
        uid = pod["metadata"]["uid"]
        if uid in self._served:
            return False
        applied = self._mounted(pod["metadata"])
        self._served[uid], self._serials[uid] = (applied.digest, applied.serial) if applied else ("", 0)
        return True

    def _mounted(self, metadata: Json) -> Applied | None:
        name = f"{metadata['labels'][KANARY_LABEL]}-haproxy"
        return read_written(self._server.store.get("configmaps", name, metadata["namespace"])).applied

    def _report(self, pod: Json) -> bytes:
        uid = pod["metadata"]["uid"]
        return _line(pod, self._served[uid], self.routes.get(pod["metadata"]["labels"][KANARY_LABEL]))


def _answer(answer: Callable[[socket.socket, Json], None], stream: socket.socket, pod: Json) -> None:
    stream.settimeout(None)
    with stream, suppress(OSError):
        answer(stream, pod)


def never(stream: socket.socket, pod: Json) -> None:
    """Waits for the operator to go."""
    stream.recv(1)


def slowly(stream: socket.socket, pod: Json) -> None:
    """Reports something else every 0.9 s, the first time as late."""
    stream.sendall(_HEAD)
    for number in itertools.count():
        time.sleep(0.9)
        stream.sendall(_line(pod, f"{number:024}"))


def in_a_flood(stream: socket.socket, pod: Json) -> None:
    """Reports one thing and then another, as fast as it can."""
    lines = b"".join(_line(pod, f"{number:024}") for number in range(1000))
    stream.sendall(_HEAD)
    while True:
        stream.sendall(lines)


def with_garbage(stream: socket.socket, pod: Json) -> None:
    """Reports, so that it counts as an agent, and then sends what is no report."""
    stream.sendall(_HEAD + _line(pod, "a" * 24) + b"[" * 60_000 + b"\n")


def byte_by_byte(stream: socket.socket, pod: Json) -> None:
    """Sends lines that never end, in the smallest pieces."""
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.sendall(_HEAD)
    while True:
        stream.sendall(b" ")
        time.sleep(0.02)


def _line(pod: Json, digest: str, routes: Json | None = None) -> bytes:
    return json.dumps({"pod": pod["metadata"]["uid"], "digest": digest, "routes": routes}).encode() + b"\n"
