"""The facts that rules may see: everything observed about one Kanary at one moment, reduced to what decides."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

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
    """How running proxies come by a new configuration (`spec.updateStrategy`)."""

    LIVE = "Live"
    """They take it as they run: an agent beside HAProxy has it reload. Their pods stay."""
    ROLLING = "Rolling"
    """New proxies replace them by surge, and they drain."""


class Source(StrEnum):
    """Which spec the proxies are to serve."""

    DECLARED = "declared"
    LAST_GOOD = "last-good"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of the spec, told as the user will read it."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """A route as declared, and how many ready endpoints its backend has."""

    backend: str
    weight: int
    endpoints: int
    unready: int = 0
    """Endpoints that are there and not ready."""

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
    """How far the proxies are with what they are to serve."""

    replicas: int = 0
    """How many proxies there are to be."""
    ready: int = 0
    """How many proxies are ready with the target's configuration."""
    is_configured: bool = False
    """The ConfigMap holds the target's configuration."""
    is_applied: bool = False
    """Every object of the target is in the cluster as it should be."""
    is_complete: bool = False
    """Every proxy runs the target and is ready, the destination leads to all of them and no other one listens."""
    others_listen_for: timedelta | None = None
    """How much longer replaced proxies take connections that were on their way to them; None if none does."""
    has_arrived: bool = False
    """Every proxy is ready with what was last applied, be it the target or not."""
    is_taken: bool = False
    """Every proxy that takes connections serves what was last applied, be there as many as there are to be or not."""
    is_settling: bool = False
    """Only endpoints differ from what was last applied, whose proxies are on their way and seem to arrive."""
    trouble: str = ""
    """What keeps a proxy from becoming ready, in the cluster's words."""
    strategy: UpdateStrategy = UpdateStrategy.ROLLING
    """How the proxies come by the target's configuration."""
    look_again: timedelta | None = None
    """When to ask the proxies again what they serve; None where the cluster tells all there is to know."""
    unreported: str = ""
    """Why the proxies are to be replaced though they could take the configuration as they run; empty if not so."""
    refusal: str = ""
    """What HAProxy says of the target's configuration, where it refuses it."""
    exhaustion: str = ""
    """What a proxy has run out of, and how to give it more."""
    reload_spacing: timedelta | None = None
    """How long the target is to wait, of which only endpoints are new, so that proxies which drain do not pile up."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is known about one Kanary at the moment `now`."""

    phase: Phase
    now: datetime
    fault: Problem | None = None
    """The spec cannot be obeyed as it stands."""
    missing: Problem | None = None
    """A backend that the spec names is not there."""
    routes: tuple[RouteFacts, ...] = ()
    on_empty_route: OnEmptyRoute = OnEmptyRoute.REDISTRIBUTE
    refusal: Problem | None = None
    """What the cluster refused when it was last asked."""
    paused: bool = False
    has_served: bool = False
    """A configuration has been applied before: there is a last good one."""
    is_change: bool = False
    """The declared spec differs from the last good one."""
    spec_changed: bool = False
    """The user has changed the spec since the last status was written."""
    backends_since: datetime | None = None
    """When the Kanary and every Service it names had been created."""
    progressing_since: datetime | None = None
    """When the proxies were last asked for something that they do not all serve yet."""
    progress_deadline: timedelta = timedelta(seconds=600)
    revision: int = 0
    """The number of the weights that are to be served."""
    is_new_revision: bool = False
    """These weights are not the ones that were last applied."""
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
