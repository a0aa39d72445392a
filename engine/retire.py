"""Which objects can be deleted or given back: a destination, configurations that no pod mounts, a budget."""

from collections.abc import Iterator

from engine.adopting import is_withdrawn
from engine.fleet.fleet import is_observed
from engine.observe import Observed
from engine.plan import Target
from engine.ports import ClusterView, Json
from engine.render.objects import BUDGET, CONFIG_ANNOTATION, Identity, owner_uid
from states import Delivery, Difference, Progress


def stale_objects(view: ClusterView, observed: Observed, target: Target, delivery: Delivery) -> tuple[Json, ...]:
    """An old destination when the current one serves; unmounted ConfigMaps and an unwanted budget at any time.

    Until the Deployment's controller has observed a change, it may still create pods of the previous template.
    """
    owner, before = observed.owner, observed.written.applied
    has_arrived = delivery.difference is Difference.NONE and delivery.progress is Progress.CURRENT
    kinds = (BUDGET[1], *("Service",) * has_arrived, *("ConfigMap",) * is_observed(observed.fleet.deployment))
    needed = {(planned.kind, planned.name) for planned in target.all_planned}
    mounted = observed.fleet.mounted | ({before.digest} if before else set())
    needed |= {("ConfigMap", owner.mounted_name(digest)) for digest in mounted}
    # Also one that was adopted and could not be any more: what it was may be no exact split.
    needed.add(("Service", target.applied.spec.destination))
    owned = [*view.owned_by(owner.namespace, owner.uid), *_budgets(view, observed)]
    unneeded = [obj for obj in owned if obj["kind"] in kinds and (obj["kind"], obj["metadata"]["name"]) not in needed]
    return tuple(obj for obj in owned if obj in unneeded or is_withdrawn(observed, obj))


def _budgets(view: ClusterView, observed: Observed) -> Iterator[Json]:
    """The PodDisruptionBudget of the proxies, if Kanary created one and can read it."""
    if observed.defaults.disruption_budgets:
        (api_version, kind), owner = BUDGET, observed.owner
        metadata = {"namespace": owner.namespace, "name": owner.proxy_name}
        budget = view.live({"apiVersion": api_version, "kind": kind, "metadata": metadata})
        if budget and owner_uid(budget) == owner.uid:
            yield budget


def is_needed(view: ClusterView, owner: Identity, stale: Json) -> bool:
    """Whether a stale object may still be mounted: a ReplicaSet replaces a lost pod.

    Sends a request to the API server. Raises RetryLaterError and RejectedError.
    """
    if stale["kind"] != "ConfigMap":
        return False
    templates = view.pod_templates(owner.namespace, owner.name)
    digests = ((t["metadata"].get("annotations") or {}).get(CONFIG_ANNOTATION) or "" for t in templates)
    return stale["metadata"]["name"] in {owner.mounted_name(digest) for digest in digests}
