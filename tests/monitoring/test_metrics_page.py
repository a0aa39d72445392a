"""The metrics are what promtool accepts, and what docs/metrics.md describes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kanary_agent.slots import Slots
from prometheus_client.parser import text_string_to_metric_families

from kanary import metrics_page
from kanary.operator.metrics import Metrics
from tests.monitoring.kanaries import show_everything
from tests.monitoring.prometheus import promtool

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / metrics_page.PAGE).read_text()


def exposed() -> str:
    metrics = Metrics()
    show_everything(metrics)
    return metrics.expose().decode()


def test_promtool_finds_no_problem_with_the_metrics() -> None:
    text = exposed()
    assert promtool("check", "metrics", text=text) == ""
    with pytest.raises(AssertionError, match="counter metrics should have"):
        promtool("check", "metrics", text=text.replace("_failures_total", "_failures"))


def test_every_metric_is_described_with_its_type_and_labels() -> None:
    rows = re.findall(
        r"^\| `(kanary_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", "".join(metrics_page.tables().values()), re.M
    )
    described = {name: (kind, set(re.findall(r"`(\w+)`", labels)), text) for name, kind, labels, text in rows}
    found = {}
    for family in text_string_to_metric_families(exposed()):
        if family.name.startswith("kanary_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            found[name] = family.type, labels, family.documentation
    assert found == described


def test_the_page_has_the_tables_as_they_are_made() -> None:
    assert metrics_page.updated(PAGE) == PAGE, "run: python -m kanary.metrics_page"


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the table 'operator'"):
        metrics_page.updated(PAGE.replace("<!-- end of operator -->", ""))


def test_promtool_finds_no_problem_with_the_metrics_of_an_agent() -> None:
    slots = Slots()
    slots.observe({"a": "v1:http", "b": "v2:http"})
    text = slots.metrics()
    assert promtool("check", "metrics", text=text) == ""
    assert text.splitlines()[0].split()[2] in PAGE
