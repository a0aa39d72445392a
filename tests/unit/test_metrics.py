"""The operator's metrics as Prometheus reads them."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kanary.operator.metrics import CONTENT_TYPE, Metrics
from states import Phase


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of one metric by its labels' values, in the order of the labels' names."""
    families = text_string_to_metric_families(metrics.expose().decode())
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def show(metrics: Metrics, name: str, phase: Phase, **weights: float) -> None:
    metrics.set_kanary("shop", name, phase=phase, weights=weights)


def test_a_kanary_is_shown_with_its_present_phase_and_its_weights(metrics: Metrics) -> None:
    show(metrics, "web", Phase.ROLLING, v1=100)
    show(metrics, "web", Phase.READY, v1=79.5, v2=20.5)
    assert samples(metrics, "kanary_phase") == {("web", "shop", "Ready"): 1}
    assert samples(metrics, "kanary_route_weight") == {("v1", "web", "shop"): 79.5, ("v2", "web", "shop"): 20.5}


def test_a_name_with_quotes_does_not_spoil_the_page(metrics: Metrics) -> None:
    odd = 'a"b\\c\nd'
    show(metrics, "web", Phase.READY, **{odd: 100})
    assert samples(metrics, "kanary_route_weight") == {(odd, "web", "shop"): 100}


def test_the_metrics_of_a_removed_backend_are_deleted(metrics: Metrics) -> None:
    show(metrics, "web", Phase.READY, v1=80, v2=20)
    show(metrics, "web", Phase.READY, v2=100)
    assert samples(metrics, "kanary_route_weight") == {("v2", "web", "shop"): 100}


def test_a_thousand_kanaries_take_less_than_250_kb(metrics: Metrics) -> None:
    for number in range(1000):
        show(metrics, f"kanary-{number}", Phase.READY, **{"myapp-v1:http": 80, "myapp-v2:http": 20})
    assert len(metrics.expose()) < 250_000


KANARY_METRICS = ("kanary_phase", "kanary_route_weight")


def test_the_metrics_of_a_deleted_kanary_are_deleted_and_no_others(metrics: Metrics) -> None:
    show(metrics, "web", Phase.READY, v1=100)
    show(metrics, "api", Phase.READY, v1=100)
    metrics.forget_kanary("shop", "web")
    for name in KANARY_METRICS:
        assert not any("web" in labels for labels in samples(metrics, name))
        assert any("api" in labels for labels in samples(metrics, name))


def test_forgetting_an_unknown_kanary_is_no_error(metrics: Metrics) -> None:
    metrics.forget_kanary("shop", "web")
    show(metrics, "web", Phase.READY)
    metrics.forget_kanary("shop", "web")
    metrics.forget_kanary("shop", "web")


def test_without_leadership_no_kanary_has_metrics(metrics: Metrics) -> None:
    show(metrics, "web", Phase.READY, v1=100)
    show(metrics, "api", Phase.DEGRADED)
    metrics.forget_kanaries()
    assert [samples(metrics, name) for name in KANARY_METRICS] == [{}] * 2


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
