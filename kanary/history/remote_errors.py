"""What it means when the operator does not answer: how it was tried, what is in the way, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from kanary.history.faults import FaultReason, HistoryError
from kanary.history.selection import BadCursorError
from kanary.history.wire import Refusal, Refused
from kanary.kube.errors import Forbidden, NotForwarded, Unauthorized

ROLE = "kanary-viewer"

_LONGEST = 500  # characters of a message that comes from elsewhere
_OTHER_VERSION = "use the kanary of the operator's version"


@dataclass(frozen=True)
class NoAnswer:
    """Makes the errors of one `HttpSource`."""

    host: str
    namespace: str

    def refused(self, refused: Refused) -> HistoryError | BadCursorError:
        """The operator answered that it cannot, or will not."""
        if refused.reason == Refusal.BAD_CURSOR:
            return BadCursorError(refused.message)
        if refused.reason == Refusal.BAD_PARAMETER:
            return HistoryError(FaultReason.REFUSED, f"the operator refuses the request: {refused.message}")
        if refused.reason == Refusal.UNKNOWN_PATH:
            return self._error("it does not serve this part of the history", _OTHER_VERSION)
        known = refused.reason in set(FaultReason)
        reason = FaultReason(refused.reason) if known else FaultReason.UNAVAILABLE
        return HistoryError(reason, f"the operator cannot read the history: {refused.message}")

    def of_another_version(self, expected: str) -> HistoryError:
        """The answer is something else than was expected."""
        return self._error(f"its answer is no {expected} that this version can read", _OTHER_VERSION)

    def without_pods(self) -> HistoryError:
        """There is no operator."""
        return self._error(
            "it has no pods", "install the operator, or name the namespace that it is in: --operator-namespace"
        )

    def without_ready_pods(self, count: int) -> HistoryError:
        """There is no operator that is ready."""
        return self._error(f"0 of {count} pods are ready", f"see kubectl -n {self.namespace} get pods")

    def because(self, error: Exception) -> HistoryError:
        """The connection was not made, or broke."""
        match error:
            case Unauthorized():
                return self._error(f"the API server rejects your credentials: {error}", "log in again")
            case Forbidden():
                way_out = f"ask for the Role {ROLE} in namespace {self.namespace}"
                return self._error(f"permission denied: {error}", way_out)
            case NotForwarded():
                return self._error(
                    f"it does not take connections: {error}", f"see kubectl -n {self.namespace} logs deployment/kanary"
                )
        return self._error(str(error) or type(error).__name__, f"see kubectl -n {self.namespace} get pods")

    def _error(self, what: str, way_out: str) -> HistoryError:
        what = " ".join(what.split())
        what = what if len(what) <= _LONGEST else f"{what[: _LONGEST - 1]}…"
        message = (
            f"no history from the operator in namespace {self.namespace} of the cluster at {self.host}: {what}; "
            f"{way_out}; or read the database itself: --db URL"
        )
        return HistoryError(FaultReason.UNAVAILABLE, message)
