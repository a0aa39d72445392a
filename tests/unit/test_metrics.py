"""The operator's metrics as Prometheus reads them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.evidence import tallied
from engine.fleet.reports import Report, RouteReport
from engine.model.course import RolloutStatus
from engine.model.entries import ChangeResult, PhaseChange, RolloutChange, WeightChange
from engine.model.spec import KanarySpec
from engine.model.status import Condition, HistoryStatus, KanaryStatus, ProxyStatus, RouteStatus, SplitStatus
from engine.shares import weights_of
from engine.status import status_json
from kanary.operator.metrics import CONTENT_TYPE, Metrics
from kanary.operator.reporter import EventReporter
from states import Phase
from states.evidence import Counts
from states.rollouts import RolloutState
from tests.unit.kanaries import kanary, route, spec

V1, V2 = "myapp-v1:http", "myapp-v2:9090"
PER_KANARY = (
    "kanary_phase",
    "kanary_reason_info",
    "kanary_revision",
    "kanary_route_weight",
    "kanary_route_connections_total",
    "kanary_route_failures_total",
)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The values of one metric by its labels' values, in the order of the labels' names, without namespace shop."""
    families = text_string_to_metric_families(metrics.expose().decode())
    return {
        tuple(value for label, value in sorted(sample.labels.items()) if label != "namespace"): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def of_web(metrics: Metrics, name: str) -> dict[Any, float]:
    """The same of the Kanary web: by the only other label, or by the tuple of the others."""
    found = {}
    for family in text_string_to_metric_families(metrics.expose().decode()):
        for sample in family.samples:
            others = tuple(v for k, v in sorted(sample.labels.items()) if k not in ("namespace", "name"))
            if sample.name == name and (sample.labels["namespace"], sample.labels["name"]) == ("shop", "web"):
                found[others if len(others) != 1 else others[0]] = sample.value
    return found


def status_of(*routes: RouteStatus, phase: Phase = Phase.READY, **fields: Any) -> KanaryStatus:
    return KanaryStatus(phase=phase.value, weights=routes, **fields)


def serving(backend: str, weight: Any, **counts: Any) -> RouteStatus:
    return RouteStatus(backend=backend, weight=Decimal(str(weight)), **counts)


def show(metrics: Metrics, status: KanaryStatus, name: str = "web", declared: KanarySpec | None = None) -> None:
    metrics.kanaries.set("shop", name, status, declared)


def counting(connections: int, failed: int = 0, reset: int = 0, backend: str = V1) -> Report:
    return Report("digest", routes={backend: RouteReport(connections=connections, failed=failed, reset=reset)})


# A Kanary


def test_each_phase_has_a_series_and_the_present_one_is_1(metrics: Metrics) -> None:
    show(metrics, status_of(phase=Phase.ROLLING))
    show(metrics, status_of(phase=Phase.READY))
    assert of_web(metrics, "kanary_phase") == {phase.value: int(phase is Phase.READY) for phase in Phase}


def test_the_reason_its_time_the_revision_and_the_proxies_are_those_of_the_status(metrics: Metrics) -> None:
    since = datetime(2026, 11, 26, 12, tzinfo=UTC)
    proxies = ProxyStatus(name="web-haproxy", replicas=3, ready=2, updated=1)
    show(metrics, status_of(reason="RollingOut", since=since, revision=7, proxies=proxies))
    assert of_web(metrics, "kanary_reason_info") == {"RollingOut": 1}
    assert of_web(metrics, "kanary_since_timestamp_seconds") == {(): since.timestamp()}
    assert of_web(metrics, "kanary_revision") == {(): 7}
    assert of_web(metrics, "kanary_proxies") == {"desired": 3, "ready": 2, "updated": 1}


def test_declared_configured_and_actual_weights_are_three_metrics(metrics: Metrics) -> None:
    declared = spec(routes=[route("myapp-v1", 12.5), route("myapp-v2", 87.5, 9090)])
    routes = serving(V1, 79.5, actual=Decimal("79.4")), serving(V2, 20.5, actual=Decimal("20.6"))
    show(metrics, status_of(*routes), declared=declared)
    assert of_web(metrics, "kanary_route_actual_weight") == {V1: 79.4, V2: 20.6}
    # A proxy could not be read.
    show(metrics, status_of(serving(V1, 79.5), serving(V2, 20.5)), declared=declared)
    assert of_web(metrics, "kanary_route_actual_weight") == {}
    assert of_web(metrics, "kanary_route_declared_weight") == {V1: 12.5, V2: 87.5}
    assert of_web(metrics, "kanary_route_weight") == {V1: 79.5, V2: 20.5}


def test_a_spec_that_is_invalid_declares_no_weights(metrics: Metrics) -> None:
    show(metrics, status_of(serving(V1, 100)), declared=None)
    assert of_web(metrics, "kanary_route_declared_weight") == {}
    assert of_web(metrics, "kanary_route_weight") == {V1: 100}


def test_pods_are_counted_by_state_under_the_backends_name(metrics: Metrics) -> None:
    show(metrics, status_of(serving(V1, 80, ready=3, unready=1, up=2, down=0, ejected=1), serving(V2, 20, ready=5)))
    endpoints = {(V1, "ready"): 3, (V1, "unready"): 1, (V2, "ready"): 5, (V2, "unready"): 0}
    assert of_web(metrics, "kanary_route_endpoints") == endpoints
    # Rolling has no agent: nothing is known of the servers.
    assert of_web(metrics, "kanary_route_servers") == {(V1, "up"): 2, (V1, "down"): 0, (V1, "ejected"): 1}


def test_a_label_with_quotes_does_not_spoil_the_page(metrics: Metrics) -> None:
    odd = 'a"b\\c\nd'
    show(metrics, status_of(serving(odd, 100)))
    assert of_web(metrics, "kanary_route_weight") == {odd: 100}


def test_the_metrics_of_a_removed_backend_are_deleted(metrics: Metrics) -> None:
    show(metrics, status_of(serving(V1, 80, connections=1), serving(V2, 20, connections=1)))
    show(metrics, status_of(serving(V2, 100, connections=1)))
    for name in PER_KANARY[3:]:
        assert {key if isinstance(key, str) else key[0] for key in of_web(metrics, name)} == {V2}


# What proxies count


def test_connections_and_failures_are_counted_from_the_first_report_on(metrics: Metrics) -> None:
    show(metrics, status_of(serving(V1, 100, connections=0)))
    assert of_web(metrics, "kanary_route_connections_total") == {V1: 0}
    metrics.kanaries.count("shop", "web", counting(1000, 10, 4), counting(1100, 17, 9))
    metrics.kanaries.count("shop", "web", counting(500), counting(520))
    assert of_web(metrics, "kanary_route_connections_total") == {V1: 120}
    assert of_web(metrics, "kanary_route_failures_total") == {(V1, "unconnected"): 2, (V1, "reset"): 5}


def test_counters_never_decrease_when_a_proxy_ends_or_loses_its_counts(metrics: Metrics) -> None:
    show(metrics, status_of(serving(V1, 100, connections=0)))
    metrics.kanaries.count("shop", "web", counting(0), counting(700))
    show(metrics, status_of(serving(V1, 100, connections=20)))
    assert of_web(metrics, "kanary_route_connections_total") == {V1: 700}
    metrics.kanaries.count("shop", "web", counting(700), counting(3))
    assert of_web(metrics, "kanary_route_connections_total") == {V1: 703}


def test_counts_of_an_unknown_kanary_or_route_make_no_series(metrics: Metrics) -> None:
    metrics.kanaries.count("shop", "web", counting(0), counting(1))
    assert of_web(metrics, "kanary_route_connections_total") == {}
    show(metrics, status_of(serving(V1, 100, connections=0)))
    metrics.kanaries.count("shop", "web", counting(0, backend=V2), counting(1, backend=V2))
    assert of_web(metrics, "kanary_route_connections_total") == {V1: 0}


def test_with_rolling_nothing_counts_connections(metrics: Metrics) -> None:
    show(metrics, status_of(serving(V1, 100)))
    assert of_web(metrics, "kanary_route_connections_total") == {}


# A rollout


def rollout(**changes: Any) -> tuple[KanarySpec, RolloutStatus]:
    """The second of four steps, from all to v1 to all to v2."""
    declared = spec(
        routes=[route("myapp-v1", 0), route("myapp-v2", 100, 9090)],
        rollout={"steps": [{"to": to} for to in (1, 10, 50, 100)]},
    )
    start = spec(routes=[route("myapp-v1", 100), route("myapp-v2", 0, 9090)]).routes
    fields = {"number": 3, "state": RolloutState.WATCHING, "reason": "StepWatched", "step": 2, "steps": 4}
    return declared, RolloutStatus(
        **{**fields, "to": Decimal(10), "good": start, "start": start, "goal": declared.routes, **changes}
    )


def counted(rollout: RolloutStatus, **counts: Counts) -> RolloutStatus:
    """With these counts in the present step, of v1 and v2."""
    split = spec(routes=[route("myapp-v1", 90), route("myapp-v2", 10, 9090)]).routes
    reported = {"ledger": {V1: counts["v1"], V2: counts["v2"]}}
    return rollout.model_copy(update={"evidence": tallied(rollout, (5, weights_of(split)), lambda _: reported)})


def test_a_kanary_without_a_rollout_has_no_series_of_one(metrics: Metrics) -> None:
    show(metrics, status_of(serving(V1, 100), rollout=RolloutStatus()), declared=spec())
    assert not any(line.startswith("kanary_rollout_") for line in metrics.expose().decode().splitlines())


def test_a_rollout_has_its_state_its_step_and_the_counts_of_the_step(metrics: Metrics) -> None:
    declared, present = rollout()
    status = status_of(rollout=counted(present, v1=Counts(900, 1), v2=Counts(100, 2)))
    show(metrics, status, declared=declared)
    states = {state.value: int(state is RolloutState.WATCHING) for state in RolloutState}
    assert of_web(metrics, "kanary_rollout_state") == states
    assert of_web(metrics, "kanary_rollout_reason_info") == {"StepWatched": 1}
    assert of_web(metrics, "kanary_rollout_step") == {(): 2}
    assert of_web(metrics, "kanary_rollout_steps") == {(): 4}
    assert of_web(metrics, "kanary_rollout_step_connections") == {V1: 900, V2: 100}
    assert of_web(metrics, "kanary_rollout_step_failures") == {V1: 1, V2: 2}


def test_the_chance_falls_with_failures_and_below_its_limit_when_the_version_fails(metrics: Metrics) -> None:
    declared, present = rollout()
    found = []
    for failed in (0, 4, 40):
        step = counted(present, v1=Counts(900, 1), v2=Counts(100, failed))
        show(metrics, status_of(rollout=step), declared=declared)
        found.append(of_web(metrics, "kanary_rollout_chance")[V2])
    limit = of_web(metrics, "kanary_rollout_highest_chance")[()]
    assert found[0] == 1 > found[1] > limit > found[2]
    assert limit == pytest.approx(0.001, rel=0.02)
    assert of_web(metrics, "kanary_rollout_chance").keys() == {V2}


def test_a_step_that_nothing_is_counted_of_yet_has_no_counts(metrics: Metrics) -> None:
    declared, present = rollout()
    former = counted(present, v1=Counts(900, 1), v2=Counts(100, 2))
    later = former.model_copy(update={"step": 3, "to": Decimal(50)})
    show(metrics, status_of(rollout=later), declared=declared)
    assert of_web(metrics, "kanary_rollout_step") == {(): 3}
    for name in ("step_connections", "step_failures", "chance"):
        assert of_web(metrics, f"kanary_rollout_{name}") == {}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("EntriesLost", {"EntriesLost": 1}),
        ("EntryRefused", {"EntryRefused": 1}),
        ("Recorded", {}),
        ("DatabaseUnavailable", {}),  # kanary_history_recorded has those of the whole database
    ],
)
def test_a_kanary_whose_entries_are_missing_has_a_series_that_says_why(
    metrics: Metrics, reason: str, expected: dict[str, int]
) -> None:
    facts = {"observed_generation": 1, "last_transition_time": "2026-11-23T12:00:00Z", "message": "why"}
    condition = Condition(type="HistoryRecorded", status=str(reason == "Recorded"), reason=reason, **facts)
    show(metrics, status_of(conditions=(condition,)))
    assert of_web(metrics, "kanary_history_incomplete") == expected


# Routine looks


def test_a_look_that_changes_nothing_makes_no_text(metrics: Metrics) -> None:
    """A thousand Kanaries are looked at again and again; to make the text takes a tenth of a look."""
    reporter = EventReporter(None, metrics)  # type: ignore[arg-type]  # no Event is emitted
    first, other = status_of(reason="Serving"), status_of(reason="Paused")

    def reasons(message: str, status: KanaryStatus, *, is_stored: bool) -> set[str]:
        found = kanary() | {"status": {"message": message}}
        found["metadata"] |= {"name": "web"}
        reporter.observed(found, status, None, is_stored=is_stored)
        return set(of_web(metrics, "kanary_reason_info"))

    assert reasons("one", first, is_stored=True) == {"Serving"}
    # That it is the same is not looked up.
    assert reasons("one", other, is_stored=True) == {"Serving"}
    # The status is held, and then the cluster has the former one again.
    assert reasons("one", other, is_stored=False) == {"Paused"}
    assert reasons("one", first, is_stored=True) == {"Serving"}
    assert reasons("two", other, is_stored=True) == {"Paused"}
    metrics.kanaries.clear()
    assert reasons("two", other, is_stored=True) == {"Paused"}


# Deletion and size


def test_a_kanary_of_two_routes_takes_less_than_4_kb(metrics: Metrics) -> None:
    rest = len(metrics.expose())
    counts = {"up": 3, "down": 0, "ejected": 0, "connections": 1, "ready": 3}
    proxies = ProxyStatus(name="web-haproxy", replicas=3, ready=2, updated=1)
    for number in range(1000):
        status = status_of(serving(V1, 80, **counts), serving(V2, 20, **counts), proxies=proxies)
        show(metrics, status, f"kanary-{number}", spec())
    assert len(metrics.expose()) - rest < 4_000_000


def test_the_metrics_of_a_deleted_kanary_are_deleted_and_no_others(metrics: Metrics) -> None:
    for name in ("web", "api"):
        show(metrics, status_of(serving(V1, 100, connections=0)), name)
    metrics.kanaries.forget("shop", "web")
    for name in PER_KANARY:
        assert not any("web" in labels for labels in samples(metrics, name))
        assert any("api" in labels for labels in samples(metrics, name))
    metrics.kanaries.count("shop", "web", counting(0), counting(1))
    assert of_web(metrics, "kanary_route_connections_total") == {}


def test_forgetting_an_unknown_kanary_is_no_error(metrics: Metrics) -> None:
    metrics.kanaries.forget("shop", "web")
    show(metrics, status_of())
    metrics.kanaries.forget("shop", "web")
    metrics.kanaries.forget("shop", "web")


def test_without_leadership_no_kanary_has_metrics(metrics: Metrics) -> None:
    show(metrics, status_of(serving(V1, 100, connections=0)))
    show(metrics, status_of(phase=Phase.DEGRADED), "api")
    metrics.kanaries.clear()
    assert [samples(metrics, name) for name in PER_KANARY] == [{}] * len(PER_KANARY)


# Entries of the history


class Entries:
    """Reconciles of one Kanary, whose status has these entries."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.reporter = EventReporter(None, metrics)  # type: ignore[arg-type]  # no Event is emitted

    def observe(self, stored: KanaryStatus, status: KanaryStatus) -> None:
        self.reporter.observed({**kanary(), "status": status_json(stored)}, status, None, is_stored=False)

    def counts(self) -> tuple[float, float]:
        """Changes that were served, and rollouts that began."""
        begun = samples(self.metrics, "kanary_rollout_transitions_total").get(("begin",), 0)
        return samples(self.metrics, "kanary_change_duration_seconds_count")[()], begun


def with_entries(count: int) -> KanaryStatus:
    at = datetime(2026, 11, 26, 12, tzinfo=UTC)
    texts = {"trigger": "begin", "reason": "r", "message": "m"}
    entries = [
        (
            ChangeResult(
                number=number, at=at, revision=1, result="Superseded" if number == 3 else "Ready", seconds=0.4
            ),
            RolloutChange(number=number, at=at, rollout=1, source="Completed", to="Waiting", step="0/2", **texts),
            PhaseChange(number=number, at=at, source="Ready", to="Rolling", **texts),
        )[number % 3]
        for number in range(1, count + 1)
    ]
    return status_of(history=HistoryStatus(last=count, entries=tuple(entries)))


def test_a_change_that_is_served_and_a_move_of_a_rollout_are_counted_once(metrics: Metrics) -> None:
    entries = Entries(metrics)
    entries.observe(KanaryStatus(), with_entries(4))
    assert entries.counts() == (0, 2)
    # The status is held, and then written.
    for stored in (KanaryStatus(), with_entries(4)):
        entries.observe(stored, with_entries(6))
        assert entries.counts() == (1, 2)
    assert samples(metrics, "kanary_change_duration_seconds_bucket")[("0.5",)] == 1


def test_a_step_is_served_when_it_is_watched_and_a_rollback_when_its_revision_is_ready(metrics: Metrics) -> None:
    """The result of the last step follows much later, and that of a step that another one follows is Superseded."""
    at = datetime(2026, 11, 26, 12, tzinfo=UTC)
    texts = {"reason": "r", "message": "m"}
    step = {"rollout": 1, "step": "1/2 10%", **texts}

    def moved(number: int, seconds: float, source: str, to: str, trigger: str) -> RolloutChange:
        time = at + timedelta(seconds=seconds)
        return RolloutChange(number=number, at=time, source=source, to=to, trigger=trigger, **step)

    entries = (
        WeightChange(number=1, at=at, revision=2, generation=1, after=(), cause="c", rollout=1, step="1/2 10%"),
        moved(2, 0.3, "Shifting", "Watching", "watch"),
        moved(3, 60, "Waiting", "Watching", "watch"),
        ChangeResult(number=4, at=at, revision=2, result="Ready", seconds=600),
        WeightChange(number=5, at=at, revision=3, generation=1, after=(), cause="c", rollout=1),
        moved(6, 0.4, "RollingBack", "RolledBack", "restore"),
        ChangeResult(number=7, at=at, revision=3, result="Ready", seconds=0.4),
    )
    split = SplitStatus(revision=2, generation=1, at=at, weights=())
    Entries(metrics).observe(KanaryStatus(), status_of(history=HistoryStatus(last=7, entries=entries), split=split))
    assert samples(metrics, "kanary_change_duration_seconds_sum")[()] == pytest.approx(0.3 + 0.4)
    assert samples(metrics, "kanary_change_duration_seconds_count")[()] == 2


def test_entries_of_a_former_leader_are_not_counted(metrics: Metrics) -> None:
    entries = Entries(metrics)
    entries.observe(with_entries(6), with_entries(6))
    assert entries.counts() == (0, 0)
    entries.observe(with_entries(6), with_entries(7))
    assert entries.counts() == (0, 1)


def test_a_kanary_that_is_created_again_is_counted_again(metrics: Metrics) -> None:
    entries = Entries(metrics)
    entries.observe(KanaryStatus(), with_entries(6))
    entries.observe(KanaryStatus(), with_entries(1))
    assert entries.counts() == (1, 3)


# The operator


def test_queue_leadership_and_watches_are_read_at_each_scrape(metrics: Metrics) -> None:
    depth, leads, age = 3, False, 1.5
    metrics.observe_queue(lambda: depth)
    metrics.observe_leadership(lambda: leads)
    metrics.observe_watch("services", lambda: age)
    names = ("kanary_queue_depth", "kanary_leader", "kanary_watch_age_seconds")
    assert [list(samples(metrics, name).values()) for name in names] == [[3], [0], [1.5]]
    depth, leads, age = 0, True, 0.0
    assert [list(samples(metrics, name).values()) for name in names] == [[0], [1], [0]]


def test_what_happens_is_counted(metrics: Metrics) -> None:
    metrics.reconciled("success", 0.004)
    metrics.reconciled("success", 0.2)
    metrics.reconciled("error", 0.2)
    metrics.transition("render")
    metrics.event_dropped()
    metrics.requested("get", 200)
    metrics.requested("get", None)
    metrics.observe_watch("services", lambda: 0.0)
    metrics.watch_restarted("pods")
    assert samples(metrics, "kanary_reconcile_total") == {("success",): 2, ("error",): 1}
    assert samples(metrics, "kanary_reconcile_duration_seconds_count") == {(): 3}
    assert samples(metrics, "kanary_reconcile_duration_seconds_bucket")["0.005",] == 1
    assert samples(metrics, "kanary_transitions_total") == {("render",): 1}
    assert samples(metrics, "kanary_events_dropped_total") == {(): 1}
    assert samples(metrics, "kanary_api_requests_total") == {("200", "get"): 1, ("0", "get"): 1}
    assert samples(metrics, "kanary_watch_restarts_total") == {("services",): 0, ("pods",): 1}


def test_the_process_itself_is_measured(metrics: Metrics) -> None:
    assert samples(metrics, "process_resident_memory_bytes")[()] > 0


def test_no_counter_has_a_second_series_for_its_time_of_creation(metrics: Metrics) -> None:
    metrics.requested("get", 200)
    assert "_created" not in metrics.expose().decode()


def test_two_registries_do_not_mix() -> None:
    first, second = Metrics(), Metrics()
    first.transition("render")
    assert samples(second, "kanary_transitions_total") == {}


def test_the_content_type_is_the_text_format_of_prometheus() -> None:
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"


def test_the_build_is_named(metrics: Metrics) -> None:
    assert [*samples(metrics, "kanary_build_info").values()] == [1]


def test_without_a_history_nothing_fails_to_be_recorded(metrics: Metrics) -> None:
    assert samples(metrics, "kanary_history_recorded") == {(): 1}
