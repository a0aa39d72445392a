"""`kanary why`: the rules of a Kanary and its rollout, from the status that the operator has written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from states import RULES
from states.rollout_rules import ROLLOUT_RULES
from tests.apiserver import ApiServer
from tests.cli.conftest import Kanary, Printed
from tests.integration.scene import CRD, without_validation
from tests.unit.kanaries import OWNER, kanary

Json = dict[str, Any]
Why = Callable[..., Printed]

ROUTES = [{"backend": {"serviceName": "myapp-v1", "servicePort": "http"}, "weight": 100}]
NAMES = [rule.__name__ for rule in RULES]
ROLLOUT_NAMES = [rule.__name__ for rule in ROLLOUT_RULES]


def later(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def status(**changes: Any) -> Json:
    good = {
        "observedGeneration": 1,
        "phase": "Rolling",
        "reason": "RollingOut",
        "message": "1 of 2 proxies serves revision 3",
        "since": later(-5405),
        "rule": "proxies_are_behind",
        "until": later(1000),
        "then": "Degraded (ProgressDeadlineExceeded)",
    }
    return good | changes


def rollout(**changes: Any) -> Json:
    good = {"number": 2, "state": "Waiting", "reason": "WaitingForPromotion", "message": "waiting for kanary promote"}
    good |= {"rule": "step_waits_for_promotion", "step": 1, "steps": 3, "to": 10}
    return good | dict.fromkeys(("good", "start", "goal"), ROUTES) | changes


@pytest.fixture
def why(kanary: Kanary, tmp_path: Path) -> Iterator[Why]:
    """Writes a status, and explains it."""
    with ApiServer() as server:
        server.install_crd(without_validation(CRD))
        kubeconfig = str(server.kubeconfig(tmp_path / "kubeconfig"))

        def run(written: Json, *arguments: str) -> Printed:
            server.store.put({**MANIFEST, "status": written})
            return kanary("why", OWNER.name, "-n", OWNER.namespace, "--kubeconfig", kubeconfig, *arguments)

        yield run


MANIFEST = kanary()


def applying(printed: Printed) -> dict[str, str]:
    """Whether each rule that is shown applies."""
    rows = [line.split() for line in printed.out.splitlines()]
    return {row[0]: row[1] for row in rows if row and row[0] in (*NAMES, *ROLLOUT_NAMES)}


@pytest.mark.parametrize("rule", NAMES)
def test_every_rule_up_to_the_one_that_decided_is_shown(why: Why, rule: str) -> None:
    printed = why(status(rule=rule))
    assert (printed.code, printed.err) == (0, "")
    before = NAMES[: NAMES.index(rule)]
    assert applying(printed) == {**dict.fromkeys(before, "no"), rule: "yes"}


@pytest.mark.parametrize("rule", ROLLOUT_NAMES)
def test_the_rules_of_a_rollout_under_way_are_shown_likewise(why: Why, rule: str) -> None:
    found = json.loads(why(status(rollout=rollout(rule=rule)), "-o", "json").out)["rollout"]
    assert [each["name"] for each in found["rules"]] == ROLLOUT_NAMES[: ROLLOUT_NAMES.index(rule) + 1]
    assert [each["applies"] for each in found["rules"]][-1]


def test_of_a_kanary_without_rollout_no_former_one_is_explained(why: Why) -> None:
    """The status keeps its number only."""
    number = status(rollout={"number": 5, "state": "Completed"})
    assert json.loads(why(number, "-o", "json").out)["rollout"] is None


def test_a_rollout_that_has_ended_is_at_rest_whatever_rule_ended_it(why: Why) -> None:
    ended = rollout(state="RolledBack", reason="RolledBack", rule="rollback_is_under_way")
    found = json.loads(why(status(rollout=ended), "-o", "json").out)["rollout"]
    assert found["rule"] == "rollout_has_ended"
    assert "retry" in found["remedy"]


def test_the_message_the_limit_and_the_remedy_are_shown(why: Why) -> None:
    text = " ".join(why(status()).out.split())
    assert "Rolling (RollingOut) Message: 1 of 2 proxies serves revision 3" in text
    assert "1h30m ago" in text
    assert "at the latest, in 16m" in text
    assert "then: Degraded (ProgressDeadlineExceeded)" in text
    assert "kanary explain RollingOut" in text


def test_what_only_a_person_ends_has_no_limit(why: Why) -> None:
    written = status(rollout=rollout())
    del written["until"], written["then"]
    found = why(written)
    assert "at the latest" not in found.out
    assert found.out.count("no time limit") == 2


def test_a_limit_that_has_passed_is_due(why: Why) -> None:
    assert "at the latest, now;" in " ".join(why(status(until=later(-5))).out.split())


def test_a_status_of_another_generation_is_named_as_such(why: Why) -> None:
    printed = why(status(observedGeneration=0))
    assert printed.code == 0
    assert "generation 0" in printed.err


def test_reconciles_that_fail_are_named(why: Why) -> None:
    condition = {"type": "Ready", "status": "Unknown", "reason": "ReconcileFailed", "message": "reconcile failed: X"}
    condition |= {"observedGeneration": 1, "lastTransitionTime": "2026-11-26T12:00:00Z"}
    assert "reconcile failed: X" in why(status(conditions=[condition])).err


def test_without_a_status_that_is_said(why: Why) -> None:
    printed = why({})
    assert printed.code == 0
    assert "no status yet" in printed.out
    assert "has not written a status" in printed.err


def test_a_rule_of_another_version_is_named(why: Why) -> None:
    assert "moon_is_full" in why(status(rule="moon_is_full")).out


@pytest.mark.parametrize("damaged", [{"until": 7}, {"rule": ["x"]}, {"rollout": {"state": "Lost"}}, {"since": "soon"}])
def test_a_damaged_status_is_shown_without_what_is_damaged(why: Why, damaged: Json) -> None:
    printed = why(status(**damaged))
    assert printed.code == 0
    assert "1 of 2 proxies serves revision 3" in printed.out


def test_control_characters_of_a_status_do_not_reach_the_terminal(why: Why) -> None:
    evil = "\x1b[31mred"
    printed = why(status(message=evil, then=evil, reason=evil, rule=evil))
    assert "\x1b" not in printed.out + printed.err


def test_yaml_has_the_same_fields_as_json(why: Why) -> None:
    written = status(rollout=rollout())
    assert yaml.safe_load(why(written, "-o", "yaml").out) == json.loads(why(written, "-o", "json").out)


def test_an_unknown_name_lists_the_nearest(why: Why, kanary: Kanary, tmp_path: Path) -> None:
    why(status())
    printed = kanary("why", "myapp-splt", "-n", OWNER.namespace, "--kubeconfig", str(tmp_path / "kubeconfig"))
    assert printed.code == 1
    assert OWNER.name in printed.err
