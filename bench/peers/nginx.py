"""nginx as a TCP proxy whose `split_clients` hashes each connection to a route."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.lab import POD_PORT, Lab, Service
from bench.mixes import Mix

# The client's address alone, as in the manual's example, would send all connections of one client to one route.
_TEXT = """
load_module {module};
daemon off;
user root;
worker_processes 2;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 8000; }}
stream {{
  split_clients "$remote_addr $remote_port $connection $msec" $route {{
{shares}
  }}
{upstreams}
  server {{
    listen {port} backlog=4096 so_keepalive=on;
    proxy_socket_keepalive on;
    proxy_pass $route;
    proxy_connect_timeout 500ms;
    proxy_timeout 3600s;
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """As many workers as HAProxy has threads. It has no health checks but the connections themselves."""

    name: str

    @contextlib.contextmanager
    def serve(self, lab: Lab, mix: Mix, pod_port: int = POD_PORT) -> Iterator[Service]:
        """Splits by this mix until the context ends."""
        port = lab.port()
        config = lab.file("nginx.conf", self.text(lab, mix, pod_port, port))
        with lab.served(lab.room("proxies").namespace, self.command(lab, config), port, pod_port) as service:
            yield service

    def text(self, lab: Lab, mix: Mix, pod_port: int, port: int) -> str:
        """The whole configuration."""
        return text(mix, pod_port, port, lab.programs.stream_module)

    def command(self, lab: Lab, config: Path) -> list[str]:
        """Runs it in the foreground."""
        return [lab.programs.nginx, "-p", str(config.parent), "-e", "stderr", "-c", str(config)]

    def check(self, lab: Lab, config: Path) -> list[str]:
        """Only parses the configuration."""
        return [*self.command(lab, config), "-q", "-t"]


def text(mix: Mix, pod_port: int, port: int, module: str) -> str:
    """The configuration for this mix."""
    shares, upstreams = [], []
    last = len(mix.weights) - 1
    for route, (weight, pods) in enumerate(mix.routes()):
        # The last one gets the rest: no rounding leaves a hole.
        shares.append(f"    {'*' if route == last else f'{weight}%'} r{route};")
        servers = " ".join(f"server {pod}:{pod_port};" for pod in pods)
        upstreams.append(f"  upstream r{route} {{ {servers} }}")
    return _TEXT.format(module=module, shares="\n".join(shares), upstreams="\n".join(upstreams), port=port)


NGINX = Nginx("nginx `stream`, `split_clients`")
