"""What the agents beside running proxies report, and what follows from it for the proxies' pods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from engine import asking
from engine.podstate import annotations, is_ready, is_to_run, pod_address
from engine.render.objects import CONFIG_ANNOTATION, REFRESH_ANNOTATION, STRATEGY_ANNOTATION
from states import UpdateStrategy

Json = Mapping[str, Any]

ASK_INTERVAL = timedelta(seconds=0.2)
"""How often proxies that are about to serve a new configuration are asked whether they do."""
LOOK_INTERVAL = timedelta(seconds=30)
"""How often proxies that serve what they should are asked how they are."""
SPACING_PER_PROCESS = timedelta(seconds=0.25)
SPACING_LIMIT = timedelta(seconds=5)

_MAX_TEXT = 400


@dataclass(frozen=True, slots=True)
class Report:
    """What one proxy says of itself; times and sizes are counts of connections and processes."""

    digest: str
    """The configuration that it serves; empty while HAProxy does not answer."""
    refused_digest: str = ""
    """The configuration that HAProxy refuses to serve, where there is one."""
    refusal: str = ""
    """HAProxy's own words about that."""
    draining: int = 0
    """HAProxy processes that only serve connections from before a reload."""
    connections: int = 0
    max_connections: int = 0
    """How many connections it can hold at once, whatever it was told."""
    problem: str = ""
    """What else keeps it from serving what is mounted."""


def read_report(raw: object) -> Report:
    """A report from the agent's JSON. Raises ValueError for anything that is none."""
    if not isinstance(raw, Mapping):
        raise ValueError("a report is an object")  # noqa: TRY004  to the caller one kind of nonsense is as another
    refused = raw.get("refused") or {}
    if not isinstance(refused, Mapping):
        raise ValueError("refused is no object")  # noqa: TRY004  as above
    return Report(
        digest=_text(raw.get("digest")),
        refused_digest=_text(refused.get("digest")),
        refusal=_text(refused.get("message")),
        draining=_count(raw.get("draining")),
        connections=_count(raw.get("connections")),
        max_connections=_count(raw.get("maxConnections")),
        problem=_text(raw.get("problem")),
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # noqa: TRY004  as above
    return " ".join(value.split())[:_MAX_TEXT]


def _count(value: object) -> int:
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def takes_live(pod: Json) -> bool:
    """Whether the pod has an agent that takes configurations as the proxy runs."""
    return annotations(pod).get(STRATEGY_ANNOTATION) == UpdateStrategy.LIVE.value


def can_be_asked(pod: Json) -> bool:
    """Whether there is, or may soon be, an agent to ask. One that is to stop has ended already."""
    return takes_live(pod) and bool(pod_address(pod)) and is_to_run(pod)


def as_reported(pods: Sequence[Json], reports: Mapping[str, Report]) -> list[Json]:
    """The pods, each marked with the configuration that it now reports to serve.

    Where one does not answer, what was noted on it last stands: what a proxy serves changes only with what it mounts,
    and it is not taken for stopped because it was not heard.
    """
    return [_marked(pod, reports.get(pod["metadata"]["name"])) for pod in pods]


def _marked(pod: Json, report: Report | None) -> Json:
    if report is None or not takes_live(pod):
        return pod
    marked = {**annotations(pod), CONFIG_ANNOTATION: report.digest}
    return {**pod, "metadata": {**pod["metadata"], "annotations": marked}}


def refreshes(
    pods: Sequence[dict[str, Any]], reports: Mapping[str, Report], digest: str, now: datetime
) -> tuple[tuple[dict[str, Any], dict[str, str]], ...]:
    """The annotations to set on pods (given as the cluster has them): what they serve, or that they want what is new.

    A kubelet looks at a pod's volumes at once when the pod changes, whatever the change; otherwise once in a minute.
    """
    found = ((pod, _refresh(pod, reports.get(pod["metadata"]["name"]), digest, now)) for pod in pods)
    return tuple((pod, wanted) for pod, wanted in found if wanted.items() - annotations(pod).items())


def _refresh(pod: Json, report: Report | None, digest: str, now: datetime) -> dict[str, str]:
    if not can_be_asked(pod):
        return {}
    if report and report.digest == digest:
        return {CONFIG_ANNOTATION: digest}
    has_it = report.refused_digest == digest if report else annotations(pod).get(CONFIG_ANNOTATION) == digest
    return {} if has_it else {REFRESH_ANNOTATION: asking.request(pod, digest, now)}


def unreported(pods: Sequence[Json], digest: str) -> list[Json]:
    """The ready pods with an agent that do not serve this configuration, of those from `as_reported`."""
    return [
        pod for pod in pods if can_be_asked(pod) and is_ready(pod) and annotations(pod).get(CONFIG_ANNOTATION) != digest
    ]


def overdue(pods: Sequence[Json], reports: Mapping[str, Report], digest: str, now: datetime) -> list[str]:
    """The names of the pods that have not come to serve this configuration in time.

    One whose HAProxy refuses it is not among them: another one would refuse it too.
    """
    refusing = {name for name, report in reports.items() if report.refused_digest == digest}
    late = {pod["metadata"]["name"] for pod in unreported(pods, digest) if asking.is_late(pod, digest, now)}
    return sorted(late - refusing)


def refusal(reports: Mapping[str, Report], digest: str) -> str:
    """What HAProxy says of this configuration, where a proxy reports that it refuses it."""
    told = sorted((n, r.refusal) for n, r in reports.items() if r.refused_digest == digest and r.digest != digest)
    return next((f"HAProxy of pod {name} refuses the configuration: {text}" for name, text in told), "")


def problem(reports: Mapping[str, Report], digest: str) -> str:
    """What else keeps a proxy from serving this configuration."""
    told = sorted((name, r.problem) for name, r in reports.items() if r.problem and r.digest != digest)
    return next((f"pod {name}: {text}" for name, text in told), "")


def short_of_connections(reports: Mapping[str, Report], digest: str, asked: int | None) -> str:
    """Which proxy has no room for more connections, or cannot have as much as was asked for; empty if none."""
    for name, report in sorted(reports.items()):
        if report.digest != digest or not report.max_connections:
            continue
        if report.max_connections < (asked or 0):
            return (
                f"pod {name} can hold {report.max_connections} connections of the {asked} of spec.proxy.maxConnections,"
                " since its container may not open more files: raise that limit on the node, or lower "
                "spec.proxy.maxConnections and raise spec.proxy.replicas"
            )
        if report.connections >= report.max_connections:
            return (
                f"pod {name} holds {report.connections} connections, all that it can, and new ones wait: raise "
                "spec.proxy.maxConnections, where its container may open more files, or spec.proxy.replicas"
            )
    return ""


def reload_spacing(reports: Mapping[str, Report], written_at: datetime, now: datetime) -> timedelta | None:
    """How much longer to leave proxies without another reload, by how many processes they still drain."""
    draining = max((report.draining for report in reports.values()), default=0)
    waited = now - written_at
    left = min(draining * SPACING_PER_PROCESS, SPACING_LIMIT) - waited
    # What was written in the future was written by another clock, which may be far ahead.
    return left if waited >= timedelta() and left > timedelta() else None
