"""From the split in force to the configuration and the objects that implement it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from engine.fleet.fleet import Fleet, Goal
from engine.model.spec import KanarySpec
from engine.model.states import Applied, Endpoints, Intent, Split, Written, unpaused
from engine.model.status import KanaryStatus
from engine.observe import Defaults, Observed
from engine.render import objects, pods
from engine.render.config import DEFAULT_MAX_CONNECTIONS, Pool, ProxyConfig, Server
from engine.render.haproxy import Rendered, render, split_of
from engine.render.objects import TEMPLATE_ANNOTATION, Identity, Json
from engine.render.sysctls import has_keepalive
from states import Action, Difference, UpdateStrategy


@dataclass(frozen=True, slots=True)
class Target:
    """The state to reach, and its objects by the action that applies them."""

    written: Written
    """The content of the proxies' ConfigMap."""
    applied: Applied
    """The same as `written.applied`."""
    difference: Difference
    """From its current content."""
    fallback: str
    """Why proxies are replaced although the spec says Live; empty if they are not."""
    objects: Mapping[Action, tuple[Json, ...]]
    ready_endpoints: int
    """Number of ready endpoints that the destination has now."""

    @property
    def all_objects(self) -> tuple[Json, ...]:
        """Every object, in the order in which they are applied."""
        return tuple(desired for group in self.objects.values() for desired in group)

    @property
    def goal(self) -> Goal:
        """The desired state of the proxies."""
        annotations = self.objects[Action.RUN_PROXIES][0]["spec"]["template"]["metadata"]["annotations"]
        replicas = self.applied.spec.proxy.replicas
        return Goal(self.applied.digest, annotations[TEMPLATE_ANNOTATION], replicas, self.ready_endpoints)


class Planner:
    """Plans for any number of Kanaries; caches the last renderings of each, so that each change is rendered once.

    Thread-safe, as long as no two threads plan for one Kanary at the same time.
    """

    def __init__(self) -> None:
        self._rendered: dict[tuple[str, str], list[tuple[ProxyConfig, Rendered]]] = {}

    def forget(self, namespace: str, name: str) -> None:
        """Drop the cache of a deleted Kanary."""
        self._rendered.pop((namespace, name), None)

    def plan(self, observed: Observed, split: Split) -> Target:
        """The target for this split."""
        before, fleet = observed.written.applied, observed.fleet
        strategy, fallback = _strategy(observed, split)
        ipv6 = observed.is_reached_by_ipv6(split.spec.destination) or (before is not None and before.ipv6)
        keepalive_options = not has_keepalive(observed.defaults.sysctls)
        config, rendered = self._render(observed, split, strategy, ipv6=ipv6, keepalive_options=keepalive_options)
        applied = Applied(
            generation=split.generation,
            revision=split.revision,
            digest=rendered.digest,
            written_at=observed.now,
            strategy=strategy,
            serial=config.serial or (before.serial if before else 0),
            split_serial=rendered.split_serial,
            ipv6=ipv6,
            spec=split.spec,
            endpoints={str(backend): found for backend, found in split.endpoints.items()},
            entry=observed.stored_entry,
        )
        difference = _difference(before, applied)
        accepted = observed.written.accepted
        if before and difference is Difference.NONE:
            applied = before
        elif before and fleet.updated(before.digest):
            accepted = observed.written.latest
        written = replace(observed.written, applied=applied, latest=rendered.text, accepted=accepted)
        known = observed.destinations.get(split.spec.destination)
        made = _objects(observed, written, applied)
        return Target(written, applied, difference, fallback, made, known.ready_endpoints if known else 0)

    def _render(
        self, observed: Observed, split: Split, strategy: UpdateStrategy, **settings: bool
    ) -> tuple[ProxyConfig, Rendered]:
        """The configuration, with a serial that changes whenever the configuration does.

        If a pod is unready for a moment, a configuration is replaced and returns. With a new serial it has another
        digest, so that a proxy that has not loaded the one in between cannot report it too early.
        """
        owner, before = observed.owner, observed.written.applied
        config = proxy_config(split, strategy, **settings)
        cache = self._rendered.setdefault((owner.namespace, owner.name), [])
        if strategy is UpdateStrategy.ROLLING:
            return _cached(cache, config, before)
        if before is None or not before.serial:
            serial = _first_serial(cache, config, observed.now)
            return _cached(cache, replace(config, kanary=owner.uid, serial=serial), before)
        config = replace(config, kanary=owner.uid, serial=before.serial)
        written = [known for known, rendered in cache if rendered.digest == before.digest]
        if config in written or not written:
            found = _cached(cache, config, before)
            if found[1].digest == before.digest:
                return found
        return _cached(cache, replace(config, serial=before.serial + 1), before)


def _first_serial(cache: Sequence[tuple[ProxyConfig, Rendered]], config: ProxyConfig, now: datetime) -> int:
    """The serial if none is known: the time in milliseconds, since no Kanary changes more often than that.

    It is kept until it is written, because the history records the digest before.
    """
    known = [known.serial for known, _ in cache if replace(known, kanary="", serial=0) == config]
    return known[-1] if known else max(1, int(now.timestamp() * 1000))


def _cached(
    cache: list[tuple[ProxyConfig, Rendered]], config: ProxyConfig, before: Applied | None
) -> tuple[ProxyConfig, Rendered]:
    for known in cache:
        if known[0] == config:
            return known
    rendered = render(config, before.digest, before.split_serial) if before else render(config)
    # The written configuration and the target.
    cache[:] = [*cache[-1:], (config, rendered)]
    return cache[-1]


def plan_unapplied(
    owner: Identity, spec: KanarySpec, endpoints: Endpoints, defaults: Defaults, now: datetime
) -> Target:
    """The target of a Kanary outside a cluster, as its first revision."""
    intent, fleet = Intent(1, spec, (), endpoints), Fleet(None, (), now)
    status, written = KanaryStatus(), Written()
    observed = Observed(owner, {}, status, status, now, defaults, intent, written, fleet, {}, {})
    return Planner().plan(observed, Split(unpaused(spec), 1, 1, endpoints, is_in_status=False))


def proxy_config(
    split: Split,
    strategy: UpdateStrategy = UpdateStrategy.LIVE,
    *,
    ipv6: bool = False,
    keepalive_options: bool = False,
) -> ProxyConfig:
    """The configuration of HAProxy, without its serial.

    With Live, it has the routes of weight 0, so that running proxies can give them a weight without a reload. With
    Rolling, changes of their pods would replace the proxies.
    """
    spec = split.spec
    return ProxyConfig(
        routes=tuple(
            Pool(
                str(route.backend),
                route.weight,
                tuple(Server(e.address, e.port) for e in split.endpoints[route.backend]),
                route.send_proxy_protocol,
            )
            for route in spec.routes
            if route.weight or strategy is UpdateStrategy.LIVE
        ),
        on_empty_route=spec.on_empty_route,
        idle_seconds=spec.proxy.idle_seconds,
        unacknowledged_seconds=spec.proxy.unacknowledged_seconds,
        drain_seconds=spec.proxy.drain_seconds,
        max_connections=spec.proxy.max_connections or DEFAULT_MAX_CONNECTIONS,
        balance=spec.proxy.balance,
        ipv6=ipv6,
        keepalive_options=keepalive_options,
    )


def _strategy(observed: Observed, split: Split) -> tuple[UpdateStrategy, str]:
    """How the proxies receive this split, and, if a fallback to Rolling begins now, why.

    Running proxies that do not load a configuration are replaced, now and at each later change of endpoints. The next
    change of the spec tries its strategy again.
    """
    before, spec = observed.written.applied, split.spec
    if spec.update_strategy is UpdateStrategy.ROLLING:
        return UpdateStrategy.ROLLING, ""
    if before is None or before.spec != spec:
        return UpdateStrategy.LIVE, ""
    if before.strategy is UpdateStrategy.ROLLING:
        return UpdateStrategy.ROLLING, ""
    fallback = observed.fleet.fallback(before)
    return (UpdateStrategy.ROLLING if fallback else UpdateStrategy.LIVE), fallback


def _difference(before: Applied | None, after: Applied) -> Difference:
    if before is None or before.revision != after.revision:
        return Difference.WEIGHTS
    if (before.spec, before.strategy, before.ipv6) != (after.spec, after.strategy, after.ipv6):
        return Difference.SETTINGS
    if before.digest == after.digest:
        return Difference.NONE
    # A route that loses its last pod, or gets its first, changes the shares of the others.
    return Difference.ENDPOINTS if split_of(before.digest) == split_of(after.digest) else Difference.SETTINGS


def _objects(observed: Observed, written: Written, applied: Applied) -> Mapping[Action, tuple[Json, ...]]:
    owner, spec, defaults = observed.owner, applied.spec, observed.defaults
    configuration = [objects.config_map(owner, written)]
    if applied.strategy is UpdateStrategy.ROLLING:
        configuration.insert(0, objects.mounted_config(owner, applied.digest, written.latest))
    template = pods.template(
        owner,
        spec,
        applied.digest,
        applied.strategy,
        default_image=defaults.proxy_image,
        sysctls=defaults.sysctls,
    )
    proxies = [objects.deployment(owner, spec, template, applied.generation, observed.fleet.deployment)]
    if defaults.disruption_budgets:
        proxies.append(objects.disruption_budget(owner))
    return {
        Action.CONFIGURE: tuple(configuration),
        Action.RUN_PROXIES: tuple(proxies),
        Action.EXPOSE: (objects.service(owner, spec),),
    }
