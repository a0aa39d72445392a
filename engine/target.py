"""What the proxies are to serve, rendered: from a spec and its endpoints to configuration and objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from engine import haproxy, objects
from engine.api import KanarySpec
from engine.endpoints import Endpoint
from engine.objects import Identity, Json
from engine.record import Record
from states import Action

DEFAULT_PROXY_IMAGE = "kanary-haproxy:0.1.0"
"""The image that `make images` builds of HAProxy 3.0."""


@dataclass(frozen=True, slots=True)
class Target:
    """The state to reach, and the objects that make it so, by the action that applies them."""

    record: Record
    objects: Mapping[Action, tuple[Json, ...]]
    is_configured: bool
    """The ConfigMap's record says exactly this already."""

    @property
    def all_objects(self) -> tuple[Json, ...]:
        """Every object, in the order in which they are applied."""
        return tuple(desired for group in self.objects.values() for desired in group)

    @property
    def service(self) -> Json:
        """The destination Service."""
        return self.objects[Action.EXPOSE][0]

    @property
    def deployment(self) -> Json:
        """The proxies' Deployment."""
        return self.objects[Action.RUN_PROXIES][0]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator decides where the user does not."""

    proxy_image: str = DEFAULT_PROXY_IMAGE
    disruption_budgets: bool = True
    """Whether the cluster has policy/v1."""


def proxy_config(spec: KanarySpec, endpoints: Sequence[Sequence[Endpoint]]) -> haproxy.ProxyConfig:
    """What HAProxy is told of a spec and the endpoints of its routes."""
    routes = tuple(
        haproxy.Route(route.weight, tuple(haproxy.Server(e.address, e.port) for e in found), route.send_proxy_protocol)
        for route, found in zip(spec.routes, endpoints, strict=True)
    )
    return haproxy.ProxyConfig(
        routes=routes,
        on_empty_route=spec.on_empty_route,
        idle_seconds=spec.proxy.idle_seconds,
        drain_seconds=spec.proxy.drain_seconds,
        max_connections=spec.proxy.max_connections,
        balance=spec.proxy.balance,
    )


def render(
    owner: Identity,
    spec: KanarySpec,
    endpoints: tuple[tuple[Endpoint, ...], ...],
    *,
    last: Record | None,
    revision: int,
    now: datetime,
    defaults: Defaults,
) -> Target:
    """The target for this spec and these endpoints; `last` is the record of what is applied now."""
    config = proxy_config(spec, endpoints)
    digest = haproxy.digest(config)
    is_configured = last is not None and (last.spec, last.digest, last.revision) == (spec, digest, revision)
    written_at = last.written_at if last and is_configured else now
    record = Record(spec, endpoints, revision, digest, written_at)
    proxies = [objects.deployment(owner, spec, digest, defaults.proxy_image)]
    if defaults.disruption_budgets:
        proxies.append(objects.disruption_budget(owner))
    made = {
        Action.CONFIGURE: (
            objects.mounted_config(owner, digest, haproxy.render(config)),
            objects.config_map(owner, record, haproxy.render(config)),
        ),
        Action.RUN_PROXIES: tuple(proxies),
        Action.EXPOSE: (objects.service(owner, spec),),
    }
    return Target(record, made, is_configured)


def next_revision(
    last: Record | None, spec: KanarySpec, told_revision: int, told_weights: tuple[tuple[str, int], ...]
) -> int:
    """The number of the spec's weights: one more than the last, unless they are the same.

    `told_revision` and `told_weights` are the status's, which know when the record is lost.
    """
    known_revision = max(told_revision, last.revision if last else 0)
    known_weights = last.spec.weights if last else told_weights
    return known_revision if known_weights == spec.weights else known_revision + 1
