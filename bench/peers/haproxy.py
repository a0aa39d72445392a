"""HAProxy: with Kanary's configuration, with a plain one, and with server weights as the original Kanary has them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from bench.lab import POD_PORT, Lab, Service
from bench.mixes import Mix
from engine.render.config import Pool, ProxyConfig, Server
from engine.render.haproxy import LOG_DESCRIPTOR, render
from engine.render.slots import assign, backends_by_slot
from states import OnEmptyRoute

TOP_WEIGHT = 256
"""The largest server weight of HAProxy."""

_SAME_GLOBALS = ("thread-hard-limit ", "nbthread ", "fd-hard-limit ")
_SAME_DEFAULTS = ("timeout ", "default-server ", "retries ", "option ")
_KEEPALIVE = "tcpka"


@dataclass(frozen=True, slots=True)
class HAProxy:
    """HAProxy with the configuration that `text` makes of a mix, the pods' port and two ports of its own."""

    name: str
    text: Callable[[Mix, int, tuple[int, int]], str]

    @contextlib.contextmanager
    def serve(self, lab: Lab, mix: Mix, pod_port: int = POD_PORT) -> Iterator[Service]:
        """Serve without a master process, which carries no traffic."""
        ports = lab.port(), lab.port()
        command = self.command(lab, lab.file("haproxy.cfg", self.text(mix, pod_port, ports)))
        with lab.served(lab.room("proxies").namespace, command, ports[0], pod_port) as service:
            yield service

    def command(self, lab: Lab, config: Path) -> list[str]:
        """Runs it in the foreground."""
        # No agent reads the log of failures.
        open_log = f'exec {LOG_DESCRIPTOR}<>/dev/null; exec "$0" "$@"'
        return ["sh", "-c", open_log, *lab.programs.haproxy, "-q", "-db", "-f", str(config)]

    def check(self, lab: Lab, config: Path) -> list[str]:
        """Only parses the configuration."""
        return [*lab.programs.haproxy, "-q", "-c", "-f", str(config)]


def kanary(mix: Mix, pod_port: int, ports: tuple[int, int]) -> str:
    """The configuration of the operator with its defaults."""
    routes = tuple(
        Pool(f"myapp-v{number}:http", Decimal(weight), tuple(Server(pod, pod_port) for pod in pods))
        for number, (weight, pods) in enumerate(mix.routes(), 1)
    )
    split_port, ops_port = ports
    config = ProxyConfig(
        routes,
        OnEmptyRoute.REDISTRIBUTE,
        idle_seconds=3600,
        drain_seconds=60,
        split_port=split_port,
        ops_port=ops_port,
        kanary="bench",
        slots=backends_by_slot(assign((), (), [route.backend for route in routes])),
        failure_log=True,
    )
    return render(config).text


def plain(mix: Mix, pod_port: int, ports: tuple[int, int]) -> str:
    """All pods in turn: the least that a proxy does, so the limit."""
    return _one_backend(mix, pod_port, ports, [""] * len(mix.weights))


def plain_without_keepalive(mix: Mix, pod_port: int, ports: tuple[int, int]) -> str:
    """The same without the options of keepalive: what these cost."""
    lines = plain(mix, pod_port, ports).splitlines(keepends=True)
    return "".join(line for line in lines if _KEEPALIVE not in line)


def truncated(mix: Mix, pod_port: int, ports: tuple[int, int]) -> str:
    """Each pod weighs its part of the route's weight: a fraction, of which HAProxy reads the digits before the dot."""
    weights = [f" weight {weight / pods}" for weight, pods in zip(mix.weights, mix.pods, strict=True)]
    return _one_backend(mix, pod_port, ports, weights)


def integers(mix: Mix, pod_port: int, ports: tuple[int, int]) -> str:
    """The best that can be done with integer weights."""
    return _one_backend(mix, pod_port, ports, [f" weight {weight}" for weight in best_integers(mix)])


def best_integers(mix: Mix) -> list[int]:
    """A server weight for each route's pods, from 1 to 256, with the smallest error of the worst route."""
    exact = [weight / pods for weight, pods in zip(mix.weights, mix.pods, strict=True)]
    candidates = (
        [max(1, round(weight * top / max(exact))) if weight else 0 for weight in exact]
        for top in range(1, TOP_WEIGHT + 1)
    )
    return min(candidates, key=lambda weights: _worst_error(mix, weights))


def _worst_error(mix: Mix, weights: Sequence[int]) -> float:
    shares = [weight * pods for weight, pods in zip(weights, mix.pods, strict=True)]
    return max(abs(100 * share / sum(shares) - weight) for share, weight in zip(shares, mix.weights, strict=True))


def _one_backend(mix: Mix, pod_port: int, ports: tuple[int, int], weights: Sequence[str]) -> str:
    rendered = kanary(mix, pod_port, ports).splitlines()
    lines = ["global", *_kept(rendered, _SAME_GLOBALS), "defaults", "  mode tcp", *_kept(rendered, _SAME_DEFAULTS)]
    lines += ["frontend split", *_kept(rendered, (f"bind :{ports[0]}",)), "  maxconn 20000", "  default_backend pods"]
    lines += ["backend pods", "  balance roundrobin"]
    servers = {line.split()[1]: line for line in rendered if line.startswith("  server ")}
    for (_, pods), weight in zip(mix.routes(), weights, strict=True):
        lines += [servers[f"{pod}:{pod_port}"] + weight for pod in pods]
    return "\n".join(lines) + "\n"


def _kept(rendered: Sequence[str], beginnings: tuple[str, ...]) -> list[str]:
    """Threads, limits, timeouts, socket options and checks: all candidates use those of Kanary's configuration.

    Each word once, as it stands in the sections that come first: what follows them is for some frontend only.
    """
    found: dict[str, str] = {}
    for line in rendered:
        if line.strip().startswith(beginnings):
            found.setdefault(" ".join(line.split()[:2]), line)
    return list(found.values())


PLAIN = HAProxy("HAProxy, plain round robin", plain)
PLAIN_AGAIN = HAProxy("the same once more (noise)", plain)
WITHOUT_KEEPALIVE = HAProxy("the same without TCP keepalive", plain_without_keepalive)
KANARY = HAProxy("**Kanary**", kanary)
TRUNCATED_WEIGHTS = HAProxy("HAProxy, weight/pods as server weights (the original)", truncated)
INTEGER_WEIGHTS = HAProxy("HAProxy, best integer server weights", integers)
