"""What the proxies are to serve, rendered: from a spec and its endpoints to configuration and objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from engine.model.api import KanarySpec
from engine.record import CONFIG_KEY, Record, Texts
from engine.render import haproxy, objects, pods
from engine.render.objects import Identity, Json
from engine.resolve.endpoints import Endpoint
from states import Action, UpdateStrategy

DEFAULT_PROXY_IMAGE = "kanary-haproxy:0.1.0"
"""The image that `make images` builds of HAProxy 3.0."""
_NO_TEXTS = Texts()


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
    def config(self) -> str:
        """The text of the configuration."""
        return str(self.objects[Action.CONFIGURE][0]["data"][CONFIG_KEY])

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


def proxy_config(
    spec: KanarySpec, endpoints: Sequence[Sequence[Endpoint]], serial: int = 0, *, ipv6: bool = False
) -> haproxy.ProxyConfig:
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
        max_connections=spec.proxy.max_connections or haproxy.DEFAULT_MAX_CONNECTIONS,
        balance=spec.proxy.balance,
        serial=serial,
        ipv6=ipv6,
    )


def render(
    owner: Identity,
    spec: KanarySpec,
    endpoints: tuple[tuple[Endpoint, ...], ...],
    *,
    last: Record | None,
    revision: int,
    now: datetime,
    strategy: UpdateStrategy,
    defaults: Defaults,
    texts: Texts = _NO_TEXTS,
    is_accepted: bool = False,
    ipv6: bool = False,
) -> Target:
    """The target for this spec and these endpoints.

    `last` is the record of what is applied now, and `texts` are its configurations; `is_accepted` says whether a proxy
    serves the latest of them, and `ipv6` whether the proxies are seen to be reached over IPv6.
    """
    ipv6 = ipv6 or (last is not None and last.ipv6)
    serial = _serial(spec, endpoints, last, strategy, ipv6=ipv6)
    config = proxy_config(spec, endpoints, serial if strategy is UpdateStrategy.LIVE else 0, ipv6=ipv6)
    record = Record(spec, endpoints, revision, haproxy.digest(config), now, strategy, serial, ipv6)
    is_configured = last is not None and _is_same(last, record)
    if last and is_configured:
        record = replace(record, written_at=last.written_at)
    accepted = texts.latest if is_accepted and not is_configured else texts.accepted
    made = {
        Action.CONFIGURE: _configuration(owner, record, Texts(haproxy.render(config), accepted)),
        Action.RUN_PROXIES: _proxies(owner, record, defaults),
        Action.EXPOSE: (objects.service(owner, spec),),
    }
    return Target(record, made, is_configured)


def _serial(
    spec: KanarySpec,
    endpoints: Sequence[Sequence[Endpoint]],
    last: Record | None,
    strategy: UpdateStrategy,
    *,
    ipv6: bool,
) -> int:
    """The last one while running proxies are to do the same as they were told last, else the next.

    A pod that loses its readiness for a moment has a configuration go and come back. That it is back is not to be told
    of a proxy which is about to take the one in between.
    """
    serial = last.serial if last else 0
    if strategy is UpdateStrategy.ROLLING:
        return serial
    is_told = last is not None and last.digest == haproxy.digest(proxy_config(spec, endpoints, serial, ipv6=ipv6))
    return serial if is_told else serial + 1


def _is_same(last: Record, record: Record) -> bool:
    def told(it: Record) -> tuple[object, ...]:
        return it.spec, it.digest, it.revision, it.strategy

    return told(last) == told(record)


def _configuration(owner: Identity, record: Record, texts: Texts) -> tuple[Json, ...]:
    latest = objects.config_map(owner, record, texts)
    if record.strategy is UpdateStrategy.LIVE:
        return (latest,)
    return objects.mounted_config(owner, record.digest, texts.latest), latest


def _proxies(owner: Identity, record: Record, defaults: Defaults) -> tuple[Json, ...]:
    spec = record.spec
    template = pods.template(owner, spec, defaults.proxy_image, record.digest, record.strategy)
    deployment = objects.deployment(owner, spec, template)
    return (deployment, objects.disruption_budget(owner)) if defaults.disruption_budgets else (deployment,)


def next_revision(
    last: Record | None, spec: KanarySpec, told_revision: int, told_weights: tuple[tuple[str, int], ...]
) -> int:
    """The number of the spec's weights: one more than the last, unless they are the same.

    `told_revision` and `told_weights` are the status's, which know when the record is lost.
    """
    known_revision = max(told_revision, last.revision if last else 0)
    known_weights = last.spec.weights if last else told_weights
    return known_revision if known_weights == spec.weights else known_revision + 1
