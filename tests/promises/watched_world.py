"""A world that checks each configuration and each reconcile as they happen, whatever is done to it."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from engine.model.entries import Entry, PhaseChange, RolloutChange, Share, WeightChange
from engine.model.states import Applied, read_written
from engine.ports import RetryLaterError
from engine.reconcile import Step
from states.phases import TRANSITIONS, Transition
from states.rollouts import ROLLOUT_TRANSITIONS
from tests.promises.haproxy_reading import TURNS, meaning_of
from tests.traces.rollouts import connect, entries
from tests.traces.world import Json, World

Row = tuple[str, str, str]
"""A move: from, trigger, to."""
STRIDE = 10


def rows_of(table: tuple[Transition, ...]) -> set[Row]:
    return {(source.value, row.trigger.value, row.destination.value) for row in table for source in row.sources}


PHASE_ROWS, ROLLOUT_ROWS = rows_of(TRANSITIONS), rows_of(ROLLOUT_TRANSITIONS)


class WatchedWorld(World):
    """Raises AssertionError as soon as a promise is broken."""

    def __init__(self) -> None:
        super().__init__()
        self.served: dict[int, tuple[Share, ...]] = {}
        """The weights of each revision that was ever written for the proxies."""
        self.declared: set[tuple[tuple[str, Decimal], ...]] = set()
        self.phases: Counter[str] = Counter()
        self.steps = 0
        self.configurations_read = 0
        self.last: Step = Step()
        self.cannot_read = False

    # What is watched.

    def apply(self, desired: Json) -> None:
        super().apply(desired)
        if desired["kind"] == "ConfigMap" and desired["metadata"]["name"] == "rule-haproxy":
            written = read_written(self.objects["ConfigMap", "rule-haproxy"])
            assert written.applied, "it can be read again"
            self._check_configuration(written.latest, written.applied)
            self._check_is_noted(written.applied)

    def reports(self, pods: list[Json]) -> object:  # type: ignore[override]
        if self.cannot_read:
            raise RetryLaterError("the test has the reports fail")
        return super().reports(pods)

    def step(self, name: str = "rule") -> Step:
        self.last = super().step(name)
        self.steps += 1
        self.phases[self.phase(name)] += 1
        if self.last.requeue:
            assert self.last.requeue.after >= timedelta()
        return self.last

    def _check_configuration(self, text: str, applied: Applied) -> None:
        """What proxies get is what is written beside it: weights that sum to 100, and the endpoints."""
        read = meaning_of(text)
        self.configurations_read += 1
        weights = {str(route.backend): route.weight for route in applied.spec.routes}
        assert sum(weights.values()) == 100
        assert {backend: turns for backend, turns in read.turns.items() if turns} == {
            backend: int(weight * TURNS / 100) for backend, weight in weights.items() if weight
        }
        endpoints = {b: tuple(sorted((e.address, e.port) for e in found)) for b, found in applied.endpoints.items()}
        assert {b: read.servers[b] for b in weights if weights[b]} == {b: endpoints[b] for b in weights if weights[b]}
        assert read.redistributes == (applied.spec.on_empty_route == "Redistribute")
        shares = tuple((share.backend, share.weight) for share in applied.spec.shares)
        assert applied.rollout or shares in self.declared, f"nobody declared {shares}"

    def _check_is_noted(self, applied: Applied) -> None:
        """No proxy receives weights that the status, and so the history, does not have."""
        noted = [e for e in entries(self) if isinstance(e, WeightChange) and e.revision == applied.revision]
        assert [each.after for each in noted] == [applied.spec.shares], f"revision {applied.revision}: {noted}"
        assert self.served.setdefault(applied.revision, applied.spec.shares) == applied.spec.shares

    # What tests do.

    def declare_shares(self, services: Sequence[str], mix: Sequence[float]) -> None:
        """Note weights that a user declares."""
        found = zip(services, mix, strict=True)
        self.declared.add(tuple((f"{name.replace('_', '-')}:http", Decimal(str(weight))) for name, weight in found))

    def let(self, seconds: int, *, rate: int = 100, **failing: float) -> None:
        """Time passes with connections, whether reconciles succeed or not."""
        for _ in range(max(1, seconds // STRIDE)):
            connect(self, rate * STRIDE, **failing)
            self.attempt(STRIDE)

    def attempt(self, seconds: int) -> None:
        """Reconciles as often as the operator would, for so long; what fails is tried again after some time."""
        end = self.time + timedelta(seconds=seconds)
        while self.time < end:
            try:
                self.live_through((end - self.time).total_seconds())
            except RetryLaterError:
                self.time += timedelta(seconds=STRIDE / 2)

    def check_history(self) -> None:
        """Moves are rows of the tables, and revisions have one meaning each and increase."""
        found = entries(self)
        assert moves_of(found, PhaseChange) <= PHASE_ROWS
        assert moves_of(found, RolloutChange) <= ROLLOUT_ROWS
        revisions = [each.revision for each in found if isinstance(each, WeightChange)]
        assert revisions == sorted(set(revisions)), revisions
        assert self.served.keys() <= set(revisions)

    def check_is_not_stuck(self) -> None:
        """If the engine waits for nothing but events, time alone changes nothing."""
        if self.last.requeue is not None or self.cannot_read:
            return
        before = self.status().get("phase"), self.status().get("display"), self.status().get("reason")
        self.time += timedelta(hours=3)
        self.settle()
        after = self.status().get("phase"), self.status().get("display"), self.status().get("reason")
        assert after == before, "it could have gone on by itself"


def moves_of(found: list[Entry], kind: type[PhaseChange | RolloutChange]) -> set[Row]:
    return {(each.source, each.trigger, each.to) for each in found if isinstance(each, kind)}
