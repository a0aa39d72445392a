"""Compares the target with the written configuration, and both with what the proxies serve."""

from dataclasses import replace
from datetime import timedelta

from engine.capacity import short_of_ports
from engine.fleet.former_processes import most_former, over_limit, processes_text
from engine.fleet.reach import unreached_routes
from engine.model.states import Applied
from engine.observe import Observed
from engine.plan import Target
from states import Delivery, Difference, UpdateStrategy


def delivery_of(observed: Observed, target: Target, *, is_applied: bool) -> Delivery:
    """The progress of the proxies with the target; `is_applied` says that every object of it is in the cluster."""
    fleet, before, after = observed.fleet, observed.written.applied, target.applied
    goal = target.goal
    is_other = before is not None and before is not after
    former = replace(goal, digest=before.digest, replicas=before.spec.proxy.replicas) if before and is_other else goal
    progress = fleet.progress(goal)
    is_live = after.strategy is UpdateStrategy.LIVE
    is_written = target.difference is Difference.NONE
    unreached = unreached_routes(fleet, after)
    limits = [fleet.next_limit(after.digest if is_live else None), *(route.left for route in unreached)]
    return Delivery(
        difference=target.difference,
        progress=progress,
        former=fleet.progress(former) if is_other else progress,
        replicas=after.spec.proxy.replicas,
        ready=fleet.ready(after.digest),
        is_applied=is_applied,
        others_listen_for=fleet.others_listen_for(after.digest),
        written_at=before.written_at if before else None,
        strategy=after.strategy,
        fallback=target.fallback,
        trouble=fleet.trouble(former.digest),
        waiting_for=fleet.waiting_for(after.digest),
        rejection=fleet.rejection(goal) if is_written else "",
        exhaustion=fleet.exhaustion(after.digest, after.spec.proxy.max_connections)
        or short_of_ports(after.spec, after.endpoints, observed.defaults.sysctls)
        or _short_of_memory(observed, after),
        reload_spacing=_reload_spacing(observed, before, after) if is_live and before else None,
        unreached=unreached,
        adopts=target.adopts,
        next_limit=min((limit for limit in limits if limit), default=None),
    )


def _reload_spacing(observed: Observed, before: Applied, after: Applied) -> timedelta | None:
    """Only if most of the serving pods stay: connections must not wait for pods that are gone."""
    spacing = observed.fleet.reload_spacing(before.written_at)
    if spacing is None or after is before:
        return spacing
    for backend, now in after.endpoints.items():
        former = before.endpoints.get(backend, ())
        if 2 * len({*former} & {*now}) < max(len(former), len(now)):
            return None
    return spacing


def _short_of_memory(observed: Observed, applied: Applied) -> str:
    """Said before a container is OOMKilled: to replace the proxies was not enough, or takes too long."""
    most = most_former(observed.defaults.settings_of(applied.spec).resources, applied.servers)
    proxy = over_limit(observed.fleet.proxies, most + most // 2)
    if proxy is None:
        return ""
    return (
        f"{processes_text(proxy, applied.servers)}, until their connections end: lower spec.proxy.drainSeconds, change "
        "settings less often, or raise spec.proxy.resources"
    )
