"""The fixed words that explain a phase: `status.reason`, the conditions' reasons and the events' reasons."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a Kanary is in its phase."""

    # The spec cannot be obeyed as it stands.
    INVALID_SPEC = "InvalidSpec"
    INVALID_NAME = "InvalidName"
    INVALID_WEIGHTS = "InvalidWeights"
    NO_ROUTES = "NoRoutes"
    DUPLICATE_BACKEND = "DuplicateBackend"
    BACKEND_IS_DESTINATION = "BackendIsDestination"
    BACKEND_IS_EXTERNAL_NAME = "BackendIsExternalName"
    BACKEND_PORT_NOT_FOUND = "BackendPortNotFound"
    BACKEND_PORT_NOT_TCP = "BackendPortNotTCP"
    DESTINATION_EXISTS = "DestinationExists"
    DESTINATION_TAKEN = "DestinationTaken"
    OBJECT_EXISTS = "ObjectExists"

    # Something that the user has yet to provide.
    DESTINATION_RELEASING = "DestinationReleasing"
    BACKEND_NOT_FOUND = "BackendNotFound"
    WAITING_FOR_ENDPOINTS = "WaitingForEndpoints"
    PAUSED = "Paused"

    # Something that was there is not.
    NO_READY_ENDPOINTS = "NoReadyEndpoints"
    ROUTE_WITHOUT_ENDPOINTS = "RouteWithoutEndpoints"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    REFUSED_BY_CLUSTER = "RefusedByCluster"
    REFUSED_BY_HAPROXY = "RefusedByHAProxy"
    PROXIES_EXHAUSTED = "ProxiesExhausted"

    # On the way, and there.
    CONFIGURATION_CHANGED = "ConfigurationChanged"
    ROLLING_OUT = "RollingOut"
    SERVING = "Serving"
