"""What the engine needs from outside, as protocols: a view of the cluster, a hand that writes to it, and a voice.

Objects cross these borders as the API's JSON. A view may lag behind the cluster; every decision is taken again when it
catches up, and writes carry preconditions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from engine.conditions import Recording
from engine.fleet.reports import Report
from engine.model.entries import Configuration, Entry
from engine.model.status import KanaryStatus
from states import Problem

Json = dict[str, Any]


class RetryLaterError(Exception):
    """Something outside failed in a way that passes; the reconcile is to be run again.

    `delay` is in seconds, or None where the caller's own back-off serves.
    """

    def __init__(self, message: str, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay


class RefusedError(Exception):
    """The API server rejected a request, and says why; `problem` is what the user reads."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class ClusterView(Protocol):
    """What is known of the cluster."""

    def kanary(self, namespace: str, name: str) -> Json | None:
        """The Kanary, or None."""

    def kanaries_for(self, namespace: str, destination: str) -> Sequence[Json]:
        """Every Kanary of the namespace whose spec names this destination."""

    def service(self, namespace: str, name: str) -> Json | None:
        """The Service, whoever made it, or None."""

    def owned_by(self, namespace: str, uid: str) -> Sequence[Json]:
        """The Services and ConfigMaps whose controller has this uid."""

    def slices(self, namespace: str, service: str) -> Sequence[Json]:
        """The Service's EndpointSlices; Endpoints are given in the same form."""

    def live(self, desired: Json) -> Json | None:
        """The object in the cluster that has the kind, namespace and name of `desired`, or None."""

    def proxy_pods(self, namespace: str, kanary: str) -> Sequence[Json]:
        """The HAProxy pods of a Kanary."""

    def pod_templates(self, namespace: str, kanary: str) -> Sequence[Json]:
        """The templates of which a Kanary's ReplicaSets are to have proxies, whether these are there or not.

        Asks the cluster: for rare use. Raises RetryLaterError and RefusedError.
        """

    def reports(self, pods: Sequence[Json]) -> Mapping[str, Report]:
        """The last report of each of these proxies' pods, by the pod's name, where there ever was one.

        Asks their agents, and takes about a second at the most. Raises RetryLaterError where a pod has not been asked
        long enough to say that its agent does not answer.
        """

    def pod_addresses(self, namespace: str, names: frozenset[str]) -> Mapping[str, frozenset[str]]:
        """The addresses of those of these pods that have not ended, as of some seconds ago at most. Asks the cluster.

        Raises RetryLaterError.
        """

    def serves_disruption_budgets(self) -> bool:
        """Whether the cluster has policy/v1."""


class ClusterWriter(Protocol):
    """What may be done to the cluster; each call may be repeated, and raises RetryLaterError or RefusedError."""

    def apply(self, desired: Json) -> None:
        """Make the object so, unless it already is. Never touches one that has another owner.

        A ConfigMap is only written if it has not changed since it was read.
        """

    def delete(self, existing: Json) -> None:
        """Delete this very object, by uid."""

    def annotate(self, pod: Mapping[str, Any], annotations: Mapping[str, str]) -> None:
        """Set annotations on this very pod, by uid, one of ours; one that is gone needs none."""

    def write_status(self, kanary: Json, status: Json) -> Json | None:
        """Replace the Kanary's status, provided that the Kanary has not changed since it was read.

        Returns the Kanary as it is then, or None where it is gone.
        """


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the history has of a Kanary."""

    number: int
    """All entries up to this one are in the database for sure; 0 for none."""
    recording: Recording


class History(Protocol):
    """Where entries are kept for good. Never raises, never waits."""

    def recorded(self, uid: str) -> Recorded:
        """What it has of the Kanary with this uid, and whether it records more."""

    def record(self, kanary: Json, entries: Sequence[Entry], configuration: Configuration | None) -> None:
        """Keep these entries, all that the status has, and the configuration that the proxies were given."""

    def deleted(self, namespace: str, name: str) -> None:
        """The Kanary of that name was seen to be gone: keep that."""


class Narrator(Protocol):
    """Reports what happened. Never raises, never waits."""

    def transition(self, kanary: Json, *, trigger: str, reason: str, message: str, is_warning: bool) -> None:
        """The Kanary moved to another phase, or has another reason for being where it is."""

    def weights_changed(self, kanary: Json, *, before: str, after: str, revision: int) -> None:
        """The proxies are given other weights."""

    def observed(self, kanary: Json, status: KanaryStatus) -> None:
        """This is the Kanary's status now."""

    def gone(self, namespace: str, name: str) -> None:
        """The Kanary has been deleted."""


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """The current time, with a time zone."""
