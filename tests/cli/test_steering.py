"""`kanary promote`, `pause`, `resume`, `abort` and `retry` with the API server for tests.

No operator runs: what the orders do is shown in tests/traces/test_by_hand.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.model.commands import ABORT, PAUSE, PROMOTE, RESUME, RETRY
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from kanary.kube.verbs import Verbs
from tests.apiserver import ApiServer, Fault
from tests.cli.conftest import Kanary, Printed
from tests.integration.scene import CRD, without_validation
from tests.unit.kanaries import route

Json = dict[str, Any]

STEPS = [{"to": 1, "for": "5m"}, {"to": 10, "for": "10m"}, {"to": 50, "until": "Promoted"}, {"to": 100, "for": "10m"}]
WEB = "rollout 3 of web"


class Stage:
    """A cluster with a Kanary whose third rollout is in its second step."""

    def __init__(self, server: ApiServer, folder: Path, run: Kanary) -> None:
        self.server = server
        self.kubeconfig = str(server.kubeconfig(folder / "kubeconfig"))
        self._run = run
        self._spec = {
            "destination": "myapp",
            "routes": [route("myapp-v1", 0), route("myapp-v2", 100)],
            "rollout": {"steps": STEPS},
        }
        server.install_crd(without_validation(CRD))
        self.rollout()

    def rollout(self, spec: Mapping[str, Any] | None = None, **changes: Any) -> None:
        """Write this rollout into the status."""
        good, goal = ([route("myapp-v1", v1), route("myapp-v2", 100 - v1)] for v1 in (100, 0))
        present = {
            "number": 3,
            "state": "Watching",
            "reason": "StepWatched",
            "message": "step 2/4 is watched for 10m",
            "step": 2,
            "steps": 4,
            "to": 10,
            "seconds": 120,
            "good": good,
            "start": good,
            "goal": goal,
        }
        self.status(spec, rollout=present | changes)

    def status(self, spec: Mapping[str, Any] | None = None, **status: Any) -> None:
        self._spec |= spec or {}
        annotations = (self.kanary() or {"metadata": {}})["metadata"].get("annotations", {})
        metadata = {"name": "web", "namespace": "shop", "annotations": annotations}
        found = {"phase": "Rolling", "observedGeneration": 10} | status
        kind = {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary"}
        self.server.store.put({**kind, "metadata": metadata, "spec": self._spec, "status": found})

    def kanary(self) -> Json | None:
        return self.server.store.get("kanaries", "web", "shop")

    def order(self, annotation: str) -> Json | None:
        """The order in this annotation."""
        kanary = self.kanary()
        assert kanary
        text = kanary["metadata"].get("annotations", {}).get(annotation)
        found: Json | None = json.loads(text) if text else None
        return found

    def give(self, *arguments: str, name: str = "web") -> Printed:
        verb, *options = arguments
        return self._run(verb, name, "-n", "shop", "--kubeconfig", self.kubeconfig, *options)

    def done(self, *arguments: str) -> str:
        """What an order does; checks that it succeeds without a warning."""
        printed = self.give(*arguments)
        assert (printed.code, printed.err, printed.out.count("\n")) == (0, "", 1)
        return printed.out.removeprefix("shop/web: ").rstrip("\n")

    def unchanged(self, *arguments: str) -> str:
        """What an order says that has nothing to write."""
        before = self.kanary()
        said = self.done(*arguments)
        assert self.kanary() == before
        return said

    def refused(self, *arguments: str, name: str = "web") -> str:
        """The error of an order; checks that it changes nothing."""
        before = self.kanary()
        printed = self.give(*arguments, name=name)
        assert (printed.code, printed.out, printed.err.count("\n")) == (1, "", 1)
        assert self.kanary() == before
        return printed.err.removeprefix("kanary: ").rstrip("\n")

    def warned(self, *arguments: str) -> str:
        """The warning of an order that succeeds."""
        printed = self.give(*arguments)
        assert (printed.code, printed.err.count("\n")) == (0, 1)
        return printed.err.removeprefix("kanary: warning: ").rstrip("\n")


@pytest.fixture
def stage(tmp_path: Path, kanary: Kanary) -> Iterator[Stage]:
    with ApiServer() as server:
        yield Stage(server, tmp_path, kanary)


WATCH = "; watch: kubectl -n shop get ky web --watch"


# Promote


def test_a_promotion_names_rollout_step_author_and_reason(stage: Stage) -> None:
    said = stage.done("promote", "-m", "dashboards are fine")
    assert said == f"{WEB} is promoted in step 2/4 10%; step 3/4 50% follows{WATCH}"
    assert stage.order(PROMOTE) == {"rollout": 3, "step": 2, "by": "anyone", "reason": "dashboards are fine"}


def test_a_full_promotion_leads_to_the_last_step(stage: Stage) -> None:
    assert stage.done("promote", "--full") == f"{WEB} is promoted in step 2/4 10%; step 4/4 100% follows{WATCH}"
    assert stage.order(PROMOTE) == {"rollout": 3, "step": 3, "by": "anyone", "reason": ""}


def test_a_promotion_of_the_last_step_completes_the_rollout(stage: Stage) -> None:
    stage.rollout(step=4, to=100)
    assert stage.done("promote") == f"{WEB} is promoted in step 4/4 100%; the rollout completes{WATCH}"


@pytest.mark.parametrize("how", [[], ["--full"], ["--step", "2"]])
def test_a_promotion_that_is_sent_twice_is_one(stage: Stage, how: list[str]) -> None:
    stage.done("promote", *how, "-m", "first")
    assert "is promoted already, by anyone: first" in stage.unchanged("promote", *how, "-m", "second")


@pytest.mark.parametrize("changes", [{"state": "Shifting"}, {"seconds": 9}])
def test_a_promotion_that_is_sent_again_when_the_next_step_has_begun_means_the_former_step(
    stage: Stage, changes: Json
) -> None:
    stage.done("promote")
    stage.rollout(step=3, to=50, **changes)
    said = "step 2/4 10% is promoted already, by anyone; step 3/4 50% has just begun: promote it with --step 3"
    assert stage.unchanged("promote") == said
    assert "step 4/4 100% follows" in stage.done("promote", "--step", "3")


def test_a_step_that_has_been_served_for_a_while_is_promoted_without_its_number(stage: Stage) -> None:
    stage.done("promote")
    stage.rollout(step=3, to=50, seconds=10)
    assert "step 4/4 100% follows" in stage.done("promote")


def test_a_named_step_that_has_passed_is_not_promoted_again(stage: Stage) -> None:
    assert stage.unchanged("promote", "--step", "1") == "step 1 has passed already: step 2/4 10% is the present one"


def test_a_step_that_has_not_begun_is_not_promoted(stage: Stage) -> None:
    assert stage.refused("promote", "--step", "3") == f"step 3 of {WEB} has not begun: step 2/4 10% is the present one"
    stage.rollout(step=0, to=None, state="Waiting", message="step 0/4 waits for the first ready pod of myapp-v2:http")
    assert stage.refused("promote") == (
        f"{WEB} has no step to promote yet: step 0/4 waits for the first ready pod of myapp-v2:http"
    )


def test_a_full_promotion_in_the_last_step_skips_nothing(stage: Stage) -> None:
    stage.rollout(step=4, to=100)
    assert stage.unchanged("promote", "--full") == "step 4/4 100% is the last one already; kanary promote ends it"


def test_a_rollout_that_was_promoted_to_its_end_is_complete(stage: Stage) -> None:
    stage.rollout(step=4, to=100)
    stage.done("promote")
    stage.rollout(step=4, to=100, state="Completed", message="rollout 3 is complete")
    assert stage.unchanged("promote") == f"{WEB} is complete already, promoted by anyone"


def test_full_and_step_exclude_each_other(stage: Stage) -> None:
    printed = stage.give("promote", "--full", "--step", "2")
    assert (printed.code, "exclude each other" in printed.err) == (2, True)


FROZEN = "the weights are frozen until"
CLOSED = {"rollout": {"steps": STEPS, "windows": [{"days": [f"{datetime.now(UTC) + timedelta(days=3):%a}"]}]}}
DAY_AFTER_TOMORROW = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%dT00:00:00Z")


@pytest.mark.parametrize(
    ("spec", "rollout", "reason"),
    [
        ({"freeze": {"reason": "holidays"}}, {}, f"{FROZEN} spec.freeze is removed (spec.freeze): holidays"),
        ({"freeze": {"until": DAY_AFTER_TOMORROW}}, {}, FROZEN),
        (CLOSED, {}, "no step starts outside"),
        ({"paused": True}, {}, "spec.paused is true"),
        ({}, {"reason": "WaitingForEndpoints", "message": "step 2/4 waits for a pod"}, "step 2/4 waits for a pod"),
        ({}, {"reason": "WaitingForWebhook", "message": "step 2/4 waits: slow"}, "step 2/4 waits: slow"),
    ],
)
def test_what_a_promotion_does_not_override_is_a_warning(stage: Stage, spec: Json, rollout: Json, reason: str) -> None:
    stage.rollout(spec, **rollout)
    assert stage.warned("promote").startswith(f"the next step waits: {reason}")
    assert stage.order(PROMOTE)


def test_a_promotion_of_a_paused_rollout_waits_for_its_end(stage: Stage) -> None:
    stage.done("pause", "-m", "lunch")
    said = "the next step waits: the rollout is paused, by anyone: lunch; kanary resume ends that"
    assert stage.warned("promote") == said


def test_evidence_that_is_missing_is_overridden(stage: Stage) -> None:
    stage.rollout(state="Waiting", reason="WaitingForEvidence")
    assert "follows" in stage.done("promote")


# Pause and resume


def test_a_pause_and_its_end(stage: Stage) -> None:
    said = f"{WEB} is paused in step 2/4 10%, and rolled back if it fails; kanary resume continues it{WATCH}"
    assert stage.done("pause", "-m", "lunch") == said
    assert stage.order(PAUSE) == {"rollout": 3, "step": 0, "by": "anyone", "reason": "lunch"}
    assert stage.unchanged("pause") == f"{WEB} is paused already, by anyone: lunch"
    assert stage.done("resume", "-m", "back") == f"{WEB} is resumed in step 2/4 10%{WATCH}"
    assert stage.order(PAUSE) is None
    assert stage.order(RESUME) == {"rollout": 3, "step": 0, "by": "anyone", "reason": "back"}
    assert stage.unchanged("resume") == f"{WEB} is resumed already, by anyone: back"
    stage.done("pause")
    assert stage.order(RESUME) is None


def test_a_rollout_that_is_not_paused_is_not_resumed(stage: Stage) -> None:
    assert stage.refused("resume") == f"{WEB} is not paused: step 2/4 is watched for 10m"


def test_spec_paused_is_ended_in_the_spec(stage: Stage) -> None:
    stage.rollout({"paused": True})
    assert stage.refused("resume") == f"{WEB} is paused by spec.paused: set it to false"
    stage.done("pause")
    assert stage.warned("resume") == "the next step waits: spec.paused is true"


def test_the_pause_of_a_former_rollout_pauses_nothing(stage: Stage) -> None:
    stage.done("pause")
    stage.rollout(number=4)
    assert "rollout 4 of web is paused in step" in stage.done("pause")


# Abort and retry


def test_an_abort_names_the_weights_that_return(stage: Stage) -> None:
    said = stage.done("abort", "-m", "bad logs")
    assert said == f"{WEB} is aborted in step 2/4 10%; myapp-v1:http=100 returns{WATCH}"
    assert stage.order(ABORT) == {"rollout": 3, "step": 0, "by": "anyone", "reason": "bad logs"}
    assert stage.unchanged("abort") == f"{WEB} is aborted already, by anyone: bad logs"


@pytest.mark.parametrize("state", ["RollingBack", "RolledBack"])
def test_a_rollout_that_was_rolled_back_is_retried_only(stage: Stage, state: str) -> None:
    stage.rollout(state=state, reason="RolledBack", message="rolled back to myapp-v1:http=100: step 2/4 failed")
    why = "rolled back to myapp-v1:http=100: step 2/4 failed"
    assert stage.unchanged("abort") == f"{WEB} is rolled back already: {why}"
    for verb in ("promote", "pause", "resume"):
        assert stage.refused(verb) == f"{WEB} was {why}; kanary retry web begins another one"
    assert stage.done("retry", "-m", "fixed") == f"{WEB} is tried again, to myapp-v2:http=100{WATCH}"
    assert stage.order(RETRY) == {"rollout": 3, "step": 0, "by": "anyone", "reason": "fixed"}
    assert stage.unchanged("retry") == f"{WEB} is tried again already, by anyone: fixed"
    stage.rollout(number=4, message="step 1/4 is watched for 5m")
    assert stage.unchanged("retry") == (
        "rollout 3 is tried again already, as rollout 4 of web: step 1/4 is watched for 5m"
    )


def test_a_retry_waits_for_the_end_of_a_freeze(stage: Stage) -> None:
    stage.rollout({"freeze": {}}, state="RolledBack")
    assert stage.warned("retry").startswith("the next step waits: the weights are frozen")


def test_a_rollout_that_was_not_rolled_back_is_not_retried(stage: Stage) -> None:
    why = "step 2/4 is watched for 10m"
    assert stage.refused("retry") == f"there is nothing to retry: {WEB} was not rolled back: {why}"


# Without a rollout


@pytest.mark.parametrize("verb", ["promote", "pause", "resume", "abort"])
def test_a_rollout_that_is_complete_is_not_steered(stage: Stage, verb: str) -> None:
    stage.rollout(state="Completed", message="rollout 3 is complete: 0 of 900 failed")
    assert stage.refused(verb) == "no rollout of web is under way: rollout 3 is complete: 0 of 900 failed"


@pytest.mark.parametrize("verb", ["promote", "pause", "resume", "abort", "retry"])
def test_a_kanary_without_rollouts_is_not_steered(stage: Stage, verb: str) -> None:
    stage.status({"rollout": None})
    assert stage.refused(verb) == "web has no rollouts: without spec.rollout, other weights are served at once"


def test_the_first_weights_of_a_kanary_are_no_rollout(stage: Stage) -> None:
    stage.status()
    assert stage.refused("abort") == "web has had no rollout yet: the first weights of a Kanary are served at once"


def test_without_a_status_the_operator_is_looked_for(stage: Stage) -> None:
    stage.status(phase="")
    assert "the operator has not written a status yet: see whether the operator runs" in stage.refused("pause")


def test_a_spec_that_the_operator_has_not_seen_is_a_warning_or_the_error(stage: Stage) -> None:
    stage.rollout()
    rollout = (stage.kanary() or {})["status"]["rollout"]
    stage.status(rollout=rollout, observedGeneration=0)
    assert stage.warned("pause").startswith("the status describes generation 0 of the spec, which is at 1 by now")
    stage.status(rollout=rollout | {"state": "Completed"}, observedGeneration=0)
    assert "no rollout of web is under way: the status describes generation 0" in stage.refused("abort")


def test_an_unknown_kanary_is_an_error_that_names_the_known_ones(stage: Stage) -> None:
    error = stage.refused("abort", name="wep")
    assert "there is no Kanary wep in namespace shop" in error
    assert error.endswith("it has web")


def test_a_kanary_that_is_being_deleted_is_not_steered(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    found = stage.kanary() or {}
    found["metadata"]["deletionTimestamp"] = "2026-11-26T12:00:00Z"
    monkeypatch.setattr(Verbs, "get", lambda *_: found)
    assert stage.refused("pause") == "web is being deleted"


def test_an_invalid_spec_does_not_keep_an_order_from_being_given(stage: Stage) -> None:
    stage.rollout({"routes": []})
    assert stage.done("abort").startswith(f"{WEB} is aborted")


# Writing


def test_a_change_of_the_status_meanwhile_is_no_obstacle(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    _before_the_write(stage, monkeypatch, lambda: stage.rollout(seconds=130))
    stage.done("promote")
    assert (stage.order(PROMOTE) or {})["step"] == 2


def test_a_step_that_begins_meanwhile_is_not_promoted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    _before_the_write(stage, monkeypatch, lambda: stage.rollout(step=3, to=50))
    printed = stage.give("promote")
    assert (printed.code, printed.out) == (1, "")
    assert "web was changed at the same time: nothing was written" in printed.err
    assert "step 3/4 50% of rollout 3 of web" in printed.err
    assert stage.order(PROMOTE) is None


def test_the_same_order_from_another_person_meanwhile_is_the_order(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def abort() -> None:
        command = json.dumps({"rollout": 3, "by": "bob"})
        stage.server.store.change(
            "kanaries", "web", lambda each: each["metadata"].update(annotations={ABORT: command}), "shop"
        )

    _before_the_write(stage, monkeypatch, abort)
    assert stage.done("abort") == f"{WEB} is aborted already, by bob"


def test_an_object_that_changes_all_the_time_is_reported(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    _before_the_write(stage, monkeypatch, *(lambda n=n: stage.rollout(seconds=n) for n in range(200, 210)))
    assert "web was changed at the same time: nothing was written" in stage.give("abort").err


def _before_the_write(stage: Stage, monkeypatch: pytest.MonkeyPatch, *changes: Any) -> None:
    """Each of the next writes is preceded by one of these changes."""
    original, left = Verbs.merge_patch, list(changes)

    def patch(self: Verbs, *arguments: Any, **options: Any) -> Any:
        if left:
            left.pop(0)()
        return original(self, *arguments, **options)

    monkeypatch.setattr(Verbs, "merge_patch", patch)


def test_an_order_whose_response_was_lost_is_sent_again_safely(stage: Stage) -> None:
    stage.server.faults.add(Fault.drop("PATCH", times=1, after_write=True))
    assert stage.give("abort").code == 1
    assert stage.unchanged("abort") == f"{WEB} is aborted already, by anyone"


@pytest.mark.parametrize("verb", ["promote", "pause", "abort"])
def test_each_order_has_its_field_manager(stage: Stage, verb: str) -> None:
    stage.done(verb)
    assert f"kanary-{verb}" in [each["manager"] for each in (stage.kanary() or {})["metadata"]["managedFields"]]


def test_an_order_changes_no_spec_and_no_generation(stage: Stage) -> None:
    before = stage.kanary() or {}
    stage.done("promote")
    after = stage.kanary() or {}
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


@pytest.mark.parametrize("verb", ["promote", "pause", "abort"])
def test_an_order_outlasts_what_a_gitops_controller_applies_again_and_needs_no_warning(stage: Stage, verb: str) -> None:
    """It is an annotation that no manifest has: nothing to revert, and nothing that conflicts."""
    client = ClusterClient.connect(kubeconfig=stage.kubeconfig, field_manager="argocd-controller")
    live = stage.kanary() or {}
    spec = {"destination": live["spec"]["destination"], "routes": live["spec"]["routes"]}
    metadata = {"name": "web", "namespace": "shop", "annotations": {"owner": "team"}}
    manifest = {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": metadata, "spec": spec}
    client.apply(KANARIES, "shop", "web", manifest, force=True)
    stage.done(verb)
    ordered = stage.kanary()
    assert client.apply(KANARIES, "shop", "web", manifest, force=False) == ordered
    assert stage.order(f"kanary.k8s.io/{verb}")


def test_the_author_is_the_user_of_the_api_server(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Verbs, "username", lambda _: "jane@example.com" + "m" * 300)
    stage.done("pause")
    assert (stage.order(PAUSE) or {})["by"] == ("jane@example.com" + "m" * 300)[:200]


def test_a_reason_is_one_line_of_at_most_200_characters(stage: Stage) -> None:
    stage.done("pause", "--reason", "lunch\nwith \x1b[31mbob")
    assert (stage.order(PAUSE) or {})["reason"] == "lunch with \\x1b[31mbob"
    printed = stage.give("resume", "-m", "x" * 201)
    assert printed.code == 2
    assert "it has 201 characters, 200 are allowed: shorten it" in printed.err
