"""One HAProxy pod as a value, read from its object and from its own report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from engine.fleet.reports import Report
from engine.fleet.sent import Sent
from engine.model.times import read_time
from engine.render.objects import CONFIG_ANNOTATION, STRATEGY_ANNOTATION, TEMPLATE_ANNOTATION
from states import UpdateStrategy
from states.texts import harmless
from states.timing import ENDPOINTS_SETTLE, LISTEN_MARGIN, left

Json = Mapping[str, Any]

_HARMLESS = ("ContainerCreating", "PodInitializing")


@dataclass(frozen=True, slots=True)
class Proxy:
    """The state of one HAProxy pod."""

    name: str
    uid: str
    """Of the pod."""
    node: str
    address: str
    """Address of the pod; empty while it has none."""
    strategy: UpdateStrategy
    """How it receives a new configuration."""
    template: str
    """Hash of its pod template without the configuration (see `engine.render.pods`)."""
    serves: str
    """Digest of the configuration that it serves; empty if unknown."""
    is_ready: bool
    has_ended: bool
    """No container of the pod runs any more: an evicted pod stays in the cluster, as Failed."""
    stopping_since: datetime | None
    """When its termination began; it may still serve."""
    report: Report | None
    """The report of its agent, if there is one."""
    sent: Sent | None
    """The configuration that this process is sending to its agent."""
    trouble: str
    """What keeps it from becoming ready, as the cluster reports it."""
    out_of_memory: tuple[str, datetime] | None
    """The container that was OOMKilled last, and when. Without a report, that is a time of the node's clock."""

    @property
    def is_live(self) -> bool:
        """Whether an agent loads configurations into it without a restart."""
        return self.strategy is UpdateStrategy.LIVE

    @property
    def is_to_run(self) -> bool:
        """Whether it runs or starts, and is not stopping."""
        return self.stopping_since is None and not self.has_ended

    @property
    def has_reachable_agent(self) -> bool:
        """Whether an agent can be requested to report."""
        return self.is_live and bool(self.address) and self.is_to_run

    def listens_for(self, now: datetime) -> timedelta | None:
        """How much longer it accepts new connections; None without a limit.

        A stopping proxy keeps listening, because nodes learn about the stop late.
        """
        if self.has_ended:
            return timedelta()
        if self.stopping_since is not None:
            return left(ENDPOINTS_SETTLE + LISTEN_MARGIN, self.stopping_since, now)
        return None if self.is_ready else timedelta()


def has_agent(pod: Json) -> bool:
    """Whether a pod has an agent."""
    return bool(_annotations(pod).get(STRATEGY_ANNOTATION) == UpdateStrategy.LIVE.value)


def read_proxy(pod: Json, report: Report | None, sent: Sent | None = None) -> Proxy:
    """The proxy of a pod object, with its last report and what is being sent to it."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    annotations, is_live = _annotations(pod), has_agent(pod)
    is_ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in _conditions(pod))
    report = report if is_live else None
    return Proxy(
        name=metadata["name"],
        uid=metadata.get("uid") or "",
        node=(pod.get("spec") or {}).get("nodeName") or "",
        address=status.get("podIP") or "",
        strategy=UpdateStrategy.LIVE if is_live else UpdateStrategy.ROLLING,
        template=annotations.get(TEMPLATE_ANNOTATION) or "",
        serves=(report.digest if report else "") if is_live else annotations.get(CONFIG_ANNOTATION) or "",
        is_ready=is_ready,
        has_ended=status.get("phase") in ("Failed", "Succeeded"),
        stopping_since=_stopping_since(metadata),
        report=report,
        sent=sent,
        trouble="" if is_ready else harmless(_trouble(pod)),
        out_of_memory=_out_of_memory(status, report.clock_error if report else timedelta()),
    )


def _annotations(pod: Json) -> Json:
    return pod["metadata"].get("annotations") or {}


def _conditions(pod: Json) -> Sequence[Json]:
    return (pod.get("status") or {}).get("conditions") or ()


def _stopping_since(metadata: Json) -> datetime | None:
    """The start of the termination: metadata.deletionTimestamp, in whole seconds, minus the grace period."""
    killed_at = read_time(metadata.get("deletionTimestamp"))
    return killed_at and killed_at - timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)


def _trouble(pod: Json) -> str:
    name = pod["metadata"]["name"]
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting and waiting.get("reason") not in _HARMLESS:
            text = f"pod {name}: {waiting.get('reason')}: {waiting.get('message', '')}".rstrip(": ")
            return text + _last_end(container)
    for condition in _conditions(pod):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"pod {name}: {condition.get('reason')}: {condition.get('message', '')}".rstrip(": ")
    return ""


def _last_end(container: Json) -> str:
    """How the container ended last, with the end of its log if the cluster keeps it."""
    ended = _ended(container)
    if ended.get("exitCode") is None:
        return ""
    reason = f", {ended['reason']}" if ended.get("reason") not in (None, "Error", "Completed") else ""
    log = f": {_alert(ended['message'])}" if ended.get("message") else ""
    return f" (its last exit code was {ended['exitCode']}{reason}{log})"


def _ended(container: Json) -> Json:
    return (container.get("lastState") or {}).get("terminated") or {}


def _alert(log: str) -> str:
    """The line of the log that says why HAProxy did not start; otherwise the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()] or [""]
    return next((line for line in lines if line.startswith("[ALERT]")), lines[-1])[:300]


def _out_of_memory(status: Json, clock_error: timedelta) -> tuple[str, datetime] | None:
    """`clock_error` is how far the clock of the node is ahead."""
    for container in status.get("containerStatuses") or ():
        ended = _ended(container)
        finished_at = read_time(ended.get("finishedAt"))
        if ended.get("reason") == "OOMKilled" and finished_at:
            return harmless(container.get("name")), finished_at - clock_error
    return None
