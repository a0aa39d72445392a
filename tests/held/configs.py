"""Configurations with one thing changed."""

from __future__ import annotations

from dataclasses import replace

from engine.render.config import ProxyConfig, Server
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of


def config_for(pods: Pods, drain_seconds: int = 3600) -> ProxyConfig:
    """Two routes, on ports that nobody else uses. No drain time passes during a test that does not ask for it."""
    return config_of(pods.route(50, 3), pods.route(50, 2), drain_seconds=drain_seconds)


def weighted(config: ProxyConfig, second: int) -> ProxyConfig:
    """The second route gets this weight, the first one what is left."""
    first, other = config.routes
    return replace(config, routes=(replace(first, weight=100 - second), replace(other, weight=second)))


def reloading(config: ProxyConfig, number: int) -> ProxyConfig:
    """Another one for each number, which a proxy loads with a reload. Splits alike."""
    return replace(config, idle_seconds=config.idle_seconds + number)


def with_servers(config: ProxyConfig, number: int, *servers: Server) -> ProxyConfig:
    """One route has these servers."""
    routes = list(config.routes)
    routes[number] = replace(routes[number], servers=servers)
    return replace(config, routes=tuple(routes))


def elsewhere(config: ProxyConfig) -> ProxyConfig:
    """The same for one more proxy: here, all are on one host."""
    ports = config_of(*config.routes)
    return replace(config, split_port=ports.split_port, ops_port=ports.ops_port)
