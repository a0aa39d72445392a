"""Actions: each says what it does, and writes exactly that or nothing."""

from __future__ import annotations

import pytest

from engine.model.commands import ABORT, PAUSE, PROMOTE, RESUME
from tests.apiserver import Fault
from tests.dashboard.stage import PAGE, Stage, Visitor, rollout
from tests.dashboard.test_guard import form_of
from tests.dashboard.test_pages import Text, text_of
from tests.unit.kanaries import OWNER


@pytest.fixture(autouse=True)
def _rolling(stage: Stage) -> None:
    stage.status(phase="Rolling", rollout=rollout())
    for name, port in (("myapp-v1", "http"), ("myapp-v2", "http")):
        body = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"name": port, "port": 80}]}}
        stage.server.store.put({**body, "metadata": {"name": name, "namespace": OWNER.namespace}})


def offered(visitor: Visitor) -> list[str]:
    """The actions that the page has buttons for."""
    actions = [str(attrs.get("action")) for tag, attrs in Text(visitor.get(PAGE)).elements if tag == "form"]
    return [action.removeprefix(f"{PAGE}/") for action in actions]


def test_a_promotion_says_which_step_follows_and_writes_one_annotation(stage: Stage, visitor: Visitor) -> None:
    assert "step 3/4 50% follows" in text_of(visitor.get(f"{PAGE}/promote"))
    before = stage.kanary()
    answer = visitor.post(f"{PAGE}/promote", **form_of(visitor, "promote"), reason="dashboards are fine")
    assert (answer.status, "Done: rollout 3" in answer.text) == (200, True)
    assert stage.order(PROMOTE) == {"rollout": 3, "step": 2, "by": "anyone", "reason": "dashboards are fine"}
    after = stage.kanary()
    assert (after["spec"], after["status"]) == (before["spec"], before["status"])
    assert set(after["metadata"]["annotations"]) == {PROMOTE}


def test_a_promotion_to_the_last_step_says_so(stage: Stage, visitor: Visitor) -> None:
    assert "step 4/4 100% follows" in text_of(visitor.get(f"{PAGE}/promote-full"))
    assert visitor.post(f"{PAGE}/promote-full", **form_of(visitor, "promote-full")).status == 200
    order = stage.order(PROMOTE)
    assert order and order["step"] == 3


def test_a_promotion_that_was_confirmed_for_another_step_writes_nothing(stage: Stage, visitor: Visitor) -> None:
    form = form_of(visitor, "promote")
    stage.status(phase="Rolling", rollout=rollout(step=3, to=50))
    answer = visitor.post(f"{PAGE}/promote", **form)
    assert (answer.status, "nothing was written" in answer.text) == (409, True)
    assert stage.order(PROMOTE) is None


def test_an_abort_is_meant_in_the_next_step_as_well_but_not_for_another_rollout(stage: Stage, visitor: Visitor) -> None:
    form = form_of(visitor, "abort")
    stage.status(phase="Rolling", rollout=rollout(number=4))
    assert visitor.post(f"{PAGE}/abort", **form).status == 409
    assert stage.order(ABORT) is None
    stage.status(phase="Rolling", rollout=rollout(step=3, to=50))
    assert visitor.post(f"{PAGE}/abort", **form).status == 200
    assert stage.order(ABORT)


def test_an_order_that_was_confirmed_for_a_former_kanary_writes_nothing(stage: Stage, visitor: Visitor) -> None:
    """Also if the next one of this name has a rollout of the same number at the same step."""
    form = form_of(visitor, "promote")
    status = stage.kanary()["status"]
    stage.server.store.delete("kanaries", OWNER.name, OWNER.namespace)
    stage.status(**status)
    answer = visitor.post(f"{PAGE}/promote", **form)
    assert (answer.status, "nothing was written" in answer.text) == (409, True)
    assert stage.order(PROMOTE) is None


def test_pause_and_resume_take_turns(stage: Stage, visitor: Visitor) -> None:
    assert offered(visitor) == ["promote", "promote-full", "pause", "abort", "undo"]
    assert visitor.post(f"{PAGE}/pause", **form_of(visitor, "pause")).status == 200
    assert stage.order(PAUSE)
    # The write is seen by the watch a moment later.
    while "resume" not in (found := offered(visitor)):
        pass
    assert "pause" not in found
    assert visitor.post(f"{PAGE}/resume", **form_of(visitor, "resume")).status == 200
    assert (stage.order(PAUSE), bool(stage.order(RESUME))) == (None, True)


def test_an_order_that_was_given_already_writes_nothing_and_says_so(stage: Stage, visitor: Visitor) -> None:
    form = form_of(visitor, "pause")
    assert "Done: rollout 3" in visitor.post(f"{PAGE}/pause", **form).text
    before = stage.kanary()
    answer = visitor.post(f"{PAGE}/pause", **form)
    assert (answer.status, stage.kanary()) == (200, before)
    text = text_of(answer.text)
    assert "Done" not in text
    assert "Nothing was written: rollout 3 of" in text
    assert "is paused already" in text


def test_what_a_promotion_does_not_override_is_a_warning(stage: Stage, visitor: Visitor) -> None:
    stage.status(phase="Rolling", rollout=rollout(), spec={"freeze": {"reason": "holidays"}})
    text = text_of(visitor.get(f"{PAGE}/promote"))
    assert "Warning: the next step waits: the weights are frozen" in text


def test_what_is_impossible_has_a_reason_and_no_form(stage: Stage, visitor: Visitor) -> None:
    stage.status(phase="Ready", rollout=rollout(state="Completed", message="rollout 3 is complete"))
    while "abort" in offered(visitor):
        pass
    answer = visitor.request("GET", f"{PAGE}/abort")
    page = answer.text
    assert answer.status == 409
    assert "rollout 3 is complete" in page
    assert "<form" not in page


def test_an_undo_shows_the_weights_and_writes_those_of_the_revision(stage: Stage, visitor: Visitor) -> None:
    text = text_of(visitor.get(f"{PAGE}/undo"))
    assert "myapp-v1:http=50 myapp-v2:http=50 (undo to revision 3)" in text
    assert "Warning: this changes" in text
    answer = visitor.post(f"{PAGE}/undo", **form_of(visitor, "undo"))
    assert (answer.status, "Done" in answer.text) == (200, True)
    assert [route["weight"] for route in stage.kanary()["spec"]["routes"]] == [50, 50]


def test_an_undo_that_was_confirmed_for_another_spec_writes_nothing(stage: Stage, visitor: Visitor) -> None:
    form = form_of(visitor, "undo")
    stage.status(phase="Rolling", rollout=rollout(), spec={"port": 9000})
    before = stage.kanary()
    answer = visitor.post(f"{PAGE}/undo", **form)
    assert (answer.status, "nothing was written" in answer.text) == (409, True)
    assert stage.kanary() == before


def test_a_right_that_is_missing_is_shown_and_nothing_is_written(stage: Stage, visitor: Visitor) -> None:
    form = form_of(visitor, "abort")
    stage.server.faults.add(Fault.status(403, "PATCH"))
    answer = visitor.post(f"{PAGE}/abort", **form)
    assert (answer.status, 'role="alert"' in answer.text) == (403, True)
    assert stage.order(ABORT) is None


@pytest.mark.parametrize("change", [{"rollout": "x"}, {"rollout": ""}, {"reason": "x" * 201}])
def test_a_form_that_was_changed_writes_nothing(stage: Stage, visitor: Visitor, change: dict[str, str]) -> None:
    assert visitor.post(f"{PAGE}/abort", **form_of(visitor, "abort") | change).status == 409
    assert stage.order(ABORT) is None


def test_an_action_without_the_cluster_reports_it(stage: Stage, visitor: Visitor) -> None:
    stage.server.faults.add(Fault.drop())
    answer = visitor.request("GET", f"{PAGE}/abort")
    assert (answer.status, "no response from the API server" in answer.text) == (409, True)
