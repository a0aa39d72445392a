"""How far the proxies of one Kanary are with what they are to serve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from engine import asking, reports, rollout
from engine.model.api import KanarySpec
from engine.ports import ClusterView, Json
from engine.record import Record
from engine.render.objects import Identity, made_from
from engine.reports import Report
from engine.target import Target
from states import Rollout, UpdateStrategy


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies as observed at the moment `now`."""

    deployment: Json | None
    found: Sequence[Json]
    """Their pods, as the cluster has them."""
    pods: Sequence[Mapping[str, Any]]
    """The same, each marked with the configuration that it serves."""
    reports: Mapping[str, Report]
    now: datetime

    def ready(self, digest: str) -> int:
        """How many of them are ready with this configuration."""
        return rollout.ready_pods(self.pods, digest)


def observe(view: ClusterView, owner: Identity, now: datetime) -> Proxies:
    """Look at the proxies' pods, and ask those that have an agent."""
    pods = view.proxy_pods(owner.namespace, owner.name)
    asked = [pod for pod in pods if reports.can_be_asked(pod)]
    told = view.reports(asked) if asked else {}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": owner.namespace, "name": owner.proxy_name},
    }
    return Proxies(view.live(deployment), pods, reports.as_reported(pods, told), told, now)


def strategy_for(spec: KanarySpec, last: Record | None, proxies: Proxies) -> tuple[UpdateStrategy, str]:
    """How the proxies are to come by this spec; where not as it says, from now on, also why.

    Proxies that do not come to serve a configuration as they run are replaced, and so are they at each change of their
    endpoints from then on. The next change of the spec gives the way that it asks for another try.
    """
    if spec.update_strategy is UpdateStrategy.ROLLING:
        return UpdateStrategy.ROLLING, ""
    if last is None or last.spec != spec:
        return UpdateStrategy.LIVE, ""
    if last.strategy is UpdateStrategy.ROLLING:
        return UpdateStrategy.ROLLING, ""
    if not rollout.has_rolled_out(proxies.deployment, spec.proxy.replicas):
        return UpdateStrategy.LIVE, ""
    late = reports.overdue(proxies.pods, proxies.reports, last.digest, proxies.now)
    if not late:
        return UpdateStrategy.LIVE, ""
    silent = [name for name in late if name not in proxies.reports]
    how = "does not answer the operator" if silent else "has not come to serve it"
    limit = asking.REPORT_LIMIT.total_seconds()
    return UpdateStrategy.ROLLING, (
        f"pod {(silent or late)[0]} {how} {limit:.0f} s after it was asked for revision {last.revision} "
        "(spec.updateStrategy: Live)"
    )


def rollout_of(
    view: ClusterView, owner: Identity, target: Target, proxies: Proxies, *, last: Record | None, unreported: str
) -> Rollout:
    """How far the proxies are with the target; `last` is the record of what is applied now.

    `unreported` says why they are replaced from now on, where they are.
    """
    record, pods = target.record, proxies.pods
    replicas, digest = record.spec.proxy.replicas, record.digest
    has_arrived = last is not None and _has_arrived(last, proxies)
    trouble = rollout.trouble(proxies.deployment, pods, last.digest if last else "")
    trouble = trouble or reports.problem(proxies.reports, digest)
    others_listen_for = rollout.others_listen_for(pods, digest, proxies.now, record.strategy)
    is_live = record.strategy is UpdateStrategy.LIVE
    # What else is new does not wait for what came before.
    before = last if last and not target.is_configured and _differs_in_endpoints_only(last, record) else None
    return Rollout(
        replicas=replicas,
        ready=proxies.ready(digest),
        is_configured=target.is_configured,
        is_applied=all(made_from(view.live(desired), desired) for desired in target.all_objects),
        is_complete=target.is_configured and others_listen_for is None and _is_complete(view, owner, target, proxies),
        others_listen_for=others_listen_for,
        has_arrived=has_arrived,
        is_taken=has_arrived or (last is not None and _is_taken_live(last, proxies)),
        # Proxies that take a configuration as they run need not get ready with one before they take the next.
        is_settling=before is not None
        and not is_live
        and not has_arrived
        and rollout.is_settling(before.written_at, proxies.now, bool(trouble)),
        trouble=trouble,
        strategy=record.strategy,
        look_again=_look_again(target, proxies) if is_live else None,
        unreported=unreported,
        refusal=reports.refusal(proxies.reports, digest) if target.is_configured else "",
        exhaustion=_exhaustion(record, proxies),
        reload_spacing=_reload_spacing(record, before, proxies) if is_live and before else None,
    )


def _differs_in_endpoints_only(last: Record, record: Record) -> bool:
    return (last.spec, last.strategy, last.ipv6) == (record.spec, record.strategy, record.ipv6)


def _is_complete(view: ClusterView, owner: Identity, target: Target, proxies: Proxies) -> bool:
    spec = target.record.spec
    return (
        made_from(proxies.deployment, target.deployment)
        and made_from(view.live(target.service), target.service)
        and rollout.has_rolled_out(proxies.deployment, spec.proxy.replicas)
        and proxies.ready(target.record.digest) >= spec.proxy.replicas
        and rollout.ready_endpoints(view.slices(owner.namespace, spec.destination)) >= spec.proxy.replicas
    )


def _has_arrived(last: Record, proxies: Proxies) -> bool:
    replicas = last.spec.proxy.replicas
    return (
        rollout.has_rolled_out(proxies.deployment, replicas)
        and proxies.ready(last.digest) >= replicas
        and rollout.others_listen_for(proxies.pods, last.digest, proxies.now, last.strategy) is None
    )


def _is_taken_live(last: Record, proxies: Proxies) -> bool:
    """Proxies that run take it, though others that are to replace them, such as of another image, may not start."""
    return (
        last.strategy is UpdateStrategy.LIVE
        and proxies.ready(last.digest) > 0
        and not reports.unreported(proxies.pods, last.digest)
        and rollout.others_listen_for(proxies.pods, last.digest, proxies.now, last.strategy) is None
    )


def _look_again(target: Target, proxies: Proxies) -> timedelta:
    """Often while a proxy is about to serve the target, now and then when there is nothing to expect."""
    digest, now = target.record.digest, proxies.now
    awaited = reports.unreported(proxies.pods, digest) if target.is_configured else []
    if not awaited:
        return reports.LOOK_INTERVAL
    is_due = any(asking.is_in_time(pod, digest, now) for pod in awaited)
    return reports.ASK_INTERVAL if is_due and not reports.refusal(proxies.reports, digest) else asking.REFRESH_INTERVAL


def _exhaustion(record: Record, proxies: Proxies) -> str:
    short = reports.short_of_connections(proxies.reports, record.digest, record.spec.proxy.max_connections)
    return rollout.out_of_memory(proxies.pods, proxies.now) or short


def _reload_spacing(record: Record, last: Record, proxies: Proxies) -> timedelta | None:
    """Only where most of what serves now goes on serving: those are not to wait who have nobody else."""
    for before, after in zip(last.endpoints, record.endpoints, strict=False):
        if 2 * len({*before} & {*after}) < max(len(before), len(after)):
            return None
    return reports.reload_spacing(proxies.reports, last.written_at, proxies.now)
