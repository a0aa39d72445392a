"""Reads the status that the last reconcile wrote, even if it is damaged."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from engine.model.bounds import is_plausible
from engine.model.states import Split
from engine.model.status import KanaryStatus
from states import Phase, Problem, Reason

MOST_STATUSES = 100
_REJECTIONS = (Reason.REJECTED_BY_CLUSTER, Reason.OBJECT_EXISTS)


def read_status(kanary: Mapping[str, Any]) -> KanaryStatus:
    """The status of a Kanary, without invalid fields, which the next write replaces."""
    raw = kanary.get("status")
    if not isinstance(raw, Mapping):
        return KanaryStatus()
    raw = {key: value for key, value in raw.items() if _is_plausible(key, value)}
    try:
        return _validated(raw)
    except ValidationError as error:
        bad = {detail["loc"][0] for detail in error.errors(include_url=False)}
        return _validated({key: value for key, value in raw.items() if key not in bad})


class LastStatuses:
    """Reads statuses, and keeps those that were read last. Several threads may use it.

    Read, a status takes as much memory as everything else in a memo, and is needed twice in a second.
    """

    def __init__(self) -> None:
        self._read: OrderedDict[int, KanaryStatus] = OrderedDict()

    def of(self, kanary: Mapping[str, Any]) -> KanaryStatus:
        """As `read_status`."""
        # Objects of the cluster's cache have an id of their content (see `Memo`).
        content_id: int | None = getattr(kanary, "content_id", None)
        if content_id is None:
            return read_status(kanary)
        status = self._read.pop(content_id, None) or read_status(kanary)
        self._read[content_id] = status
        while len(self._read) > MOST_STATUSES:
            self._read.popitem(last=False)
        return status


def _is_plausible(key: str, value: Any) -> bool:
    # Entries are read, and left out, one by one.
    if key == "history" and isinstance(value, Mapping):
        value = {name: each for name, each in value.items() if name != "entries"}
    return is_plausible(value, key)


def _validated(raw: Mapping[str, Any]) -> KanaryStatus:
    # By alias only: with two names for a field, an invalid value could be looked up under the other name.
    return KanaryStatus.model_validate(raw, by_alias=True, by_name=False)


def read_phase(status: KanaryStatus) -> Phase:
    """The phase of a status; Pending if this version does not support the value."""
    try:
        return Phase(status.phase)
    except ValueError:
        return Phase.PENDING


def last_rejection(status: KanaryStatus) -> Problem | None:
    """The rejection by the API server in the last reconcile."""
    reason = next((reason for reason in _REJECTIONS if reason.value == status.reason), None)
    return Problem(reason, status.message) if reason else None


def contains(kanary: Mapping[str, Any], split: Split | None) -> bool:
    """Whether this new split is in the status now."""
    if split is None or split.is_in_status:
        return False
    noted = read_status(kanary).split
    return noted is not None and noted.revision == split.revision
