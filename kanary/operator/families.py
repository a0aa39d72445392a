"""The metrics of each Kanary: what they mean, and which samples they have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, Literal, NamedTuple, TypeVar

from engine.conditions import ENTRIES_LOST, HISTORY_RECORDED
from engine.evidence import chances, highest_chance
from engine.last_status import read_phase
from engine.model.course import RolloutStatus
from engine.model.rollout import RolloutAnalysis
from engine.model.spec import KanarySpec
from engine.model.status import KanaryStatus
from kanary.history.faults import FaultReason
from states import Phase
from states.rollouts import RolloutState

COMMON_LABELS = ("namespace", "name")
"""Of each metric of a Kanary, before its own."""
_INCOMPLETE = ENTRIES_LOST, FaultReason.ENTRY_REFUSED.value
"""Of the reasons for which the history is not recorded, those of one Kanary alone."""
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Source = TypeVar("Source")
Value = int | float | Decimal
Sample = tuple[tuple[str, ...], Value]
"""The values of a metric's own labels, and its value."""


class Facts(NamedTuple):
    """What the gauges of a Kanary are made from."""

    status: KanaryStatus
    spec: KanarySpec | None
    """None if it is invalid."""

    @property
    def rollout(self) -> RolloutStatus | None:
        """The rollout under way, or the last one; None before the first one."""
        return self.status.rollout if self.status.rollout and self.status.rollout.number else None

    @property
    def analysis(self) -> RolloutAnalysis | None:
        """How rollouts are judged; None if the spec has none."""
        return self.spec.rollout.analysis if self.spec and self.spec.rollout else None


class RouteCounts(NamedTuple):
    """What the proxies have counted of a route since this process leads."""

    connections: int = 0
    unconnected: int = 0
    """Those of them that no pod accepted."""
    reset: int = 0
    """Those of them that their pod reset."""


@dataclass(frozen=True, slots=True)
class Family(Generic[Source]):
    """One metric of Kanaries."""

    name: str
    kind: Literal["gauge", "counter"]
    meaning: str
    labels: tuple[str, ...]
    """Those after `COMMON_LABELS`."""
    samples: Callable[[Source], Iterable[Sample]]

    @property
    def head(self) -> str:
        """What precedes the samples in the text format."""
        return f"# HELP {self.name} {self.meaning}\n# TYPE {self.name} {self.kind}\n"

    def lines(self, common: str, source: Source) -> str:
        """The samples of the Kanary whose common labels are this text (see `common_labels`)."""
        head, names = f"{self.name}{{{common}", self.labels
        return "".join([f"{head}{_labels(names, values)}}} {value}\n" for values, value in self.samples(source)])


def common_labels(namespace: str, name: str) -> str:
    """The labels of every sample of a Kanary, as text."""
    return _labels(COMMON_LABELS, (namespace, name))[1:]


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return "".join([f',{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True)])


def _gauge(name: str, meaning: str, *labels: str) -> Callable[[Callable[[Facts], Iterable[Sample]]], Family[Facts]]:
    return lambda samples: Family(name, "gauge", meaning, labels, samples)


@_gauge("kanary_phase", "1 for the present phase of a Kanary, 0 for each other one", "phase")
def _phase(facts: Facts) -> Iterator[Sample]:
    present = read_phase(facts.status)
    return (((phase.value,), int(phase is present)) for phase in Phase)


@_gauge("kanary_reason_info", "1 for the reason of the phase (status.reason)", "reason")
def _reason(facts: Facts) -> Iterator[Sample]:
    yield (facts.status.reason,), 1


@_gauge("kanary_since_timestamp_seconds", "Since when a Kanary has its phase and reason (status.since)")
def _since(facts: Facts) -> Iterator[Sample]:
    if facts.status.since:
        yield (), round(facts.status.since.timestamp(), 3)


@_gauge("kanary_revision", "Revision of the weights that the proxies last received")
def _revision(facts: Facts) -> Iterator[Sample]:
    yield (), facts.status.revision


@_gauge(
    "kanary_proxies",
    "Proxies that are desired, ready with the present revision, or also updated to the last endpoints",
    "state",
)
def _proxies(facts: Facts) -> Iterator[Sample]:
    if proxies := facts.status.proxies:
        yield ("desired",), proxies.replicas
        yield ("ready",), proxies.ready
        yield ("updated",), proxies.updated


@_gauge(
    "kanary_route_declared_weight",
    "Weight of a backend in the spec, in percent; during a rollout by steps, the final one",
    "backend",
)
def _declared_weight(facts: Facts) -> Iterator[Sample]:
    return (((str(route.backend),), route.weight) for route in (facts.spec.routes if facts.spec else ()))


@_gauge("kanary_route_weight", "Weight of a backend that every proxy is configured with, in percent", "backend")
def _weight(facts: Facts) -> Iterator[Sample]:
    return (((route.backend,), route.weight) for route in facts.status.weights)


@_gauge(
    "kanary_route_actual_weight",
    "Share of a backend in the connections since its weights changed last, as all proxies report them, in percent",
    "backend",
)
def _actual_weight(facts: Facts) -> Iterator[Sample]:
    return (((route.backend,), route.actual) for route in facts.status.weights if route.actual is not None)


@_gauge("kanary_route_endpoints", "Endpoints of a backend that are ready or unready", "backend", "state")
def _endpoints(facts: Facts) -> Iterator[Sample]:
    for route in facts.status.weights:
        yield (route.backend, "ready"), route.ready
        yield (route.backend, "unready"), route.unready


@_gauge(
    "kanary_route_servers",
    "Pods of a backend that are up (at the proxy with the fewest), down or ejected (at the proxy with the most)",
    "backend",
    "state",
)
def _servers(facts: Facts) -> Iterator[Sample]:
    for route in facts.status.weights:
        for state, count in (("up", route.up), ("down", route.down), ("ejected", route.ejected)):
            if count is not None:
                yield (route.backend, state), count


@_gauge("kanary_rollout_state", "1 for the present state of the last rollout by steps, 0 for each other one", "state")
def _rollout_state(facts: Facts) -> Iterator[Sample]:
    if facts.rollout:
        yield from (((state.value,), int(state is facts.rollout.state)) for state in RolloutState)


@_gauge("kanary_rollout_reason_info", "1 for the reason of the state of the rollout (status.rollout.reason)", "reason")
def _rollout_reason(facts: Facts) -> Iterator[Sample]:
    if facts.rollout:
        yield (facts.rollout.reason,), 1


@_gauge("kanary_rollout_step", "Step of the rollout that is served or about to be; 0 before the first one")
def _rollout_step(facts: Facts) -> Iterator[Sample]:
    if facts.rollout:
        yield (), facts.rollout.step


@_gauge("kanary_rollout_steps", "Number of steps of the rollout")
def _rollout_steps(facts: Facts) -> Iterator[Sample]:
    if facts.rollout:
        yield (), facts.rollout.steps


@_gauge("kanary_rollout_step_connections", "Connections to a backend that began in the present step", "backend")
def _step_connections(facts: Facts) -> Iterator[Sample]:
    if tally := facts.rollout and facts.rollout.tally:
        yield from (((backend,), route.connections) for backend, route in tally.routes.items())


@_gauge(
    "kanary_rollout_step_failures", "Connections to a backend that began in the present step and have failed", "backend"
)
def _step_failures(facts: Facts) -> Iterator[Sample]:
    if tally := facts.rollout and facts.rollout.tally:
        yield from (((backend,), route.failed) for backend, route in tally.routes.items())


@_gauge(
    "kanary_rollout_chance",
    "Upper bound of the probability that a good version ever has as much evidence against it",
    "backend",
)
def _chance(facts: Facts) -> Iterator[Sample]:
    if facts.rollout and facts.analysis:
        yield from (((canary,), chance) for canary, chance in chances(facts.rollout, facts.analysis).items())


@_gauge("kanary_rollout_highest_chance", "Value of kanary_rollout_chance at which a version fails")
def _highest_chance(facts: Facts) -> Iterator[Sample]:
    if facts.rollout and facts.analysis:
        yield (), highest_chance(facts.analysis)


@_gauge("kanary_history_incomplete", "1 if the history lacks entries of a Kanary, by the reason", "reason")
def _incomplete(facts: Facts) -> Iterator[Sample]:
    for condition in facts.status.conditions:
        if condition.type == HISTORY_RECORDED and condition.reason in _INCOMPLETE:
            yield (condition.reason,), 1


def _connections(counts: Mapping[str, RouteCounts]) -> Iterator[Sample]:
    return (((backend,), count.connections) for backend, count in counts.items())


def _failures(counts: Mapping[str, RouteCounts]) -> Iterator[Sample]:
    for backend, count in counts.items():
        yield (backend, "unconnected"), count.unconnected
        yield (backend, "reset"), count.reset


GAUGES = (
    _phase,
    _reason,
    _since,
    _revision,
    _proxies,
    _declared_weight,
    _weight,
    _actual_weight,
    _endpoints,
    _servers,
    _rollout_state,
    _rollout_reason,
    _rollout_step,
    _rollout_steps,
    _step_connections,
    _step_failures,
    _chance,
    _highest_chance,
    _incomplete,
)
"""The metrics that follow from the spec and the status."""

COUNTERS: tuple[Family[Mapping[str, RouteCounts]], ...] = (
    Family(
        "kanary_route_connections_total",
        "counter",
        "Connections to a backend, by the reports of all proxies",
        ("backend",),
        _connections,
    ),
    Family(
        "kanary_route_failures_total",
        "counter",
        "Failed connections to a backend: unconnected (no pod accepted it) or reset (by its pod)",
        ("backend", "kind"),
        _failures,
    ),
)
"""The metrics that follow from the reports of the proxies, by backend."""
