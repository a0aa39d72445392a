"""The fields of changes and transitions, for programs. What is here is documented and stays as it is."""

from __future__ import annotations

from typing import Any

from kanary.commands.times import utc_text
from kanary.history.model import KnownKanary, RecordedChange, RecordedTransition

Json = dict[str, Any]

CHANGE_COLUMNS = (
    "namespace", "name", "uid", "deletedAt", "revision", "at", "generation", "before", "after", "cause", "manager",
    "result", "resultAt", "seconds", "configHash",
)  # fmt: skip
"""Of a change in CSV, in this order; the weights are written as `myapp-v1=80 myapp-v2=20`."""
TRANSITION_COLUMNS = (
    "namespace", "name", "uid", "deletedAt", "number", "at", "from", "to", "trigger", "reason", "message",
)  # fmt: skip
"""Of a transition in CSV, in this order."""


def weights_of(found: RecordedChange) -> str:
    """The weights after a change, on one line."""
    return " ".join(f"{route.backend}={route.weight}" for route in found.change.after)


def change_fields(found: RecordedChange) -> Json:
    """A change as JSON and YAML have it. What is not known is null: `result` is, while the change is in progress."""
    change, outcome = found.change, found.outcome
    return {
        **_owner_fields(found.kanary),
        "revision": change.revision,
        "at": utc_text(change.at),
        "generation": change.generation,
        "before": [{"backend": weight.backend, "weight": weight.weight} for weight in change.before],
        "after": [
            {
                "backend": route.backend,
                "serviceName": route.service_name,
                "servicePort": route.service_port,
                "weight": route.weight,
            }
            for route in change.after
        ],
        "cause": change.cause,
        "manager": change.manager,
        "result": outcome.result.value if outcome else None,
        "resultAt": utc_text(outcome.at) if outcome else None,
        "seconds": outcome.seconds if outcome else None,
        "configHash": change.config_hash,
        "endpoints": [list(route) for route in change.endpoints],
    }


def transition_fields(found: RecordedTransition) -> Json:
    """A transition as JSON and YAML have it."""
    move = found.transition
    return {
        **_owner_fields(found.kanary),
        "number": move.number,
        "at": utc_text(move.at),
        "from": move.source,
        "to": move.destination,
        "trigger": move.trigger,
        "reason": move.reason,
        "message": move.message,
    }


def flat(fields: Json) -> Json:
    """The same for CSV: weights on one line, and nothing where nothing is known."""
    return {key: _flat(value) for key, value in fields.items()}


def _flat(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(f"{entry['backend']}={entry['weight']}" for entry in value if isinstance(entry, dict))
    return "" if value is None else value


def _owner_fields(kanary: KnownKanary) -> Json:
    return {
        "namespace": kanary.namespace,
        "name": kanary.name,
        "uid": kanary.uid,
        "deletedAt": utc_text(kanary.deleted_at) if kanary.deleted_at else None,
    }
