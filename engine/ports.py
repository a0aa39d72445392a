"""The interfaces that the engine needs: a view of the cluster, a writer, the history, a reporter and a clock.

Objects are the API's JSON. A view may lag behind the cluster; the engine decides again when it catches up, and writes
have preconditions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from engine.announce import Announcement
from engine.checks import Check, CheckResult
from engine.conditions import Recording
from engine.fleet.proxy import Proxy
from engine.fleet.refused import as_declared, service_fields_as_declared
from engine.fleet.reports import Report
from engine.model.entries import Configuration, Entry
from engine.model.spec import KanarySpec
from engine.model.states import Endpoint, Written
from engine.model.status import KanaryStatus
from engine.render.objects import Identity
from states import Problem, Reason
from states.texts import harmless

Json = dict[str, Any]
KanaryName = tuple[str, str]
"""Namespace and name."""


class RetryLaterError(Exception):
    """A temporary failure outside the engine; the caller runs the reconcile again.

    `delay` is in seconds, or None for the caller's own backoff.
    """

    def __init__(self, message: str, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay


class EndingError(RetryLaterError):
    """The namespace is being deleted: nothing can be created in it, and nothing has to be."""


class RejectedError(Exception):
    """The API server rejected a request; `problem` is what the user reads."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def rejected(message: str) -> RejectedError:
    """The error for a request that the API server rejected, with the way out."""
    said = as_declared(harmless(message))
    text = f"the API server rejected the change: {said}; fix this and Kanary retries automatically"
    return RejectedError(Problem(Reason.REJECTED_BY_CLUSTER, text))


def not_kept(service: str, fields: Sequence[str]) -> RejectedError:
    """The error for fields of a Service that the API server does not store."""
    named = ", ".join(dict.fromkeys(service_fields_as_declared(field) for field in fields))
    text = (
        f"the API server does not keep {harmless(named)} in Service {service}, which serves without: leave out what "
        "this release or configuration of Kubernetes lacks, or upgrade the cluster"
    )
    return RejectedError(Problem(Reason.REJECTED_BY_CLUSTER, text))


class DeclaredObjects(Protocol):
    """The objects that users declare, in a cluster or in a file."""

    def kanary(self, namespace: str, name: str) -> Json | None:
        """The Kanary, or None."""

    def kanaries_for(self, namespace: str, destination: str) -> Sequence[Json]:
        """Every Kanary of the namespace whose spec names this destination."""

    def service(self, namespace: str, name: str) -> Json | None:
        """The Service, whatever its owner, or None."""


class ClusterView(DeclaredObjects, Protocol):
    """Reads the cluster, mostly from caches."""

    def is_stale(self, kanary: Json) -> bool:
        """Whether the cluster has a later generation of this Kanary, or another one of its name.

        Sends a request to the API server: for rare use. Raises RetryLaterError.
        """

    def owned_by(self, namespace: str, uid: str) -> Sequence[Json]:
        """The Services and ConfigMaps whose controller has this uid, and the Services that this Kanary has adopted."""

    def adopted_by(self, namespace: str, uid: str) -> Sequence[Json]:
        """The Services that this Kanary has adopted, as the API server has them.

        Sends a request to the API server: for rare use. Raises RetryLaterError and RejectedError.
        """

    def slices(self, namespace: str, service: str) -> Sequence[Json]:
        """The Service's EndpointSlices; Endpoints are converted to the same form."""

    def proxies_among(self, namespace: str, endpoints: Sequence[Endpoint]) -> Mapping[Endpoint, frozenset[KanaryName]]:
        """The endpoints that lead to the proxies of any Kanary, each with these Kanaries.

        An endpoint leads to them if it is the pod of one, or has the address of one or of a Service that selects them.
        """

    def live(self, desired: Json) -> Json | None:
        """The object in the cluster that has the kind, namespace and name of `desired`, or None."""

    def proxy_pods(self, namespace: str, kanary: str) -> Sequence[Json]:
        """The HAProxy pods of a Kanary."""

    def pod_templates(self, namespace: str, kanary: str) -> Sequence[Json]:
        """The pod templates of a Kanary's ReplicaSets with at least one desired replica.

        Sends a request to the API server: for rare use. Raises RetryLaterError and RejectedError.
        """

    def reports(self, pods: Sequence[Json]) -> Mapping[str, Report]:
        """The last report of each of these proxies' pods, by the pod's name; pods without a report are left out.

        Raises RetryLaterError while it is too early to say that an agent does not answer.
        """

    def pod_addresses(self, namespace: str, names: frozenset[str]) -> Mapping[str, frozenset[str]]:
        """The addresses of those of these pods that have not ended, at most some seconds old. Requests the API server.

        Raises RetryLaterError.
        """

    def public_key(self) -> str:
        """The public key for configurations that are sent to running proxies, as PEM; empty if none is usable.

        Raises RetryLaterError.
        """


class ClusterWriter(Protocol):
    """Writes to the cluster. Each call is idempotent, and raises RetryLaterError or RejectedError."""

    def apply(self, desired: Json) -> None:
        """Apply the object unless the cluster has it already. Never modifies an object with another owner.

        A ConfigMap is only written if it has not changed since it was read.
        """

    def delete(self, existing: Json) -> None:
        """Delete this object, with its uid as a precondition."""

    def give_back(self, adopted: Json) -> None:
        """Make an adopted Service, as it was read, what it was before."""

    def set_finalizer(self, kanary: Json, finalizer: str, *, is_present: bool) -> Json:
        """Add a finalizer to the Kanary as it was read, or remove it; returns the Kanary."""

    def send(self, proxies: Sequence[Proxy], owner: Identity, written: Written) -> None:
        """Send the configuration to the agents of these proxies, in the background, and only if it was written.

        It is sent again until the agent reports that it serves or rejects it, or until another one is sent. If it
        cannot be signed, it is not sent.
        """

    def write_status(self, kanary: Json, status: Json) -> Json:
        """Replace the status of the Kanary as it was read, provided that it has not changed; returns the Kanary."""

    def forget(self, namespace: str, name: str) -> None:
        """Forget what was written of a Kanary that is deleted."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The state of a Kanary in the history."""

    number: int
    """The database has confirmed all entries up to this number; 0 for none."""
    recording: Recording


class History(Protocol):
    """Stores entries permanently. Never raises, and only `store` blocks."""

    def recorded(self, uid: str) -> Recorded:
        """Which entries of this Kanary are stored, and whether recording works."""

    def record(self, kanary: Json, entries: Sequence[Entry], configuration: Configuration | None) -> None:
        """Store these entries, all that the status has, and the configuration that the proxies received."""

    def store(self, kanary: Json, entries: Sequence[Entry]) -> None:
        """Record these entries, and wait until they are stored, HISTORY_WRITE_LIMIT at most."""

    def deleted(self, namespace: str, name: str) -> None:
        """Record that the Kanary of that name was deleted."""


class Reporter(Protocol):
    """Reports to logs, Events and metrics. Never raises, never blocks."""

    def transition(self, kanary: Json, *, trigger: str, reason: str, message: str, is_warning: bool) -> None:
        """The Kanary has another phase or reason; the status may not have them yet."""

    def announce(self, kanary: Json, announcement: Announcement) -> None:
        """The status has a change that users read in an Event."""

    def observed(self, kanary: Json, status: KanaryStatus, spec: KanarySpec | None, *, is_stored: bool) -> None:
        """This is the Kanary's status now, and its spec, None if it is invalid.

        `is_stored` is whether this object has this status already, except for counts of connections.
        """

    def gone(self, namespace: str, name: str) -> None:
        """The Kanary has been deleted."""


class Checks(Protocol):
    """Makes the checks of rollouts that need requests, in the background. Never raises, never blocks."""

    def results(
        self, namespace: str, name: str, needed: Sequence[Check], *, are_all: bool = True
    ) -> Mapping[str, CheckResult]:
        """The latest result of each of these checks of a Kanary, by its id.

        One that is new is started. If these are all the checks of the Kanary, one that is missing ends and is
        forgotten. The Kanary is reconciled when a result changes. A query is evaluated again and again; a webhook is
        called until its outcome is Passed or Failed.
        """


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """The current time, with a time zone."""
