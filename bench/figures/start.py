"""Time to read a configuration and to start with it, and what the health checks cost, by the number of pods."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.lab import POD_PORT, Lab, timed_start
from bench.mixes import Mix
from bench.namespaces import Namespace
from bench.peers import KANARY, NGINX, PLAIN
from bench.peers.haproxy import HAProxy
from bench.processes import cpu_seconds
from bench.session import Session, in_turns, say
from bench.stats import Spread, figures, ratios, table

_TEXT = """
Two routes with half of the pods each. Check: `haproxy -c`, `nginx -t`. Start: from the start of the process to the
first answer of a pod through the proxy. Milliseconds, the median of the rounds.
"""
_CHECKS_TEXT = """
CPU of a proxy without clients: its health checks, in percent of one core. nginx has none.
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proxy with a configuration of some size."""

    port: int
    check: list[str]
    command: list[str]


def measure(session: Session) -> str:
    """The section."""
    inside = session.lab.room("proxies").namespace
    parse, start, checks = [], [], []
    for pods in session.scale.pod_counts:
        say(f"start with {pods} pods")
        candidates = _candidates(session.lab, Mix((50, 50), (pods // 2, pods // 2)))
        parse.append(_row(session, pods, candidates, lambda candidate: _timed(inside, candidate.check)))
        start.append(_row(session, pods, candidates, lambda candidate: _started(inside, candidate)))
        checks.append(_checks_row(session, pods, candidates))
    names = [KANARY.name, "HAProxy, plain", "ratio", "nginx `stream`", "ratio"]
    tables = [table([f"{what}, by pods", *names], rows) for what, rows in (("check", parse), ("start", start))]
    idle = table(["health checks, by pods", KANARY.name, "HAProxy, plain", "ratio"], checks)
    return "\n\n".join([_TEXT.strip(), *tables, _CHECKS_TEXT.strip(), idle])


def _candidates(lab: Lab, mix: Mix) -> dict[str, Candidate]:
    found = {peer.name: _haproxy(lab, peer, mix) for peer in (KANARY, PLAIN)}
    port = lab.port()
    config = lab.file("nginx.conf", NGINX.text(lab, mix, POD_PORT, port))
    return {**found, NGINX.name: Candidate(port, NGINX.check(lab, config), NGINX.command(lab, config))}


def _haproxy(lab: Lab, peer: HAProxy, mix: Mix) -> Candidate:
    ports = lab.port(), lab.port()
    config: Path = lab.file("haproxy.cfg", peer.text(mix, POD_PORT, ports))
    return Candidate(ports[0], peer.check(lab, config), peer.command(lab, config))


def _row(
    session: Session, pods: int, candidates: dict[str, Candidate], seconds: Callable[[Candidate], float]
) -> list[str]:
    samples = in_turns(list(candidates), session.scale.start_rounds, lambda name: 1000 * seconds(candidates[name]))
    own, plain, nginx = (samples[peer.name] for peer in (KANARY, PLAIN, NGINX))
    cells = [figures(Spread.of(own).median), figures(Spread.of(plain).median), str(ratios(own, plain))]
    return [f"{pods:,}", *cells, figures(Spread.of(nginx).median), str(ratios(own, nginx))]


def _timed(inside: Namespace, command: list[str]) -> float:
    before = time.monotonic()
    inside.run(*command)
    return time.monotonic() - before


def _started(inside: Namespace, candidate: Candidate) -> float:
    with timed_start(inside, candidate.command, candidate.port) as (_, seconds):
        return seconds


def _checks_row(session: Session, pods: int, candidates: dict[str, Candidate]) -> list[str]:
    inside = session.lab.room("proxies").namespace
    with (
        timed_start(inside, candidates[KANARY.name].command, candidates[KANARY.name].port) as (own, _),
        timed_start(inside, candidates[PLAIN.name].command, candidates[PLAIN.name].port) as (plain, _),
    ):
        assert own.process is not None and plain.process is not None
        before = cpu_seconds(own.process), cpu_seconds(plain.process)
        time.sleep(session.scale.check_seconds)
        spent = cpu_seconds(own.process) - before[0], cpu_seconds(plain.process) - before[1]
    percent = [100 * seconds / session.scale.check_seconds for seconds in spent]
    # A hundredth of a second is the clock's finest step: with few pods there may be none to compare with.
    ratio = f"{percent[0] / percent[1]:.2f}" if percent[1] else ""
    return [f"{pods:,}", *(f"{each:.1f} %" for each in percent), ratio]
