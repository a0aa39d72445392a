"""The input of the rules: everything observed about one Kanary at one moment, reduced to what decides."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum

from states.phases import Phase
from states.reasons import Reason
from states.timing import Limit


class OnEmptyRoute(StrEnum):
    """What happens to the share of a weighted route without a ready endpoint (`spec.onEmptyRoute`)."""

    REDISTRIBUTE = "Redistribute"
    """The other routes take it, in proportion to their weights."""
    HOLD = "Hold"
    """The last good configuration stays: its weights, and the last pods of that route as long as they exist."""
    FAIL = "Fail"
    """Its connections are closed; the other routes keep exactly their shares."""


class UpdateStrategy(StrEnum):
    """How running proxies receive a new configuration (`spec.updateStrategy`)."""

    LIVE = "Live"
    """A sidecar agent loads it into the running HAProxy. The pods stay."""
    ROLLING = "Rolling"
    """New proxies replace them, and they drain."""


class Difference(IntEnum):
    """How the target differs from the configuration last written for the proxies."""

    NONE = 0
    ENDPOINTS = 1
    """Pods were added or removed. The weights are the same."""
    SETTINGS = 2
    """Anything but the weights."""
    WEIGHTS = 3
    """There is a new revision, or nothing has been written yet."""


class Progress(IntEnum):
    """How far the proxies are with a configuration."""

    BEHIND = 0
    """A proxy accepts connections and splits them differently, or no proxy accepts any."""
    ADOPTED = 1
    """Every proxy that accepts connections splits them by it."""
    SERVING = 2
    """The declared number of proxies is ready, runs as declared and splits connections by it."""
    CURRENT = 3
    """They also have the latest endpoints, and no other proxy remains."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, in the words that the user reads."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """A route, and how many endpoints its backend has."""

    backend: str
    weight: Decimal
    endpoints: int
    """Number of those that receive connections."""
    unready: int = 0
    """Number of those that exist and are not ready."""
    are_terminating: bool = False
    """No pod is ready, and terminating ones that still serve receive the connections."""
    note: str = ""
    """What else the Service has, to be read after `BACKEND has`; empty if nothing."""

    @property
    def ready(self) -> int:
        """Number of ready endpoints."""
        return 0 if self.are_terminating else self.endpoints

    @property
    def is_incomplete(self) -> bool:
        """Whether this route has a weight, and pods that are not ready yet."""
        return self.weight > 0 and (self.ready == 0 or self.unready > 0)

    @property
    def is_empty(self) -> bool:
        """Whether this route has a weight and no pod that serves."""
        return self.weight > 0 and self.endpoints == 0


@dataclass(frozen=True, slots=True)
class UnreachedRoute:
    """A route with a weight and endpoints, of which no server has passed a check of any proxy that reports."""

    backend: str
    weight: Decimal
    left: timedelta
    """How much longer this may be a stall; zero if it is none."""
    evidence: str = ""
    """One server that is down, with HAProxy's words."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The configuration written for the proxies, and their progress with it."""

    difference: Difference = Difference.WEIGHTS
    """Between the target and the written configuration."""
    progress: Progress = Progress.BEHIND
    """With the target."""
    former: Progress = Progress.BEHIND
    """With the written configuration; equal to `progress` if that is the target."""
    replicas: int = 0
    """The declared number of proxies."""
    ready: int = 0
    """Number of proxies that are ready and split connections by the target."""
    is_applied: bool = False
    """Every object in the cluster is as planned."""
    others_listen_for: timedelta | None = None
    """How much longer proxies with a different split accept connections; None if there are none."""
    written_at: datetime | None = None
    """When the last configuration was written."""
    strategy: UpdateStrategy = UpdateStrategy.ROLLING
    """How the proxies receive the configuration."""
    fallback: str = ""
    """Why proxies are replaced although the spec says Live; empty if they are not."""
    trouble: str = ""
    """What keeps a proxy from becoming ready, as the cluster reports it."""
    waiting_for: str = ""
    """The first proxy that does not serve the target weights, with its node."""
    rejection: str = ""
    """HAProxy's message if it rejects the configuration."""
    exhaustion: str = ""
    """The exhausted resource of a proxy, and how to raise it."""
    unreached: tuple[UnreachedRoute, ...] = ()
    """The routes that no connection reaches."""
    reload_spacing: timedelta | None = None
    """How much longer newer endpoints wait because processes of earlier reloads still drain."""
    adopts: str = ""
    """The Service of others that is switched to the proxies when they serve; empty if there is none, or it is."""
    next_limit: timedelta | None = None
    """When the next time limit about a proxy has passed; None if there is none."""

    @property
    def waits_for_routes(self) -> bool:
        """Whether only a route that no connection reaches keeps a Service from being switched to the proxies."""
        return bool(self.adopts and self.unreached and self.ready >= self.replicas)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything known about one Kanary at the moment `now`."""

    phase: Phase
    now: datetime
    since: datetime | None = None
    """When the Kanary entered this phase with its current reason."""
    waits_for_endpoints: bool = False
    """The reason is WaitingForEndpoints."""
    reports_unreached: bool = False
    """The reason is RouteUnreachable."""
    fault: Problem | None = None
    """The spec cannot be applied."""
    missing: Problem | None = None
    """A backend of the spec does not exist, or its endpoints are unknown."""
    contested: Problem | None = None
    """The destination is a Service of others, and is not switched to the proxies."""
    routes: tuple[RouteFacts, ...] = ()
    """As declared."""
    on_empty_route: OnEmptyRoute = OnEmptyRoute.REDISTRIBUTE
    rejection: Problem | None = None
    """The rejection by the API server in the last reconcile."""
    paused: bool = False
    has_served: bool = False
    """A configuration has been written: there is a last good one."""
    lost: str = ""
    """The message for the user, if proxies run and their written configuration is lost."""
    is_change: bool = False
    """The declared spec differs from the last good one."""
    spec_changed: bool = False
    """The user has changed the spec since the last status was written."""
    progressing_since: datetime | None = None
    """When the proxies last received a change that not all of them serve yet."""
    progress_deadline: timedelta = timedelta(seconds=600)
    revision: int = 0
    """The number of the target weights."""
    is_in_status: bool = False
    """The status has this revision, so that proxies may receive it."""
    weights: str = ""
    """The target weights, as `kubectl get` shows them."""
    delivery: Delivery = Delivery()
    rollout: Problem | None = None
    """What the rollout by steps is doing; None if it has ended well, or there is none."""
    rollout_limit: Limit | None = None
    """Until when it does that at the latest."""
    is_rolled_back: bool = False
    """The last good weights are in force again, and not the declared ones."""
    stale: tuple[str, ...] = ()
    """Objects of this Kanary that can be deleted now."""

    @property
    def empty_routes(self) -> tuple[RouteFacts, ...]:
        """The declared routes with a weight and no ready pod."""
        return tuple(route for route in self.routes if route.is_empty)

    @property
    def all_empty(self) -> bool:
        """Whether no connection can reach any pod."""
        return not any(route.weight > 0 and route.endpoints > 0 for route in self.routes)

    @property
    def applies_spec(self) -> bool:
        """Whether the declared spec becomes the target. If not, the last good one stays in force."""
        if self.fault or self.missing or self.paused:
            return False
        if not self.has_served:
            return not self.all_empty
        return not (self.on_empty_route is OnEmptyRoute.HOLD and self.empty_routes)
