"""The alerts fire when they should and not otherwise, by promtool's own evaluation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from kanary.cli.main import cli
from scripts.monitoring import RULES
from states import Reason
from tests.monitoring.prometheus import promtool

ROOT = Path(__file__).parents[2]
PATH = ROOT / RULES
GROUPS = yaml.safe_load(PATH.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
WEB = {"namespace": "shop", "name": "web"}
V1, V2 = {**WEB, "backend": "v1:http"}, {**WEB, "backend": "v2:http"}
KANARY = {"namespace": "kanary-system", "job": "kanary"}
IN_KANARY_SYSTEM = {rule["alert"] for rule in GROUPS[-1]["rules"]}
"""The alerts about the operator itself."""
ALWAYS = "1x180"
NEVER = "0x180"

Series = dict[str, str]


def of(metric: str, labels: dict[str, str] = WEB, **more: str) -> str:
    """The name of a series."""
    pairs = (f'{label}="{value}"' for label, value in {**labels, **more}.items())
    return f"{metric}{{{', '.join(pairs)}}}"


def phase(name: str, reason: str) -> Series:
    return {of("kanary_phase", phase=name): ALWAYS, of("kanary_reason_info", reason=reason): ALWAYS}


def rollout(state: str, reason: str) -> Series:
    return {of("kanary_rollout_state", state=state): ALWAYS, of("kanary_rollout_reason_info", reason=reason): ALWAYS}


def connections(first: int, second: int, *, weight: int = 50) -> Series:
    """So many connections a minute to two routes."""
    return {
        of("kanary_route_connections_total", V1): f"0+{first}x180",
        of("kanary_route_connections_total", V2): f"0+{second}x180",
        of("kanary_route_weight", V1): f"{weight}x180",
        of("kanary_route_weight", V2): f"{100 - weight}x180",
        of("kanary_revision"): "7x180",
    }


def failures(kind: str, a_minute: int) -> Series:
    return {of("kanary_route_failures_total", V2, kind=kind): f"0+{a_minute}x180"}


def leaders(*values: str) -> Series:
    return {of("kanary_leader", KANARY, instance=str(number)): value for number, value in enumerate(values)}


CASES: dict[str, tuple[Series, dict[str, str], tuple[Series, ...]]] = {
    # What fires, the labels of the alert, and what does not fire.
    "KanaryDegraded": (
        phase("Degraded", "NoReadyEndpoints"),
        {**WEB, "reason": "NoReadyEndpoints"},
        (phase("Ready", "Serving"), phase("Degraded", "RolledBack"), phase("Rolling", "RollingOut")),
    ),
    "KanaryRolledBack": (rollout("RolledBack", "RolledBack"), WEB, (rollout("Watching", "StepWatched"), {})),
    "KanaryStuck": (
        phase("Rolling", "RollingOut"),
        WEB,
        (
            {**phase("Rolling", "StepWatched"), **rollout("Watching", "StepWatched")},
            phase("Pending", "Paused"),
            phase("Ready", "Serving"),
        ),
    ),
    "KanaryRolloutWaiting": (
        rollout("Waiting", "Inconclusive"),
        {**WEB, "reason": "Inconclusive"},
        (rollout("Watching", "StepWatched"), {of("kanary_rollout_state", state="Waiting"): "0x100 1x30"}),
    ),
    "KanaryFlapping": (
        {of("kanary_phase", phase="Ready"): "0 1 " * 60},
        WEB,
        ({of("kanary_phase", phase="Ready"): "1x60 0 1x60"}, phase("Ready", "Serving")),
    ),
    "KanaryProxiesMissing": (
        {of("kanary_proxies", state="desired"): "2x180", of("kanary_proxies", state="ready"): ALWAYS},
        WEB,
        ({of("kanary_proxies", state="desired"): "2x180", of("kanary_proxies", state="ready"): "1x100 2x80"},),
    ),
    "KanaryWeightsNotServed": (
        connections(600, 300, weight=50),
        V1,
        (
            connections(500, 500),
            connections(20, 10),  # too few to tell
            {**connections(600, 300), of("kanary_revision"): "1+1x180"},  # the weights change
            {of("kanary_route_weight", V1): "50x180"},
        ),
    ),
    "KanaryConnectionsFail": (
        {**connections(500, 500), **failures("reset", 20), **failures("unconnected", 20)},
        V2,
        ({**connections(500, 500), **failures("reset", 20)}, {**connections(1, 1), **failures("reset", 1)}),
    ),
    "KanaryPodsEjected": (
        {of("kanary_route_servers", V1, state="ejected"): ALWAYS},
        V1,
        ({of("kanary_route_servers", V1, state="ejected"): "0x100 1x2 0x60"},),
    ),
    "KanaryPodsDown": (
        {of("kanary_route_servers", V1, state="down"): ALWAYS},
        V1,
        ({of("kanary_route_servers", V1, state="down"): NEVER, of("kanary_route_servers", V1, state="up"): ALWAYS},),
    ),
    "KanaryOperatorDown": ({"up": NEVER}, {}, (leaders(NEVER), leaders(ALWAYS))),
    "KanaryNoLeader": (leaders(NEVER, NEVER), KANARY, (leaders(NEVER, ALWAYS), leaders(ALWAYS), {})),
    "KanarySeveralLeaders": (
        leaders(ALWAYS, ALWAYS),
        KANARY,
        (leaders(NEVER, ALWAYS), leaders("1x90 0x90", "0x90 1x90")),
    ),
    "KanaryReconcileErrors": (
        {of("kanary_reconcile_total", KANARY, result="error"): "0+1x180"},
        {**KANARY, "result": "error"},
        (
            {of("kanary_reconcile_total", KANARY, result="retry"): "0+1x180"},
            {of("kanary_reconcile_total", KANARY, result="error"): "0x100 1x80"},
        ),
    ),
    "KanaryOperatorBehind": (
        {of("kanary_queue_depth", KANARY): "50x180"},
        KANARY,
        ({of("kanary_queue_depth", KANARY): "1000 0 " * 90},),
    ),
    "KanaryHistoryNotRecorded": (
        {of("kanary_history_recorded", KANARY): NEVER},
        KANARY,
        ({of("kanary_history_recorded", KANARY): ALWAYS}, {}),
    ),
    "KanaryHistoryIncomplete": (
        {of("kanary_history_incomplete", reason="EntriesLost"): ALWAYS},
        {**WEB, "reason": "EntriesLost"},
        ({}, {of("kanary_history_incomplete", reason="EntriesLost"): "1x3 _x177"}),
    ),
    "KanaryHistoryBehind": (
        {of("kanary_history_lag_seconds", KANARY): "0+60x180"},
        KANARY,
        ({of("kanary_history_lag_seconds", KANARY): "2x180"},),
    ),
}


Case = tuple[Series, Sequence[dict[str, Any]]]
"""Series, and the samples that expressions are expected to have after two hours of them."""


def evaluate(folder: Path, *cases: Case) -> None:
    """Fails unless promtool finds what each case expects."""
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values.strip()} for name, values in inputs.items()],
            "promql_expr_test": [{"eval_time": "119m", **check} for check in checks],
        }
        for inputs, checks in cases
    ]
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(PATH)], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", path)


def firing(alert: str, *labels: dict[str, str]) -> dict[str, Any]:
    """That exactly these alerts fire."""
    always = {"alertname": alert, "alertstate": "firing", "severity": ALERTS[alert]["labels"]["severity"]}
    samples = [{"labels": of("ALERTS", {**always, **each}), "value": 1} for each in labels]
    return {"expr": f'ALERTS{{alertname="{alert}", alertstate="firing"}}', "exp_samples": samples}


def test_promtool_finds_no_problem_with_the_rules() -> None:
    promtool("check", "rules", PATH)


def test_every_alert_has_a_case_and_is_in_the_docs() -> None:
    assert CASES.keys() == ALERTS.keys()
    rows = re.findall(r"^\| `(Kanary\w+)` \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(), re.M)
    assert dict(rows) == {alert: rule["labels"]["severity"] for alert, rule in ALERTS.items()}


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_for_its_cause_alone(alert: str, tmp_path: Path) -> None:
    fires, labels, quiet = CASES[alert]
    # An operator that is healthy otherwise.
    rest = {} if "Leader" in alert or alert == "KanaryOperatorDown" else leaders(ALWAYS)
    expected = [labels, V2] if alert == "KanaryWeightsNotServed" else [labels]
    does_not = [({**rest, **series}, [firing(alert)]) for series in quiet]
    evaluate(tmp_path, ({**rest, **fires}, [firing(alert, *expected)]), *does_not)


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="KanaryDegraded"):
        evaluate(tmp_path, (phase("Degraded", "NoReadyEndpoints"), [firing("KanaryDegraded")]))


@pytest.mark.parametrize("alert", ["KanaryDegraded", "KanaryStuck", "KanaryNoLeader"])
def test_two_leaders_for_a_moment_make_one_alert(alert: str, tmp_path: Path) -> None:
    """While another replica takes over, two of them have the series of a Kanary for a scrape or two."""
    fires, labels, _ = CASES[alert]
    twice = {name.replace("{", f'{{pod="{pod}", '): values for pod in "ab" for name, values in fires.items()}
    evaluate(tmp_path, (twice, [firing(alert, labels)]))


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_what_is_wrong_and_names_only_commands_that_exist(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    named = set(re.findall(r"\bkanary ([a-z]+)(?= -n| [A-Z{])", rule["annotations"]["runbook"]))
    assert named <= cli.commands.keys()
    assert named or alert in IN_KANARY_SYSTEM
    explained = set(re.findall(r"kanary explain ([A-Z]\w+)", rule["annotations"]["runbook"])) - {"REASON"}
    assert explained <= {reason.value for reason in Reason}


def test_every_reason_that_a_rule_names_exists() -> None:
    named = re.findall(r'reason!?="(\w+)"', PATH.read_text())
    assert named
    assert set(named) <= {reason.value for reason in Reason}


def test_shares_and_haproxys_counters_are_recorded_under_the_name_of_the_backend(tmp_path: Path) -> None:
    pod = {**WEB, "pod": "web-haproxy-1"}
    haproxy = {
        of("haproxy_backend_sessions_total", pod, proxy="a", instance="1:8404"): "0+600x180",
        of("kanary_slot_backend", pod, proxy="a", backend="v1:http", instance="1:8405"): ALWAYS,
    }
    checks: list[dict[str, Any]] = [
        {
            "expr": "kanary:route_share:percent15m",
            "exp_samples": [
                {"labels": of("kanary:route_share:percent15m", V1), "value": 75},
                {"labels": of("kanary:route_share:percent15m", V2), "value": 25},
            ],
        },
        {
            "expr": "kanary:haproxy_sessions:rate5m",
            "exp_samples": [{"labels": of("kanary:haproxy_sessions:rate5m", V1), "value": 10}],
        },
        {
            "expr": 'kanary:route_connections:rate5m{backend="v1:http"} / 5',
            "exp_samples": [{"labels": of("", V1), "value": 1}],
        },
        {
            "expr": "kanary:route_failures:rate5m * 10",
            "exp_samples": [{"labels": of("", V2, kind="reset"), "value": 1}],
        },
    ]
    evaluate(tmp_path, ({**connections(300, 100), **failures("reset", 6), **haproxy}, checks))
