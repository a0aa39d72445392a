"""From the split in force to the configuration and the objects that implement it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVarTuple

from engine.adopting import foreign_destination, is_adopted, may_switch
from engine.fleet.fleet import Fleet, Goal
from engine.fleet.reach import unreached_routes
from engine.memo import Memo
from engine.model.entries import Configuration
from engine.model.spec import KanarySpec
from engine.model.states import Applied, Endpoint, Endpoints, Intent, Split, Written, applied_in, read_written, unpaused
from engine.model.status import KanaryStatus
from engine.observe import Defaults, Observed
from engine.ports import ClusterView
from engine.proxy_config import proxy_config
from engine.render import objects, pods
from engine.render.adoption import switched
from engine.render.haproxy import Draft, Rendered, complete, draft, split_of
from engine.render.objects import TEMPLATE_ANNOTATION, Comparison, Identity, Json, compared, covers
from engine.render.rollback import RollbackPlan
from engine.render.service import destination_service
from engine.render.slots import Slots, assign
from engine.render.zones import Zones
from engine.rollbacks import rollback_plan
from engine.strategy import renewal_of, strategy_of
from engine.zones import zones_of
from states import Action, Difference, Progress, UpdateStrategy

Inputs = TypeVarTuple("Inputs")


@dataclass(frozen=True, eq=False)
class Planned:
    """An object to apply, which is rendered only if it has to be applied, or compared with another object."""

    api_version: str
    kind: str
    namespace: str
    name: str
    make: Callable[..., Json]
    inputs: tuple[Any, ...]
    """Of `make`."""
    is_new: bool = False
    """The one in the cluster differs."""

    def compared(self, view: ClusterView, memo: Memo) -> Comparison:
        """Compare it with the object in the cluster."""
        if self.is_new:
            return Comparison(False, False)
        return memo(compared, self.found_in(view), self.make, *self.inputs)

    @cached_property
    def rendered(self) -> Json:
        """The object."""
        return self.make(*self.inputs)

    def found_in(self, view: ClusterView) -> Json | None:
        """The object of this kind and name in the cluster."""
        metadata = {"namespace": self.namespace, "name": self.name}
        return view.live({"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata})


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
    goal: Goal
    """The desired state of the proxies."""
    planned: Mapping[Action, tuple[Planned, ...]]
    adopts: str = ""
    """The Service of others that is switched to the proxies when they serve; empty if there is none, or it is."""

    @property
    def all_planned(self) -> tuple[Planned, ...]:
        """Every object, in the order in which they are applied."""
        return tuple(each for group in self.planned.values() for each in group)

    @property
    def configuration(self) -> Configuration:
        """What the history keeps of it."""
        found = self.applied.endpoints.items()
        endpoints = {backend: tuple(f"{e.address}:{e.port}" for e in each) for backend, each in found}
        return Configuration(digest=self.applied.digest, text=self.written.latest, endpoints=endpoints)


def plan(observed: Observed, split: Split) -> Target:
    """The target for this split. A configuration is rendered once, however often the reconciles look at it."""
    before, fleet, memo = observed.written.applied, observed.fleet, observed.memo
    strategy, fallback = strategy_of(observed, split)
    renewal = renewal_of(observed) if strategy is UpdateStrategy.LIVE else ""
    renewed_at = observed.now if renewal else before.renewed_at if before else None
    ipv6 = observed.is_reached_by_ipv6(split.spec.destination) or (before is not None and before.ipv6)
    slots, doors = memo(_slots, before, split.spec), memo(_doors, before, split.spec)
    serial, rendered = _render(observed, split, strategy, (slots, doors), ipv6=ipv6)
    difference = _difference(before, split, strategy, ipv6=ipv6, digest=rendered.digest, renewed_at=renewed_at)
    accepted = observed.written.accepted
    if before and difference is Difference.NONE:
        applied = before
    else:
        applied = Applied(
            generation=split.generation,
            revision=split.revision,
            digest=rendered.digest,
            written_at=observed.now,
            strategy=strategy,
            serial=serial,
            split_serial=rendered.split_serial,
            renewed_at=renewed_at,
            ipv6=ipv6,
            spec=split.spec,
            rollout=split.rollout,
            endpoints={str(backend): found for backend, found in split.endpoints.items()},
            slots=slots,
            doors=doors,
            entry=observed.stored_entry,
        )
        if before and fleet.updated(before.digest):
            accepted = observed.written.latest
    written = observed.written
    if applied is not before or not memo(_has_text, written, rendered):
        written = replace(written, applied=applied, latest=rendered.text, accepted=accepted, content_id=None)
    known = observed.destinations.get(split.spec.destination)
    # With Live, the pods do not depend on the configuration.
    mounted = applied.digest if strategy is UpdateStrategy.ROLLING else ""
    template = observed.owner, applied.spec, observed.defaults, applied.strategy, mounted, applied.renewed_at
    replicas, ready = applied.spec.proxy.replicas, known.ready_endpoints if known else 0
    goal = Goal(applied.digest, memo(_template_hash, *template), replicas, ready)
    planned = _planned(observed, written, applied, template)
    service = foreign_destination(observed, applied.spec)
    if service is None:
        return Target(written, applied, difference, fallback or renewal, goal, planned)
    exposed: tuple[Planned, ...] = ()
    adopts = service["metadata"]["name"] if may_switch(observed, applied.spec, service) else ""
    are_serving = difference is Difference.NONE and _are_serving(fleet, goal, applied)
    leads_to_proxies = is_adopted(observed, service) or known is None or service is not known.service
    if adopts and (leads_to_proxies or are_serving):
        inputs, adopts = (observed.owner, applied.spec, applied.doors, service), ""
        exposed = (Planned("v1", "Service", observed.owner.namespace, applied.spec.destination, switched, inputs),)
    return Target(
        written, applied, difference, fallback or renewal, goal, {**planned, Action.EXPOSE: exposed}, adopts=adopts
    )


def _has_text(written: Written, rendered: Rendered) -> bool:
    """Whether the ConfigMap has this configuration: its text may have been edited."""
    return written.latest == rendered.text


def _are_serving(fleet: Fleet, goal: Goal, applied: Applied) -> bool:
    """Whether all proxies serve and reach every route of every port, whatever the destination leads to."""
    progress = fleet.progress(replace(goal, ready_endpoints=goal.replicas))
    have_pods = all(applied.endpoints_of(route.backend) for route in applied.spec.all_routes if route.weight)
    return progress >= Progress.SERVING and have_pods and not unreached_routes(fleet, applied)


def _slots(before: Applied | None, spec: KanarySpec) -> Slots:
    """The slots of the routes. With Rolling, no proxy reuses one, but the next configuration may be for Live."""
    backends = [str(route.backend) for route in spec.all_routes]
    return assign(before.slots, before.endpoints.keys(), backends) if before else assign((), (), backends)


def _doors(before: Applied | None, spec: KanarySpec) -> Slots:
    """The ports of the proxies: a port of the destination keeps its own, whatever becomes of the others."""
    names = [port.name for port in spec.ports]
    return assign(before.doors, [port.name for port in before.spec.ports], names) if before else assign((), (), names)


def _render(
    observed: Observed, split: Split, strategy: UpdateStrategy, places: tuple[Slots, Slots], *, ipv6: bool
) -> tuple[int, Rendered]:
    """The configuration and its serial, which changes whenever the configuration does.

    If a pod is unready for a moment, a configuration is replaced and returns. With a new serial it has another
    digest, so that a proxy that has not loaded the one in between cannot report it too early.
    """
    before, memo = observed.written.applied, observed.memo
    numbered = "" if strategy is UpdateStrategy.ROLLING else observed.owner.uid
    endpoints = [split.endpoints[route.backend] for route in split.spec.all_routes]
    watched = split.revision if numbered and split.is_watched else 0
    rollback = memo(rollback_plan, split) if numbered else None
    zones = zones_of(observed, split.spec) if numbered else None
    options = numbered, watched, rollback, *places, ipv6, observed.defaults.sysctls, zones
    drafted = memo(_drafted, split.spec, *options, *endpoints)
    former = (before.digest, before.split_serial) if before else ("", 0)
    serial = before.serial if before else 0
    if not numbered:
        return serial, memo(complete, drafted, 0, *former)
    if not serial:
        serial = memo.first("serial", drafted, _first_serial(observed.now))
        return serial, memo(complete, drafted, serial, *former)
    same = memo(complete, drafted, serial, *former)
    if before and same.digest == before.digest:
        return serial, same
    return serial + 1, memo(complete, drafted, serial + 1, *former)


def _first_serial(now: datetime) -> int:
    """The serial if none is known: the time in milliseconds, since no Kanary changes more often than that.

    It is kept until it is written, because the history records the digest before.
    """
    return max(1, int(now.timestamp() * 1000))


def _drafted(  # noqa: PLR0917  a memo passes inputs by position
    spec: KanarySpec,
    kanary: str,
    watched: int,
    rollback: RollbackPlan | None,
    slots: Slots,
    doors: Slots,
    ipv6: bool,
    sysctls: Mapping[str, str],
    zones: Zones | None,
    *endpoints: tuple[Endpoint, ...],
) -> Draft:
    places = slots, doors
    config = proxy_config(
        spec, endpoints, kanary, *places, watched=watched, rollback=rollback, ipv6=ipv6, sysctls=sysctls, zones=zones
    )
    return draft(config)


def plan_unapplied(
    owner: Identity, spec: KanarySpec, endpoints: Endpoints, defaults: Defaults, now: datetime
) -> Target:
    """The target of a Kanary outside a cluster, as its first revision."""
    intent, fleet = Intent(1, spec, (), endpoints), Fleet(None, (), now)
    status, written = KanaryStatus(), Written()
    observed = Observed(owner, {}, status, status, now, defaults, intent, written, fleet, {}, {}, Memo())
    return plan(observed, Split(unpaused(spec), 1, 1, endpoints, is_in_status=False))


def as_written(view: ClusterView, memo: Memo, planned: Planned, desired: Json, target: Target) -> Written:
    """The content of this ConfigMap, which was just written: the next reconcile has to derive nothing from it."""
    live = planned.found_in(view)
    if live is None or live.get("data") != desired["data"]:
        # Another client has changed it since.
        return target.written
    memo.keep(target.applied, applied_in, live)
    owner, written = planned.inputs[0], read_written(live, lambda _: target.applied)
    memo.keep(Comparison(True, covers(live, desired)), compared, live, planned.make, owner, written)
    return written


def _difference(
    before: Applied | None,
    split: Split,
    strategy: UpdateStrategy,
    *,
    ipv6: bool,
    digest: str,
    renewed_at: datetime | None,
) -> Difference:
    if before is None or before.revision != split.revision:
        return Difference.WEIGHTS
    if (before.spec, before.strategy, before.ipv6, before.renewed_at) != (split.spec, strategy, ipv6, renewed_at):
        return Difference.SETTINGS
    if before.digest == digest:
        return Difference.NONE
    # A route that loses its last pod, or gets its first, changes the shares of the others.
    return Difference.ENDPOINTS if split_of(before.digest) == split_of(digest) else Difference.SETTINGS


def _planned(
    observed: Observed, written: Written, applied: Applied, template: tuple[Any, ...]
) -> Mapping[Action, tuple[Planned, ...]]:
    owner, spec = observed.owner, applied.spec

    def planned(api_version: str, kind: str, name: str, make: Callable[[*Inputs], Json], *inputs: *Inputs) -> Planned:
        return Planned(api_version, kind, owner.namespace, name, make, inputs)

    config_map = planned("v1", "ConfigMap", owner.proxy_name, objects.config_map, owner, written)
    configuration = [replace(config_map, is_new=written is not observed.written)]
    if applied.strategy is UpdateStrategy.ROLLING:
        mounted = owner, applied.digest, written.latest
        name = owner.mounted_name(applied.digest)
        configuration.insert(0, planned("v1", "ConfigMap", name, objects.mounted_config, *mounted))
    of_proxies = applied.generation, observed.fleet.deployment, *template
    proxies = [planned("apps/v1", "Deployment", owner.proxy_name, _deployment, *of_proxies)]
    if observed.defaults.disruption_budgets and observed.defaults.settings_of(spec).disruption_budget:
        budget = planned(*objects.BUDGET, owner.proxy_name, objects.disruption_budget, owner)
        proxies.append(budget)
    service = planned("v1", "Service", spec.destination, destination_service, owner, spec, applied.doors)
    return {Action.CONFIGURE: tuple(configuration), Action.RUN_PROXIES: tuple(proxies), Action.EXPOSE: (service,)}


def _deployment(
    generation: int, live: Json | None, owner: Identity, spec: KanarySpec, defaults: Defaults, *others: Any
) -> Json:
    made = _template(owner, spec, defaults, *others)
    return objects.deployment(owner, spec, made, generation, live, defaults=defaults.text)


def _template_hash(owner: Identity, spec: KanarySpec, *others: Any) -> str:
    return str(_template(owner, spec, *others)["metadata"]["annotations"][TEMPLATE_ANNOTATION])


def _template(  # noqa: PLR0917  a memo passes inputs by position
    owner: Identity,
    spec: KanarySpec,
    defaults: Defaults,
    strategy: UpdateStrategy,
    digest: str,
    renewed_at: datetime | None,
) -> Json:
    image, sysctls = defaults.proxy_image, defaults.sysctls
    proxy = defaults.settings_of(spec)
    return pods.template(owner, proxy, digest, strategy, default_image=image, sysctls=sysctls, renewed_at=renewed_at)
