"""What becomes of a Kanary that is not Ready, by the reason of its phase: the conditions Reconciling and Stalled.

Pipelines and GitOps controllers read them as kstatus defines them
(https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md): a Stalled object has failed, and they
stop waiting for it. So a reason that another object of the same pipeline may end, such as a Service that is created
a moment later, is Reconciling.
"""

from collections.abc import Mapping
from enum import Enum

from states.reasons import Reason


class Outlook(Enum):
    """Which of the two conditions is True."""

    RECONCILING = "Reconciling"
    """Kanary continues by itself, or as soon as Services or pods are there."""
    STALLED = "Stalled"
    """Nothing continues until a person changes something."""
    HELD = ""
    """Neither: a person has stopped it on purpose, and decides when it continues."""


OUTLOOKS: Mapping[Reason, Outlook] = {
    **dict.fromkeys(
        (
            Reason.DESTINATION_RELEASING,
            Reason.BACKEND_NOT_FOUND,
            Reason.ENDPOINTS_UNKNOWN,
            Reason.WAITING_FOR_ENDPOINTS,
            Reason.NO_READY_ENDPOINTS,
            Reason.ROUTE_WITHOUT_ENDPOINTS,
            Reason.ROUTE_UNREACHABLE,
            Reason.PROXIES_EXHAUSTED,
            Reason.ROLLOUT_BEGUN,
            Reason.STEP_STARTED,
            Reason.STEP_WATCHED,
            Reason.WAITING_FOR_EVIDENCE,
            Reason.WAITING_FOR_WEBHOOK,
            Reason.ROLLOUT_RESUMED,
            Reason.OUTSIDE_WINDOW,
            Reason.ROLLOUT_COMPLETED,
            Reason.CONFIGURATION_CHANGED,
            Reason.REPLACING_PROXIES,
            Reason.ROLLING_OUT,
            Reason.SERVING,
        ),
        Outlook.RECONCILING,
    ),
    **dict.fromkeys(
        (
            Reason.INVALID_SPEC,
            Reason.INVALID_NAME,
            Reason.INVALID_WEIGHTS,
            Reason.NO_ROUTES,
            Reason.DUPLICATE_BACKEND,
            Reason.BACKEND_IS_DESTINATION,
            Reason.BACKEND_IS_EXTERNAL_NAME,
            Reason.BACKEND_PORT_NOT_FOUND,
            Reason.BACKEND_PORT_NOT_TCP,
            Reason.TOO_MANY_ENDPOINTS,
            Reason.DESTINATION_EXISTS,
            Reason.DESTINATION_NOT_ADOPTABLE,
            Reason.DESTINATION_PORT_IN_USE,
            Reason.DESTINATION_TAKEN,
            Reason.OBJECT_EXISTS,
            Reason.PROGRESS_DEADLINE_EXCEEDED,
            Reason.REJECTED_BY_CLUSTER,
            Reason.REJECTED_BY_HAPROXY,
            Reason.INCONCLUSIVE,
            Reason.VERDICT_FAILED,
            Reason.CANARY_LOST,
            Reason.STEP_DEADLINE_EXCEEDED,
            Reason.WEBHOOK_REFUSED,
            Reason.ABORTED,
            Reason.ROLLED_BACK,
        ),
        Outlook.STALLED,
    ),
    **dict.fromkeys(
        (Reason.PAUSED, Reason.WAITING_FOR_PROMOTION, Reason.ROLLOUT_PAUSED, Reason.FROZEN),
        Outlook.HELD,
    ),
}
