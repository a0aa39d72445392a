"""The log of the transitions: one line for each entry of the history, with the names that its fields have there."""

import logging

from engine.model.entries import ChangeResult, Entry, PhaseChange, RolloutChange, WeightChange, entry_json
from engine.model.spec import weights_text
from engine.model.status import KanaryStatus
from kanary.kube.resources import Key
from kanary.operator.logs import fields
from states import Phase
from states.rollouts import RolloutTrigger

_log = logging.getLogger(__name__)


def log_entry(key: Key, entry: Entry, status: KanaryStatus) -> None:
    """Log an entry, with the phase of the status that has it."""
    text, is_bad = _text(entry)
    document = {"message": text, **entry_json(entry), "phase": status.phase}
    level = logging.WARNING if is_bad else logging.INFO
    _log.log(level, "%s: %s", key, text, extra=fields(**document))


def log_reason(key: Key, phase: str, reason: str, message: str, is_warning: bool) -> None:
    """Log another reason of the same phase, which is no entry of the history."""
    level = logging.WARNING if is_warning else logging.INFO
    document = {"kind": "ReasonChange", "phase": phase, "reason": reason, "message": message}
    _log.log(level, "%s: %s (%s): %s", key, phase, reason, message, extra=fields(**document))


def _text(entry: Entry) -> tuple[str, bool]:
    """The entry in a sentence, and whether it is a warning."""
    match entry:
        case PhaseChange():
            text = f"{entry.source or 'new'} -> {entry.to} ({entry.reason}): {entry.message}"
            return text, entry.to == Phase.DEGRADED
        case RolloutChange():
            text = f"rollout {entry.rollout} {entry.source} -> {entry.to} ({entry.reason}): {entry.message}"
            return text, entry.trigger in (RolloutTrigger.FAIL, RolloutTrigger.RESTORE)
        case WeightChange():
            before, after = weights_text(entry.before) or "none", weights_text(entry.after)
            return f"revision {entry.revision}: weights change from {before} to {after}: {entry.cause}", False
        case ChangeResult():
            return f"revision {entry.revision}: {entry.result} after {entry.seconds} s", False
    return f"{entry.kind} {entry.number}", False
