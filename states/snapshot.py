"""The facts that rules may see: everything observed about one Kanary at one moment, reduced to what decides."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from states.phases import Phase
from states.reasons import Reason


class OnEmptyRoute(StrEnum):
    """What becomes of the share of a route that has a weight and no ready endpoint (`spec.onEmptyRoute`)."""

    REDISTRIBUTE = "Redistribute"
    """The other routes take it, in proportion to their weights."""
    HOLD = "Hold"
    """The last good configuration stays: its weights, and that route's last pods as long as they exist."""
    FAIL = "Fail"
    """Its connections are closed; the other routes keep exactly their shares."""


class UpdateStrategy(StrEnum):
    """How running proxies receive a new configuration (`spec.updateStrategy`)."""

    LIVE = "Live"
    """They load it while they run: an agent beside HAProxy reloads it. Their pods stay."""
    ROLLING = "Rolling"
    """New proxies replace them by surge, and they drain."""


class Difference(IntEnum):
    """How what is to be served differs from what was last written for the proxies."""

    NONE = 0
    ENDPOINTS = 1
    """Pods came or went. The weights that clients get are the same."""
    SETTINGS = 2
    """Anything else but the weights."""
    WEIGHTS = 3
    """There is a new revision, or nothing was ever written."""


class Progress(IntEnum):
    """How far the proxies are with a configuration."""

    BEHIND = 0
    """A proxy that takes connections splits them in another way, or none takes any."""
    ADOPTED = 1
    """Every proxy that takes connections splits them by it."""
    SERVING = 2
    """As many proxies as there are to be are ready, run as declared, and split connections by it."""
    CURRENT = 3
    """They also have the latest endpoints, and no other proxy is left."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, as the user will read it."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """A route, and how many endpoints its backend has."""

    backend: str
    weight: int
    endpoints: int
    """How many are ready."""
    unready: int = 0
    """How many are there and not ready."""

    @property
    def is_incomplete(self) -> bool:
        """Whether connections are promised to this route and pods of it are still to come."""
        return self.weight > 0 and (self.endpoints == 0 or self.unready > 0)

    @property
    def is_empty(self) -> bool:
        """Whether connections are promised to this route and none can reach a pod."""
        return self.weight > 0 and self.endpoints == 0


@dataclass(frozen=True, slots=True)
class Rollout:
    """What was written for the proxies, and how far they are with it."""

    difference: Difference = Difference.WEIGHTS
    """Of what is to be served, from what was written."""
    progress: Progress = Progress.BEHIND
    """With what is to be served."""
    former: Progress = Progress.BEHIND
    """With what was written; the same as `progress` where that does not differ."""
    replicas: int = 0
    """How many proxies there are to be."""
    ready: int = 0
    """How many proxies are ready and split connections as is to be served."""
    is_applied: bool = False
    """Every object is in the cluster as it should be."""
    others_listen_for: timedelta | None = None
    """How much longer proxies that split connections in another way take new ones; None if none does."""
    written_at: datetime | None = None
    """When the last configuration was written."""
    strategy: UpdateStrategy = UpdateStrategy.ROLLING
    """How the proxies receive the configuration."""
    fallback: str = ""
    """Why the proxies are replaced though the spec says Live; empty where they are not."""
    trouble: str = ""
    """What keeps a proxy from becoming ready, in the cluster's words."""
    waiting_for: str = ""
    """The first proxy that does not serve the weights that are to be served, with its node."""
    refusal: str = ""
    """HAProxy's own words, where it rejects the configuration."""
    exhaustion: str = ""
    """What a proxy has run out of, and how to give it more."""
    reload_spacing: timedelta | None = None
    """How much longer newer endpoints wait, because processes of former reloads still drain."""
    report_interval: timedelta | None = None
    """When to ask the proxies again what they serve; None where the cluster's objects say all there is to know."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is known about one Kanary at the moment `now`."""

    phase: Phase
    now: datetime
    since: datetime | None = None
    """When the Kanary came to be in this phase for the reason that it has."""
    waits_for_endpoints: bool = False
    """That reason is that the first endpoints are awaited."""
    fault: Problem | None = None
    """The spec cannot be obeyed as it stands."""
    missing: Problem | None = None
    """A backend that the spec names is not there."""
    routes: tuple[RouteFacts, ...] = ()
    """As declared."""
    on_empty_route: OnEmptyRoute = OnEmptyRoute.REDISTRIBUTE
    refusal: Problem | None = None
    """What the API server rejected when it was last asked."""
    paused: bool = False
    has_served: bool = False
    """A configuration has been written before: there is a last good one."""
    lost: str = ""
    """Proxies run, and what was written for them is lost: what that means for the user."""
    is_change: bool = False
    """The declared spec differs from the last good one."""
    spec_changed: bool = False
    """The user has changed the spec since the last status was written."""
    progressing_since: datetime | None = None
    """When the proxies were last given something that they do not all serve yet."""
    progress_deadline: timedelta = timedelta(seconds=600)
    revision: int = 0
    """The number of the weights that are to be served."""
    is_in_status: bool = False
    """The status has this revision already: proxies may be given it."""
    weights: str = ""
    """The weights that are to be served, as `kubectl get` shows them."""
    rollout: Rollout = Rollout()
    stale: tuple[str, ...] = ()
    """Objects of ours that may go now."""

    @property
    def empty_routes(self) -> tuple[RouteFacts, ...]:
        """The declared routes whose share reaches no pod."""
        return tuple(route for route in self.routes if route.is_empty)

    @property
    def all_empty(self) -> bool:
        """Whether no connection can reach any pod."""
        return not any(route.weight > 0 and route.endpoints > 0 for route in self.routes)

    @property
    def obeys_spec(self) -> bool:
        """Whether the declared spec is to be served. Where not, the last good one stays, so that traffic does."""
        if self.fault or self.missing or self.paused:
            return False
        if not self.has_served:
            return not self.all_empty
        return not (self.on_empty_route is OnEmptyRoute.HOLD and self.empty_routes)
