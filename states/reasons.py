"""The reasons in `status.reason`, the conditions, the history and the Events. `catalogue.py` explains each."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a Kanary is in its phase."""

    # The spec cannot be applied.
    INVALID_SPEC = "InvalidSpec"
    INVALID_NAME = "InvalidName"
    INVALID_WEIGHTS = "InvalidWeights"
    NO_ROUTES = "NoRoutes"
    DUPLICATE_BACKEND = "DuplicateBackend"
    BACKEND_IS_DESTINATION = "BackendIsDestination"
    BACKEND_IS_EXTERNAL_NAME = "BackendIsExternalName"
    BACKEND_PORT_NOT_FOUND = "BackendPortNotFound"
    BACKEND_PORT_NOT_TCP = "BackendPortNotTCP"
    TOO_MANY_ENDPOINTS = "TooManyEndpoints"
    DESTINATION_EXISTS = "DestinationExists"
    DESTINATION_NOT_ADOPTABLE = "DestinationNotAdoptable"
    DESTINATION_PORT_IN_USE = "DestinationPortInUse"
    DESTINATION_TAKEN = "DestinationTaken"
    OBJECT_EXISTS = "ObjectExists"

    # The user has to provide something first.
    DESTINATION_RELEASING = "DestinationReleasing"
    BACKEND_NOT_FOUND = "BackendNotFound"
    ENDPOINTS_UNKNOWN = "EndpointsUnknown"
    WAITING_FOR_ENDPOINTS = "WaitingForEndpoints"
    PAUSED = "Paused"

    # Something failed or disappeared.
    NO_READY_ENDPOINTS = "NoReadyEndpoints"
    ROUTE_WITHOUT_ENDPOINTS = "RouteWithoutEndpoints"
    ROUTE_UNREACHABLE = "RouteUnreachable"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    REJECTED_BY_CLUSTER = "RejectedByCluster"
    REJECTED_BY_HAPROXY = "RejectedByHAProxy"
    PROXIES_EXHAUSTED = "ProxiesExhausted"

    # A rollout by steps.
    ROLLOUT_BEGUN = "RolloutBegun"
    STEP_STARTED = "StepStarted"
    STEP_WATCHED = "StepWatched"
    WAITING_FOR_PROMOTION = "WaitingForPromotion"
    WAITING_FOR_EVIDENCE = "WaitingForEvidence"
    WAITING_FOR_WEBHOOK = "WaitingForWebhook"
    INCONCLUSIVE = "Inconclusive"
    ROLLOUT_PAUSED = "RolloutPaused"
    ROLLOUT_RESUMED = "RolloutResumed"
    FROZEN = "Frozen"
    OUTSIDE_WINDOW = "OutsideWindow"
    VERDICT_FAILED = "VerdictFailed"
    CANARY_LOST = "CanaryLost"
    STEP_DEADLINE_EXCEEDED = "StepDeadlineExceeded"
    WEBHOOK_REFUSED = "WebhookRefused"
    ABORTED = "Aborted"
    ROLLED_BACK = "RolledBack"
    ROLLOUT_COMPLETED = "RolloutCompleted"

    # Progress and success.
    CONFIGURATION_CHANGED = "ConfigurationChanged"
    REPLACING_PROXIES = "ReplacingProxies"
    ROLLING_OUT = "RollingOut"
    SERVING = "Serving"


class EventReason(StrEnum):
    """The reasons that only Events have."""

    WEIGHTS_CHANGED = "WeightsChanged"
    POD_EJECTED = "PodEjected"
    REPLICAS_REVERTED = "ReplicasReverted"
    DESTINATION_REVERTED = "DestinationReverted"


class ConditionReason(StrEnum):
    """The reasons that only conditions have; HistoryRecorded also has those of faults of the database."""

    RECONCILE_FAILED = "ReconcileFailed"
    COPY_STALE = "CopyStale"
    RECORDED = "Recorded"
    ENTRIES_LOST = "EntriesLost"
    DISABLED = "Disabled"
