"""What the operator would do after a manifest is applied: its own reconciles, in an imagined cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from engine.memo import Memo
from engine.model.placement import BUILT_IN, ProxyDefaults
from engine.model.rollout import StepSpec
from engine.model.spec import Backend, KanarySpec
from engine.model.states import Written, read_written
from engine.model.status import KanaryStatus
from engine.observe import Defaults
from engine.plan import plan_unapplied
from engine.ports import RetryLaterError
from engine.reconcile import Reconciler, Step
from engine.render.adoption import adopter, adoption_problem, given_back, switched
from engine.render.objects import DEFAULTS_ANNOTATION, Identity, covers, made_from, owner_uid
from engine.render.pods import DEFAULT_PROXY_IMAGE
from engine.resolve.intent import former_port_problems, read_intent
from engine.rollout_facts import weights_in_force
from engine.shares import Weights
from kanary.cli.failure import CommandError
from kanary.cli.imagined import ImaginedCluster, ImaginedObjects
from kanary.kanaries import KANARIES
from kanary.kube.resources import Json
from states import Problem, Reason
from states.rollouts import UNDER_WAY, RolloutState

_MOST_STEPS = 50
"""More reconciles than a change needs."""
_LONGEST_WAIT = timedelta(minutes=1)
"""A new Kanary waits for pods that are not ready, and statuses are held for a moment."""
_HIDDEN = ("annotations", "resourceVersion", "uid", "generation", "creationTimestamp", "ownerReferences")
"""Fields of the metadata that say nothing to users."""


@dataclass(frozen=True, slots=True)
class ChangedField:
    """A field of an object that gets another value."""

    path: str
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """An object that the operator creates, changes, deletes or gives back."""

    action: str
    """created, changed, deleted, adopted (when the proxies serve), or restored to what it was before that."""
    object: Json
    """As the operator writes it; of a deleted one, as it is."""
    fields: tuple[ChangedField, ...] = ()
    """Of a changed one."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of a rollout with its weights."""

    number: int
    spec: StepSpec
    weights: Weights


@dataclass(frozen=True, slots=True)
class Forecast:
    """A Kanary before an apply, and after the reconciles that follow at once."""

    owner: Identity
    former_spec: KanarySpec | None
    spec: KanarySpec
    former: Written
    written: Written
    former_deployment: Json | None
    deployment: Json | None
    status: KanaryStatus
    problems: tuple[Problem, ...]
    """Why the operator does not apply the spec."""
    objects: tuple[ObjectChange, ...]
    is_pending: bool
    """The operator would change some of them anyway."""

    @property
    def steps(self) -> Sequence[PlannedStep]:
        """The steps of the rollout that leads to the declared weights; none if they are in force at once."""
        rollout, plan = self.status.rollout, self.spec.rollout
        if rollout is None or plan is None or rollout.state not in UNDER_WAY:
            return ()
        return [
            PlannedStep(number, step, weights_in_force(rollout.model_copy(update=_at(step.to))))
            for number, step in enumerate(plan.steps, 1)
        ]

    @property
    def rollout_text(self) -> str:
        """Why the rollout is where it is; empty without one that is under way."""
        rollout = self.status.rollout
        return f"{rollout.reason}: {rollout.message}" if rollout and self.steps else ""

    @property
    def weights(self) -> Mapping[Backend, tuple[tuple[Decimal | None, Decimal | None], tuple[Decimal | None, ...]]]:
        """By backend: the declared weight before and after, and the written one; None for none."""
        former, latest = self.former.applied, self.written.applied
        tables = [
            {route.backend: route.weight for route in spec.routes} if spec else {}
            for spec in (
                self.former_spec,
                self.spec,
                former.spec if former else None,
                latest.spec if latest else None,
            )
        ]
        backends = dict.fromkeys(backend for table in reversed(tables) for backend in table)
        found = {backend: [table.get(backend) for table in tables] for backend in backends}
        return {backend: ((one, two), (three, four)) for backend, (one, two, three, four) in found.items()}

    @property
    def endpoints(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """Each backend whose endpoints change, with those that are removed and added."""
        former, latest = (each.applied.endpoints if each.applied else {} for each in (self.former, self.written))
        for backend in {**latest, **former}:
            before, after = ([each.socket for each in found.get(backend, ())] for found in (former, latest))
            removed, added = [e for e in before if e not in after], [e for e in after if e not in before]
            if removed or added:
                yield backend, removed, added

    @property
    def backends_without_pods(self) -> list[str]:
        """Those with a weight that have no endpoint, of any port: no Service is adopted until they have."""
        applied = self.written.applied
        routes = applied.spec.all_routes if applied else ()
        return [
            str(each.backend) for each in routes if each.weight and applied and not applied.endpoints_of(each.backend)
        ]

    @property
    def is_change(self) -> bool:
        """Whether applying changes anything."""
        # A Service that is not adopted yet will be without the file as well, if the spec stays the same.
        changes = [each for each in self.objects if each.action != "adopted"]
        return self.former_spec != self.spec or (bool(changes) and not self.is_pending)


def _at(percent: Decimal) -> Mapping[str, object]:
    return {"to": percent, "state": RolloutState.SHIFTING}


def forecast(
    cluster: ImaginedCluster,
    kanary: Json,
    specs: tuple[KanarySpec | None, KanarySpec],
    defaults: Defaults,
    *,
    is_pending: bool = False,
) -> Forecast:
    """What follows if the Kanary becomes this one. Raises CommandError, and ClusterError if the cluster is read."""
    metadata = kanary["metadata"]
    owner, before = Identity(metadata["namespace"], metadata["name"], metadata["uid"]), cluster.snapshot()
    former, former_deployment = _written(cluster, owner), _own(cluster, owner, "apps/v1", "Deployment")
    rendered = _rendered(owner, former, defaults, cluster.now())
    cluster.put(KANARIES, kanary)
    settle(cluster, owner, defaults)
    intent, _ = read_intent(cluster, owner, kanary, Memo())
    lost = former_port_problems(cluster, owner, specs[1], former.applied) if former.applied else ()
    problems = (*intent.problems, *lost)
    adoption = () if problems else _adoption(cluster, owner, specs[1])
    return Forecast(
        owner=owner,
        former_spec=specs[0],
        spec=specs[1],
        former=former,
        written=_written(cluster, owner),
        former_deployment=former_deployment,
        deployment=_own(cluster, owner, "apps/v1", "Deployment"),
        status=cluster.status or KanaryStatus(),
        problems=problems,
        objects=(*_object_changes(cluster, owner, specs[1], before, rendered), *adoption),
        is_pending=is_pending,
    )


def settle(cluster: ImaginedCluster, owner: Identity, defaults: Defaults) -> Step:
    """Reconcile until nothing more follows at once. Raises CommandError."""
    reconciler = Reconciler(
        cluster, cluster, cluster, history=cluster, checks=cluster, clock=cluster, defaults=defaults
    )
    waited, step = timedelta(), Step()
    try:
        for _ in range(_MOST_STEPS):
            step = reconciler.reconcile(owner.namespace, owner.name)
            after = step.requeue.after if step.requeue else None
            waits = step.decision is not None and step.decision.reason is Reason.WAITING_FOR_ENDPOINTS
            if after is None or (after and not waits) or waited + after > _LONGEST_WAIT:
                return step
            cluster.pass_time(after)
            waited += after
    except RetryLaterError as error:
        raise CommandError(f"Kanary {owner.name}: {error}; try again") from error
    return step


def defaults_of(
    cluster: ImaginedCluster, owner: Identity, *, proxy_image: str | None, sysctls: Mapping[str, str], budgets: bool
) -> Defaults:
    """The operator's settings. What a proxy has now shows which they are, unless the options say otherwise."""
    deployment = _own(cluster, owner, "apps/v1", "Deployment") or {}
    pod = (deployment.get("spec") or {}).get("template", {}).get("spec", {})
    text = ((deployment.get("metadata") or {}).get("annotations") or {}).get(DEFAULTS_ANNOTATION)
    proxies = BUILT_IN
    with suppress(ValueError):  # anyone may have written it
        proxies = ProxyDefaults.model_validate_json(text or "{}").over(BUILT_IN)
    applied = _written(cluster, owner).applied
    image = proxy_image
    if pod and applied and image is None and applied.spec.proxy.image is None:
        image = pod["containers"][0]["image"]
    if pod and applied:
        set_now = (pod.get("securityContext") or {}).get("sysctls") or ()
        sysctls = {each["name"]: each["value"] for each in set_now}
    return Defaults(image or DEFAULT_PROXY_IMAGE, budgets, sysctls, proxies)


def _written(cluster: ImaginedCluster, owner: Identity) -> Written:
    return read_written(_own(cluster, owner, "v1", "ConfigMap"))


def _own(cluster: ImaginedCluster, owner: Identity, api_version: str, kind: str) -> Json | None:
    metadata = {"namespace": owner.namespace, "name": owner.proxy_name}
    found = cluster.live({"apiVersion": api_version, "kind": kind, "metadata": metadata})
    return found if found and owner_uid(found) == owner.uid else None


def _rendered(owner: Identity, former: Written, defaults: Defaults, now: datetime) -> Mapping[tuple[str, str], Json]:
    """The objects by kind and name, with the fields that were written; those in the cluster have others as well."""
    if (applied := former.applied) is None:
        return {}
    endpoints = {route.backend: applied.endpoints_of(route.backend) for route in applied.spec.all_routes}
    target = plan_unapplied(owner, applied.spec, endpoints, defaults, now)
    return {(each.kind, each.name): each.rendered for each in target.all_planned}


def _object_changes(
    cluster: ImaginedCluster,
    owner: Identity,
    spec: KanarySpec,
    since: ImaginedObjects,
    rendered: Mapping[tuple[str, str], Json],
) -> Iterator[ObjectChange]:
    """The objects of the Kanary that change. A former destination goes when the proxies serve the new one."""
    for before, after in cluster.changes(since):
        if before and after and owner.uid == adopter(before) != adopter(after):
            yield _restored(before, after)
        if before and after and adopter(before) != owner.uid == adopter(after):
            # The proxies serve already.
            yield ObjectChange("adopted", after, tuple(_fields(before, after)))
        if owner_uid(after or before or {}) != owner.uid:
            continue
        if after is None and before:
            yield ObjectChange("deleted", before)
        elif after and before is None:
            yield ObjectChange("created", after)
        elif after and before and not made_from(before, after):
            former = rendered.get((before["kind"], before["metadata"]["name"]), {})
            yield ObjectChange("changed", after, (*_fields(before, after), *_removed(before, former, after)))
    for found in cluster.owned_by(owner.namespace, owner.uid):
        if found["kind"] == "Service" and found["metadata"]["name"] != spec.destination:
            yield _restored(found, given_back(found)) if adopter(found) else ObjectChange("deleted", found)


def _adoption(cluster: ImaginedCluster, owner: Identity, spec: KanarySpec) -> Iterator[ObjectChange]:
    """The Service of others that leads to the proxies when they serve, if there is one and they do not yet."""
    service, applied = cluster.service(owner.namespace, spec.destination), _written(cluster, owner).applied
    if service is None or applied is None or owner.uid in (owner_uid(service), adopter(service)):
        return
    # With `onEmptyRoute: Hold`, the last good configuration may stay, which has another destination or other ports.
    is_in_force = applied.spec.destination == spec.destination and not adoption_problem(applied.spec, service)
    if is_in_force and spec.adopt_destination and not spec.paused:
        after = switched(owner, applied.spec, applied.doors, service)
        yield ObjectChange("adopted", after, tuple(_fields(service, after)))


def _restored(adopted: Json, after: Json) -> ObjectChange:
    return ObjectChange("restored", after, tuple(_fields(adopted, after)))


def _fields(before: Json, after: Json) -> Iterator[ChangedField]:
    parts = {key: value for key, value in after.items() if key not in ("metadata", "status")}
    parts["metadata"] = {key: value for key, value in after["metadata"].items() if key not in _HIDDEN}
    for key, value in parts.items():
        yield from _differences(key, before.get(key), value)


def _removed(before: object, former: object, after: object, path: str = "") -> Iterator[ChangedField]:
    """The fields that were written (`former`), and are not any more: the API server removes them."""
    if isinstance(before, Mapping) and isinstance(former, Mapping) and isinstance(after, Mapping):
        for key, value in former.items():
            field = f"{path}.{key}" if path else key
            if key in after:
                yield from _removed(before.get(key), value, after[key], field)
            elif key in before and ".annotations.kanary" not in field:
                yield ChangedField(field, before[key], None)
    elif isinstance(before, list) and isinstance(former, list) and isinstance(after, list):
        # With another number of items, the list is a change as a whole.
        same = len(before) == len(former) == len(after)
        for index, items in enumerate(zip(before, former, after, strict=True) if same else ()):
            yield from _removed(*items, f"{path}[{index}]")


def _differences(path: str, before: object, after: object) -> Iterator[ChangedField]:
    """The fields of `after` that `before` does not have like that."""
    if covers(before, after) or ".annotations.kanary" in path:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**after, **(before if path.startswith("data") else {})}:
            yield from _differences(f"{path}.{key}", before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, pair in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{path}[{index}]", *pair)
    else:
        yield ChangedField(path, before, after)
