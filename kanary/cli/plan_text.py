"""The output of `kanary plan`: as text for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from difflib import unified_diff
from typing import TextIO

from engine.model.entries import Share
from engine.model.spec import weights_text
from engine.model.weight import weight_number
from engine.shares import Weights
from kanary.cli.cuts import NO_CUT, OpenConnections, cuts, refusals
from kanary.cli.diff import shortened, write_differing
from kanary.cli.failure import listed
from kanary.cli.forecast import ChangedField, Forecast, ObjectChange, PlannedStep
from kanary.cli.output import json_text
from kanary.cli.text import cut, write_table
from kanary.kube.resources import Json
from states import Reason
from states.texts import plain
from states.timing import duration_text

Plan = tuple[Forecast, OpenConnections]

_VALUE = 60  # columns


def write_plans(plans: Sequence[Plan], output: str, stream: TextIO) -> None:
    """Write the plans."""
    if output == "json":
        stream.write(json_text([_document(*each) for each in plans], stream, indent=2) + "\n")
        return
    for number, (planned, connections) in enumerate(plans):
        stream.write("\n" if number else "")
        _write(planned, connections, stream)


def _write(planned: Forecast, connections: OpenConnections, stream: TextIO) -> None:
    stream.write(plain(f"{planned.owner.namespace}/{planned.owner.name}: {_summary(planned)}") + "\n")
    if not planned.is_change:
        return
    for problem in planned.problems:
        stream.write(plain(f"{problem.reason}: {problem.message}") + "\n")
    stream.write("\n")
    rows = [
        (str(backend), _change(*declared), _change(*written))
        for backend, (declared, written) in planned.weights.items()
    ]
    write_table(("BACKEND", "DECLARED", "IN FORCE"), [rows], stream)
    if planned.steps:
        stream.write("\n")
        write_table(("STEP", "WEIGHTS", "TIME"), [map(_step_cells, planned.steps)], stream)
    if rollout := planned.rollout_text:
        stream.write(plain(rollout) + "\n")
    for heading, lines in (
        ("ENDPOINTS", _endpoint_lines(planned)),
        ("OBJECTS", [_object_line(each, planned.backends_without_pods) for each in planned.objects]),
        ("CONNECTIONS", _connection_lines(planned, connections)),
        ("CONFIGURATION", shortened(_configuration(planned))),
    ):
        if found := [*lines]:
            write_differing(["", heading, *found], stream)


def _summary(planned: Forecast) -> str:
    if planned.problems:
        return "the operator would not apply this spec"
    if not planned.is_change:
        return "no change"
    what = "a new Kanary" if planned.former_spec is None and planned.former.applied is None else "changes"
    if planned.status.reason == Reason.ROLLING_OUT:
        return what
    return f"{what}; {planned.status.phase} ({planned.status.reason}): {planned.status.message}"


def _change(before: Decimal | None, after: Decimal | None) -> str:
    old, new = ("none" if weight is None else str(weight) for weight in (before, after))
    return new if old == new else f"{old} -> {new}"


def _step_cells(step: PlannedStep) -> tuple[str, str, str]:
    time = [f"at least {duration_text(step.spec.time)}"] if step.spec.time else []
    promoted = ["until it is promoted"] if step.spec.until else []
    return f"{step.number} {step.spec.to}%", _weights(step.weights), ", ".join(time + promoted)


def _weights(weights: Weights) -> str:
    return weights_text(Share(backend=str(backend), weight=weight) for backend, weight in weights.items())


def _endpoint_lines(planned: Forecast) -> Iterator[str]:
    for backend, removed, added in planned.endpoints:
        yield backend
        yield from (f"- {each}" for each in removed)
        yield from (f"+ {each}" for each in added)


def _object_line(change: ObjectChange, without_pods: list[str]) -> str:
    name = f"{change.object['kind']} {change.object['metadata']['name']}"
    match change.action:
        case "created":
            return f"+ {name}"
        case "deleted":
            when = " when the proxies serve the change" if change.object["kind"] == "Service" else ""
            return f"- {name}{when}"
        case "adopted":
            missing = f"; none yet: {listed(without_pods)}" if without_pods else ""
            return (
                f"  {name} leads to the proxies when all of them serve and every route with a weight has ready "
                f"pods{missing}"
            )
        case "restored":
            return f"  {name} leads to its former pods again"
    return f"  {name}: {', '.join(map(_field_text, change.fields)) or 'metadata'}"


def _field_text(field: ChangedField) -> str:
    if field.path.startswith("data."):
        return field.path.removeprefix("data.")
    if isinstance(field.after, (dict, list)):
        return field.path
    old, new = ("none" if each is None else cut(plain(str(each)), _VALUE) for each in (field.before, field.after))
    return f"{field.path} {old} -> {new}"


def _connection_lines(planned: Forecast, connections: OpenConnections) -> Iterator[str]:
    reasons = [*cuts(planned)]
    if planned.former.applied is None:
        yield "0 are closed: there are no proxies yet"
    elif not reasons:
        yield f"0 are closed: {NO_CUT}" if planned.objects else "0 are closed"
    yield from reasons
    yield from refusals(planned)
    if connections.open is not None and planned.former.applied:
        yield f"open now: {connections.open}"
    elif connections.unread:
        yield f"open now: unknown, {connections.unread}"


def _configuration(planned: Forecast) -> list[str]:
    former, latest = planned.former.latest.splitlines(), planned.written.latest.splitlines()
    return [*unified_diff(former, latest, "haproxy.cfg now", "haproxy.cfg after", lineterm="")]


def _number(weight: Decimal | None) -> float | None:
    return None if weight is None else weight_number(weight)


def _document(planned: Forecast, connections: OpenConnections) -> Json:
    rollout = planned.status.rollout
    return {
        "namespace": planned.owner.namespace,
        "name": planned.owner.name,
        "change": planned.is_change,
        "problems": [{"reason": each.reason, "message": each.message} for each in planned.problems],
        "phase": planned.status.phase,
        "reason": planned.status.reason,
        "message": planned.status.message,
        "weights": [
            {
                "backend": str(backend),
                "declared": dict(zip(("from", "to"), map(_number, declared), strict=True)),
                "inForce": dict(zip(("from", "to"), map(_number, written), strict=True)),
            }
            for backend, (declared, written) in planned.weights.items()
        ],
        "rollout": {
            "number": rollout.number,
            "reason": rollout.reason,
            "message": rollout.message,
            "steps": [_step_document(each) for each in planned.steps],
        }
        if rollout and planned.steps
        else None,
        "endpoints": [
            {"backend": backend, "removed": removed, "added": added} for backend, removed, added in planned.endpoints
        ],
        "objects": [_object_document(each) for each in planned.objects],
        "connections": {
            "open": connections.open,
            "unknown": connections.unread or None,
            "mayClose": [*cuts(planned)],
            "refused": [*refusals(planned)],
        },
        "configuration": _configuration(planned),
    }


def _step_document(step: PlannedStep) -> Json:
    return {
        "step": step.number,
        "to": weight_number(step.spec.to),
        "weights": {str(backend): weight_number(weight) for backend, weight in step.weights.items()},
        "seconds": step.spec.time.total_seconds(),
        "until": step.spec.until,
    }


def _object_document(change: ObjectChange) -> Json:
    fields = [{"path": each.path, "from": each.before, "to": each.after} for each in change.fields]
    return {"action": change.action, "object": change.object, "fields": fields}
