"""What it means when the operator cannot be asked: how it was tried, what is in the way, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from kanary.history.answers import Refusal
from kanary.history.problems import HistoryError, Problem, Reason
from kanary.history.selection import BadCursorError
from kanary.kube.errors import ApiError, ClusterError, Forbidden, NotFound, Unauthorized

ROLE = "kanary-viewer"

_LONGEST = 500  # characters of what somebody else says
_UNAVAILABLE = 503
_OTHER_VERSION = "use the kanary of the operator's version"


@dataclass(frozen=True)
class Failures:
    """Makes the errors of one `HttpSource`."""

    host: str
    namespace: str
    service: str

    def told(self, error: ClusterError) -> HistoryError | BadCursorError:
        """The error for a failed call: by the operator's own reason where it answered, else by the API server's."""
        if not isinstance(error, ApiError):
            return self._away(str(error))
        if error.reason == Refusal.BAD_CURSOR:
            return BadCursorError(error.message)
        if error.reason in set(Reason):
            said = f"the operator cannot read the history: {error.message}"
            return HistoryError(Problem(Reason(error.reason), said))
        if error.reason == Refusal.BAD_PARAMETER:
            return HistoryError(Problem(Reason.REFUSED, f"the operator refuses what was asked: {error.message}"))
        return self._away(*self._way_out(error))

    def garbled(self, expected: str) -> HistoryError:
        """The error for an answer that is something else."""
        return self._away(f"it answers with another {expected} than this program knows", _OTHER_VERSION)

    def _way_out(self, error: ApiError) -> tuple[str, str]:
        pods = f"see kubectl -n {self.namespace} get pods"
        match error:
            case _ if error.reason == Refusal.BUSY:
                return error.message, ""
            case Unauthorized():
                return f"the API server does not take your credentials: {error}", "log in again"
            case Forbidden():
                return f"you may not: {error}", f"have the ClusterRole {ROLE} bound to you"
            case NotFound() if error.reason != "NotFound":
                # In the operator's words, or in those of what else answers there.
                return f"it serves no such history: {error}", _OTHER_VERSION
            case NotFound():
                return f"there is none: {error}", "install the operator, or name the namespace that it is in"
        unavailable = error.status == _UNAVAILABLE
        return f"none of its pods takes connections: {error}" if unavailable else str(error), pods

    def _away(self, what: str, way_out: str = "") -> HistoryError:
        tried = f"asked for Service {self.service} in namespace {self.namespace} through the API server at {self.host}"
        what = " ".join(what.split())
        what = what if len(what) <= _LONGEST else f"{what[: _LONGEST - 1]}…"
        ways = "; ".join(filter(None, (way_out, "or read the database itself: --db URL")))
        return HistoryError(Problem(Reason.UNAVAILABLE, f"no history from the operator ({tried}): {what}; {ways}"))
