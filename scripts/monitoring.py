"""Writes manifests/monitoring/prometheus-rule.yaml from rules.yaml, and grafana-dashboard.json from dashboard.yaml.

`make manifests` runs it; a test fails when a file is not what this module writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from states import Phase
from states.rollouts import RolloutState

FOLDER = Path("manifests/monitoring")
RULES = FOLDER / "rules.yaml"
PROMETHEUS_RULE = FOLDER / "prometheus-rule.yaml"
DASHBOARD = FOLDER / "grafana-dashboard.json"
PANELS = Path(__file__).with_name("dashboard.yaml")

Json = dict[str, Any]

_RULE_HEAD = """\
# Made by `make manifests` from rules.yaml, for the Prometheus Operator.
# Your Prometheus selects rules by their labels and namespace: add the labels that it needs.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: kanary
  namespace: kanary-system
  labels:
    app.kubernetes.io/name: kanary
spec:
"""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_KANARY = 'namespace=~"$namespace", name=~"$name"'
_NAME = "{{namespace}}/{{name}}"
_WIDTH = 24
_HEIGHT = 8
_STATES: dict[str, type[StrEnum]] = {"kanary_phase": Phase, "kanary_rollout_state": RolloutState}
"""The metrics with a series for each state."""
_COLORS = {"Ready": "green", "Completed": "green", "Degraded": "red", "RollingBack": "red", "RolledBack": "red"}
_OTHER_COLOR = "blue"


def _panel(panel: Json, number: int, x: int, y: int) -> Json:
    """A panel of `PANELS` at this place, as Grafana has it."""
    kind = panel.get("kind", "timeseries")
    defaults: Json = {"unit": panel.get("unit", "short")}
    queries, options = panel.get("queries"), {}
    if panel.get("log"):
        defaults["custom"] = {"scaleDistribution": {"type": "log", "log": 10}}
    if metric := panel.get("metric"):
        states = [state.value for state in _STATES[metric]]
        queries = {_NAME: _state_query(metric, panel["state"], states)}
        defaults["mappings"] = [{"type": "value", "options": _texts(states)}]
        options = {"mergeValues": True, "showValue": "auto", "legend": {"showLegend": False}}
    return {
        "id": number,
        "title": panel["title"],
        "description": panel.get("text", ""),
        "type": kind,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.get("width", _WIDTH // 2), "h": _HEIGHT},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query.replace("KANARY", _KANARY),
                "legendFormat": legend,
                "instant": kind == "stat",
            }
            for index, (legend, query) in enumerate((queries or {}).items())
        ],
    }


def _state_query(metric: str, label: str, states: Sequence[str]) -> str:
    """The number of the present state, from 1."""
    terms = (f'{metric}{{KANARY, {label}="{state}"}} * {n}' for n, state in enumerate(states, start=1))
    return f"max by (namespace, name) ({' or '.join(terms)})"


def _texts(states: Sequence[str]) -> Json:
    """What these numbers are shown as."""
    return {
        str(number): {"text": state, "color": _COLORS.get(state, _OTHER_COLOR), "index": number}
        for number, state in enumerate(states, start=1)
    }


def _panels() -> Iterator[Json]:
    number, y = 0, 0
    for row in yaml.safe_load(PANELS.read_text(encoding="utf-8")):
        number += 1
        place = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": row["row"], "collapsed": False, "panels": [], "gridPos": place}
        x, y = 0, y + 1
        for panel in row["panels"]:
            if x + panel.get("width", _WIDTH // 2) > _WIDTH:
                x, y = 0, y + _HEIGHT
            number += 1
            made = _panel(panel, number, x, y)
            x += made["gridPos"]["w"]
            yield made
        y += _HEIGHT


def _variable(name: str, label: str, query: str) -> Json:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard() -> str:
    """The dashboard as JSON."""
    variables = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}},
        _variable("namespace", "Namespace", "label_values(kanary_phase, namespace)"),
        _variable("name", "Kanary", 'label_values(kanary_phase{namespace=~"$namespace"}, name)'),
    ]
    content = {
        "title": "Kanary",
        "uid": "kanary",
        "description": "Kanaries, their traffic and rollouts, and the operator.",
        "tags": ["kanary"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables},
        "annotations": {"list": []},
        "panels": list(_panels()),
    }
    return json.dumps(content, indent=2) + "\n"


def prometheus_rule(rules: str) -> str:
    """The rules as an object for the Prometheus Operator."""
    groups = rules[rules.index("groups:\n") :]
    return _RULE_HEAD + "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))


if __name__ == "__main__":
    PROMETHEUS_RULE.write_text(prometheus_rule(RULES.read_text(encoding="utf-8")), encoding="utf-8")
    DASHBOARD.write_text(dashboard(), encoding="utf-8")
