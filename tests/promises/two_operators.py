"""Two real processes of the operator, what happens to their leader, and who wrote what in whose reign."""

from __future__ import annotations

import itertools
import os
import queue
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import yaml

from engine.model.states import read_written
from kanary.kube.client import ClusterClient, Timeouts
from kanary.kube.lease import Elector
from kanary.operator import process as operator_process
from kanary.operator import sending
from tests.apiserver import Fault
from tests.apiserver.storage import Change
from tests.integration.scene import NAMESPACE, PROCESSES, Scene, make_operator, routes
from tests.promises.gateway import Gateway

TIMES = {"lease_seconds": 3.0, "renew_seconds": 2.0, "retry_seconds": 0.4}
"""A fifth of the product's."""


def run_candidate(kubeconfig: str, agent_port: int, history_url: str, name: str, gate: str) -> None:
    """The main function of a process. It stops itself before the first write that matches what the file `gate` has."""
    operator_process.Elector = partial(Elector, **TIMES)  # type: ignore[misc,assignment]
    request_of, put = ClusterClient._send, sending.put
    file, once = Path(gate), threading.Lock()

    def stop_before(what: str) -> None:
        with once:
            if file.exists() and re.search(file.read_text(encoding="utf-8") or "never", what):
                file.unlink()
                os.kill(os.getpid(), signal.SIGSTOP)

    def send(self: ClusterClient, request: Any, *, read: float) -> Any:
        stop_before(f"{request.method} {request.path}")
        return request_of(self, request, read=read)

    async def send_to_agent(*arguments: Any) -> int:
        stop_before("SEND")
        return await put(*arguments)

    ClusterClient._send = send  # type: ignore[method-assign]
    sending.put = send_to_agent
    settings = {"leader_election": True, "pod_name": name, "history_url": history_url}
    timeouts = Timeouts(connect=2.0, read=3.0)
    sys.exit(make_operator(kubeconfig, agent_port, timeouts, **settings).run())


class Candidate:
    """One process, with its own way to the API server."""

    def __init__(self, scene: Scene, name: str, folder: Path) -> None:
        self.name = name
        self.gate = folder / f"{name}.gate"
        self.way = Gateway(scene.server.url)
        config = yaml.safe_load(Path(scene.operators_kubeconfig).read_text(encoding="utf-8"))
        config["clusters"][0]["cluster"]["server"] = f"http://127.0.0.1:{self.way.port}"
        kubeconfig = folder / f"{name}.kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config))
        arguments = str(kubeconfig), scene.agents.port, scene.history_url, name, str(self.gate)
        self.process: BaseProcess = PROCESSES.Process(target=run_candidate, args=arguments, daemon=True)
        self.process.start()

    def signal(self, number: signal.Signals) -> None:
        assert self.process.pid
        os.kill(self.process.pid, number)

    @property
    def is_stopped(self) -> bool:
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return stat.rpartition(")")[2].split()[0] == "T"

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.way.close()


class Pair:
    """Two candidates at any time, and the edits of a user."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene = scene
        self.seconds: list[float] = []
        """From each edit until it was served."""
        self.candidates: list[Candidate] = []
        self.changes = scene.server.cluster.storage.subscribe(None)
        self._folder = folder
        self._names = (f"pod{number}" for number in itertools.count(1))
        self._edits = itertools.count(1)

    def fill(self) -> None:
        """Replace those that have ended, as a Deployment does: on a busy machine, a leader may end by itself."""
        for ended in [each for each in self.candidates if not each.process.is_alive()]:
            ended.end()
            self.candidates.remove(ended)
        while len(self.candidates) < 2:
            self.candidates.append(Candidate(self.scene, next(self._names), self._folder))

    def end(self) -> None:
        for candidate in self.candidates:
            candidate.end()

    @property
    def holder(self) -> str:
        lease = self.scene.get("leases", "kanary")
        return holder_of(lease) if lease else ""

    def leader(self) -> Candidate:
        """The one that leads, once one does and the other one waits."""
        self.scene.server.requests.clear()
        self.scene.wait_for(self._has_standby, lambda: "no standby")
        found: Candidate = self.scene.wait_for(
            lambda: next((each for each in self.candidates if each.name == self.holder), None)
        )
        return found

    def _has_standby(self) -> bool:
        self.fill()
        return bool(self.scene.server.requests.find("GET", "/leases/kanary", 200))

    def edit(self) -> None:
        """Weights, and where they are served."""
        number = next(self._edits)
        weight = number % 100
        spec = {"destination": f"shop-{number % 2}", "routes": routes(myapp_v1=100 - weight, myapp_v2=weight)}
        self.scene.declare(**spec)

    def edit_until_stopped(self, before: str) -> Candidate:
        """Edit; the leader that makes the first such write is stopped: on a busy machine, that may be the next one."""
        for each in self.candidates:
            each.gate.write_text(before, encoding="utf-8")
        self.edit()
        stopped: Candidate = self.scene.wait_for(
            lambda: next((each for each in self.candidates if each.is_stopped), None), lambda: f"no {before}"
        )
        for each in self.candidates:
            each.gate.write_text("", encoding="utf-8")
        return stopped

    def edit_and_wait(self) -> None:
        began = time.monotonic()
        self.edit()
        self.wait_until_served()
        self.seconds.append(time.monotonic() - began)

    def wait_until_served(self) -> None:
        self.scene.wait_for(self._is_served, lambda: f"{self.scene.status()}, {self.services()}")

    def _is_served(self) -> bool:
        self.fill()
        kanary = self.scene.kanary()
        assert kanary
        status, generation = kanary.get("status") or {}, kanary["metadata"]["generation"]
        is_ready = (status.get("phase"), status.get("observedGeneration")) == ("Ready", generation)
        return is_ready and self.services() == [kanary["spec"]["destination"]]

    def services(self) -> list[str]:
        found = self.scene.server.store.list("services", NAMESPACE)
        return [each["metadata"]["name"] for each in found if each["metadata"].get("ownerReferences")]

    def wait_for_end(self, candidate: Candidate) -> None:
        self.scene.wait_for(lambda: not candidate.process.is_alive(), lambda: f"{candidate.name} goes on")
        assert candidate.process.exitcode == 1


def holder_of(lease: Any) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "").partition("_")[0]


@dataclass
class Count:
    """What was written, by the order in which the API server stored it."""

    writes: Counter[str] = field(default_factory=Counter)
    overlapping: list[str] = field(default_factory=list)
    """Changes and deletions of objects by one process after another one has acquired the Lease."""
    late: list[str] = field(default_factory=list)
    """The same for creations, which need no version of an object. The leader deletes it again."""
    reigns: int = 0
    revisions: set[int] = field(default_factory=set)
    """Those of the configurations that were written for the proxies."""
    pauses: list[float] = field(default_factory=list)
    """Seconds from the last renewal of a holder to the first one of the next."""


def count(changes: list[Change]) -> Count:
    found = Count()
    leader, renewed_at = "", 0.0
    for change in changes:
        value, writer = change.record.value, change.writer.removeprefix("kanary/")
        is_ours = change.writer.startswith("kanary/")
        if value["kind"] == "Lease":
            holder = holder_of(value)
            if is_ours and holder and not change.removed:
                if holder != leader:
                    found.reigns += 1
                    found.pauses += [change.at - renewed_at] if leader else []
                leader, renewed_at = holder, change.at
        # Events are no writes of a leader: they say what it did while it led, and may come later.
        elif is_ours and value["kind"] != "Event":
            found.writes[writer] += 1
            if writer != leader:
                late = found.overlapping if change.previous else found.late
                late.append(f"{writer} in the reign of {leader}: {value['kind']} {value['metadata']['name']}")
            if value["kind"] == "ConfigMap" and not change.removed and (applied := read_written(value).applied):
                found.revisions.add(applied.revision)
    return found


def drained(subscription: Any) -> list[Change]:
    """The changes so far."""
    found = []
    while True:
        try:
            found.append(subscription.next(timeout=0))
        except queue.Empty:
            return found


def frozen(pair: Pair) -> None:
    """For longer than its reign; then it goes on."""
    leader = pair.leader()
    leader.signal(signal.SIGSTOP)
    pair.edit_and_wait()
    leader.signal(signal.SIGCONT)
    pair.wait_for_end(leader)


def frozen_before(write: str) -> Callable[[Pair], None]:
    """It has checked that it may write, and then it is stopped."""

    def act(pair: Pair) -> None:
        pair.leader()
        began = time.monotonic()
        leader = pair.edit_until_stopped(write)
        pair.wait_until_served()
        pair.seconds.append(time.monotonic() - began)
        # What it was about to write is old now.
        pair.edit_and_wait()
        leader.signal(signal.SIGCONT)
        pair.wait_for_end(leader)
        pair.wait_until_served()

    return act


def frozen_before_a_deletion_that_is_called_off(pair: Pair) -> None:
    """The user wants the former Service back before another process has deleted it."""
    pair.leader()
    leader = pair.edit_until_stopped("DELETE .*/services/")
    pair.edit_and_wait()
    leader.signal(signal.SIGCONT)
    pair.wait_for_end(leader)
    pair.wait_until_served()


def cut_off(pair: Pair) -> None:
    leader = pair.leader()
    leader.way.lose()
    pair.edit_and_wait()
    leader.way.back()
    pair.wait_for_end(leader)


def killed(pair: Pair) -> None:
    pair.leader().process.kill()
    pair.edit_and_wait()


def lease_deleted(pair: Pair) -> None:
    pair.leader()
    pair.scene.server.store.delete("leases", "kanary", NAMESPACE)
    pair.edit_and_wait()


def lease_given_to(holder: str) -> Callable[[Pair], None]:
    def act(pair: Pair) -> None:
        pair.leader()
        store = pair.scene.server.store
        store.change("leases", "kanary", lambda lease: lease["spec"].update(holderIdentity=holder), NAMESPACE)
        pair.edit_and_wait()

    return act


def slow(pair: Pair) -> None:
    """Each request takes 0.4 of what a renewal may take in all."""
    pair.leader()
    fault = pair.scene.server.faults.add(Fault.slow(seconds=0.4 * TIMES["renew_seconds"]))
    pair.edit_and_wait()
    pair.scene.server.faults.remove(fault)


def delivered_late(write: str) -> Callable[[Pair], None]:
    """A write is on its way while its sender is killed and another one takes over."""

    def act(pair: Pair) -> None:
        leader = pair.leader()
        method, _, path = write.partition(" ")
        late = pair.scene.server.faults.add(Fault.slow(method, path, times=1))
        pair.edit()
        late.wait_for_hits()
        leader.process.kill()
        pair.edit_and_wait()
        late.release()
        pair.edit_and_wait()

    return act
