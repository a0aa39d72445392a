"""What the engine needs from outside, as protocols: a view of the cluster, a hand that writes to it, and a voice.

Objects cross these borders as the API's JSON. A view may lag behind the cluster; every decision is taken again when it
catches up, and writes carry preconditions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from engine.conditions import Recording
from engine.model.entries import Configuration, Entry
from engine.reports import Report
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
    """The cluster will not take what was asked, and says why; `problem` is what the user is told."""

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
        """What the agents of these proxies' pods report now, by the pod's name. Asks them; who is silent is left out.

        Never raises, and takes about a second at the most.
        """

    def pod_addresses(self, namespace: str) -> Mapping[str, frozenset[str]]:
        """The addresses of every pod that has not ended, by the pod's name. Asks the cluster: for rare use.

        Raises RetryLaterError.
        """

    def serves_disruption_budgets(self) -> bool:
        """Whether the cluster has policy/v1."""


class ClusterWriter(Protocol):
    """What may be done to the cluster; each call may be repeated, and raises RetryLaterError or RefusedError."""

    def apply(self, desired: Json) -> None:
        """Make the object so, unless it already is. Never touches one that has another owner."""

    def delete(self, existing: Json) -> None:
        """Delete this very object, by uid."""

    def annotate(self, pod: Json, annotations: Mapping[str, str]) -> None:
        """Set annotations on this very pod, by uid, one of ours; one that is gone needs none."""

    def write_status(self, kanary: Json, status: Json) -> None:
        """Replace the Kanary's status, provided that it has not changed since it was read."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the history has of a Kanary, and whether it takes more."""

    number: int
    """All entries up to this number are in the database for sure; 0 for none."""
    recording: Recording


class History(Protocol):
    """Where entries are recorded for good. Never raises, never waits."""

    def recorded(self, uid: str) -> Recorded:
        """What it has of the Kanary with this uid."""

    def record(self, kanary: Json, entries: Sequence[Entry], configuration: Configuration | None) -> None:
        """Record the entries that the status of a Kanary has, some of which may be recorded already.

        `configuration` is the one that the proxies were given, where it is known.
        """

    def deleted(self, namespace: str, name: str) -> None:
        """The Kanary of that name was seen to be deleted: record that."""


class Narrator(Protocol):
    """Who hears of what happened. Never raises, never waits."""

    def transition(self, kanary: Json, *, trigger: str, reason: str, message: str, is_warning: bool) -> None:
        """The Kanary moved to another phase, or has another reason for being where it is."""

    def weights_changed(self, kanary: Json, *, before: str, after: str, revision: int) -> None:
        """The proxies are configured with other weights."""

    def observed(self, kanary: Json, status: Json) -> None:
        """This is the Kanary's status now."""

    def gone(self, namespace: str, name: str) -> None:
        """The Kanary has been deleted."""


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """The current time, with a time zone."""
