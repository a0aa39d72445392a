"""The files in manifests/monitoring agree with one another, with the operator's manifests and with pods of proxies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.model.placement import BUILT_IN
from engine.render.config import OPS_PORT
from engine.render.objects import KANARY_LABEL
from engine.render.pods import AGENT_PORT, live, rolling
from scripts import monitoring
from tests.unit.kanaries import OWNER, spec

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / monitoring.FOLDER
MONITORS = {each["kind"]: each["spec"] for each in yaml.safe_load_all((FOLDER / "operator-monitors.yaml").read_text())}
JOBS = {each["job_name"]: each for each in yaml.safe_load((FOLDER / "scrape.yaml").read_text())["scrape_configs"]}
OPERATOR = [*yaml.safe_load_all((ROOT / "manifests" / "base" / "operator.yaml").read_text())]
DASHBOARD = json.loads((ROOT / monitoring.DASHBOARD).read_text())


def test_the_generated_files_are_what_their_sources_say() -> None:
    """If not: `make manifests`."""
    rules = (ROOT / monitoring.RULES).read_text()
    assert (ROOT / monitoring.PROMETHEUS_RULE).read_text() == monitoring.prometheus_rule(rules)
    assert (ROOT / monitoring.DASHBOARD).read_text() == monitoring.dashboard()


def test_the_object_for_the_prometheus_operator_has_the_rules() -> None:
    made = yaml.safe_load((ROOT / monitoring.PROMETHEUS_RULE).read_text())
    assert made["kind"] == "PrometheusRule"
    assert made["spec"] == yaml.safe_load((ROOT / monitoring.RULES).read_text())


def test_the_operator_is_found_by_its_service() -> None:
    service = next(each for each in OPERATOR if each["kind"] == "Service")
    monitor, (endpoint,) = MONITORS["ServiceMonitor"], MONITORS["ServiceMonitor"]["endpoints"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    ports = {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["port"] in ports
    assert endpoint["honorLabels"] is JOBS["kanary"]["honor_labels"] is True
    keep = next(each for each in JOBS["kanary"]["relabel_configs"] if each.get("action") == "keep")
    assert keep["regex"] in {f"{service['metadata']['name']};{port}" for port in ports}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (live(OWNER, spec().proxy.over(BUILT_IN), "image", {}), {"ops": OPS_PORT, "report": AGENT_PORT}),
        (rolling(OWNER, spec().proxy.over(BUILT_IN), "image", {}, "digest"), {"ops": OPS_PORT}),
    ],
)
def test_the_proxies_are_found_by_their_label_and_the_names_of_their_ports(
    pod: dict[str, Any], expected: dict[str, int]
) -> None:
    monitor = MONITORS["PodMonitor"]
    assert monitor["selector"]["matchExpressions"] == [{"key": KANARY_LABEL, "operator": "Exists"}]
    assert KANARY_LABEL in OWNER.selector
    ports = {port["name"]: port["containerPort"] for each in pod["spec"]["containers"] for port in each["ports"]}
    scraped = {each["port"] for each in monitor["podMetricsEndpoints"]}
    assert {name: port for name, port in ports.items() if name in scraped} == expected


def test_both_ways_to_scrape_name_the_kanary_of_a_proxy() -> None:
    meta = f"__meta_kubernetes_pod_label_{KANARY_LABEL.replace('.', '_').replace('/', '_')}"
    for endpoint in MONITORS["PodMonitor"]["podMetricsEndpoints"]:
        assert endpoint["relabelings"] == [{"sourceLabels": [meta], "targetLabel": "name"}]
    assert {"source_labels": [meta], "target_label": "name"} in JOBS["kanary-proxies"]["relabel_configs"]
    (selector,) = JOBS["kanary-proxies"]["kubernetes_sd_configs"][0]["selectors"]
    assert selector == {"role": "pod", "label": KANARY_LABEL}


def test_the_dashboard_works_with_any_data_source() -> None:
    sources = {json.dumps(each) for each in _values(DASHBOARD, "datasource")}
    assert sources == {json.dumps({"type": "prometheus", "uid": "${datasource}"})}
    assert (
        DASHBOARD["templating"]["list"][0] | {"type": "datasource", "query": "prometheus"}
        == (DASHBOARD["templating"]["list"][0])
    )


def test_panels_of_the_dashboard_have_a_number_and_a_place_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    places = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24


def _values(content: Any, key: str) -> list[Any]:
    """Everything under this key, however deep."""
    if isinstance(content, list):
        return [found for each in content for found in _values(each, key)]
    if not isinstance(content, dict):
        return []
    own = [content[key]] if key in content else []
    return own + [found for each in content.values() for found in _values(each, key)]
