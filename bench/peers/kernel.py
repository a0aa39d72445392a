"""The kernel's own methods: random rules, and IPVS. They have no process whose CPU time could be measured."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from bench.lab import POD_PORT, Lab, Service
from bench.mixes import Mix
from bench.namespaces import Namespace
from bench.peers.peer import UnavailableError

_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Iptables:
    """Rules that translate addresses, chosen at random: what kube-proxy does, with weights."""

    name: str

    @contextlib.contextmanager
    def serve(self, lab: Lab, mix: Mix, pod_port: int = POD_PORT) -> Iterator[Service]:
        """Splits by this mix until the context ends."""
        inside, port = lab.room("iptables").namespace, lab.port()
        restore = lab.programs.iptables + "-restore"
        try:
            _insist(inside, restore, given=rules(mix, pod_port, port))
            _forget_at_once(inside)
            if pod_port == POD_PORT:
                _see_an_answer(inside, port)
            yield Service(inside, port, None)
        finally:
            # The namespace has no other rules.
            with contextlib.suppress(subprocess.CalledProcessError):
                inside.run(restore, given="*nat\nCOMMIT\n")


@dataclass(frozen=True, slots=True)
class Ipvs:
    """Weighted round robin over all pods, with the best integer weights."""

    name: str

    @contextlib.contextmanager
    def serve(self, lab: Lab, mix: Mix, pod_port: int = POD_PORT) -> Iterator[Service]:
        """Splits by this mix until the context ends."""
        inside, port = lab.room("ipvs").namespace, lab.port()
        try:
            _insist(inside, lab.programs.ipvsadm, "--restore", given=services(mix, pod_port, port))
            _forget_at_once(inside)
            if pod_port == POD_PORT:
                _see_an_answer(inside, port)
            yield Service(inside, port, None)
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                inside.run(lab.programs.ipvsadm, "--clear")


def rules(mix: Mix, pod_port: int, port: int) -> str:
    """What iptables-restore reads: a chain for each route."""
    chains, lots = [":OUTPUT ACCEPT"], []
    left = 100
    for route, (weight, pods) in enumerate(mix.routes()):
        if not weight:
            continue
        chains.append(f":R{route} -")
        lots.append(f"-A OUTPUT -d {_HOST}/32 -p tcp --dport {port}{_lot(weight, left)} -j R{route}")
        lots += [
            f"-A R{route} -p tcp{_lot(1, len(pods) - place)} -j DNAT --to-destination {pod}:{pod_port}"
            for place, pod in enumerate(pods)
        ]
        left -= weight
    return "\n".join(["*nat", *chains, *lots, "COMMIT"]) + "\n"


def _lot(part: int, whole: int) -> str:
    """The random match of a rule, among the connections that earlier rules have left; the last rule takes all."""
    return "" if part == whole else f" -m statistic --mode random --probability {part / whole:.10f}"


def services(mix: Mix, pod_port: int, port: int) -> str:
    """What ipvsadm --restore reads."""
    lines = [f"-A -t {_HOST}:{port} -s wrr"]
    for weight, pods in mix.routes():
        lines += [
            f"-a -t {_HOST}:{port} -r {pod}:{pod_port} -m -w {round(_WEIGHT * weight / len(pods))}" for pod in pods
        ]
    return "\n".join(lines) + "\n"


_WEIGHT = 600
"""What 1 % on one pod weighs: most numbers of pods divide it, and 100 times this is below 65536, which IPVS refuses."""


def _insist(inside: Namespace, *command: str, given: str) -> None:
    try:
        inside.run(*command, given=given)
    except subprocess.CalledProcessError as error:
        lines = str(error.stderr).strip().splitlines()
        raise UnavailableError(_plainly(lines[0]) if lines else "refused") from error


def _plainly(complaint: str) -> str:
    return "this kernel has no IPVS" if "initialize ipvs" in complaint else complaint


def _forget_at_once(inside: Namespace) -> None:
    """Remove closed connections from the tracking table, which would fill up otherwise."""
    names = ("time_wait", "close", "last_ack", "close_wait", "fin_wait")
    inside.run("sysctl", "-qw", *(f"net.netfilter.nf_conntrack_tcp_timeout_{name}=1" for name in names))


def _see_an_answer(inside: Namespace, port: int) -> None:
    """Check the rules: they may be accepted without effect."""
    if inside.client("count", port, 1) == [""]:
        raise UnavailableError("its rules are accepted, and no connection comes through")


IPTABLES = Iptables("iptables, `statistic` rules")
IPVS = Ipvs("IPVS, weighted round robin")
