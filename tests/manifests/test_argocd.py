"""The health of a Kanary in Argo CD: its Lua, as Argo CD runs it, on the statuses that the operator writes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaRuntime

from engine.conditions import RECORDED, conditions, with_defect
from engine.model.status import KanaryStatus
from engine.model.times import time_text
from engine.status import status_json
from states import Decision, Phase, Reason
from states.outlook import OUTLOOKS, Outlook
from tests import kstatus
from tests.manifests.programs import MANIFESTS
from tests.unit.snapshots import NOW

KEY = "resource.customizations.health.kanary.k8s.io_Kanary"
HEALTH = {Outlook.RECONCILING: "Progressing", Outlook.STALLED: "Degraded", Outlook.HELD: "Suspended"}
Json = dict[str, Any]


def health(status: Json, generation: int = 3) -> tuple[str, str]:
    """Status and message; Argo CD gives a script the object `obj`, and takes the table that it returns."""
    patch = yaml.safe_load((MANIFESTS / "argocd" / "argocd-cm.yaml").read_text(encoding="utf-8"))
    lua: Any = LuaRuntime(unpack_returned_tuples=True)
    script = lua.eval(
        "function(text, obj) local run = loadstring(text); setfenv(run, {obj = obj, ipairs = ipairs}); return run() end"
    )
    # Numbers are doubles in it.
    obj = {"metadata": {"name": "rule", "generation": float(generation)}, **({"status": status} if status else {})}
    found = script(patch["data"][KEY], lua.table_from(obj, recursive=True))
    assert set(found) == {"status", "message"}
    return found["status"], found["message"]


def written(reason: Reason, phase: Phase) -> KanaryStatus:
    is_ready, decision = phase is Phase.READY, Decision(None, reason, f"why it is {reason}")
    found = conditions((), is_ready=is_ready, decision=decision, recording=RECORDED, generation=3, now=time_text(NOW))
    return KanaryStatus(
        observed_generation=3, phase=phase.value, reason=reason.value, message=decision.message, conditions=found
    )


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("reason", Reason)
def test_it_says_what_is_healthy_what_continues_and_what_a_person_has_to_change(reason: Reason, phase: Phase) -> None:
    status = status_json(written(reason, phase))
    expected = "Healthy" if phase is Phase.READY else HEALTH[OUTLOOKS[reason]]
    assert health(status) == (expected, f"why it is {reason}")
    # As Flux and others see it, which have no word for what is held.
    followed = {"Healthy": kstatus.CURRENT, "Degraded": kstatus.FAILED}.get(expected, kstatus.IN_PROGRESS)
    assert kstatus.computed({"metadata": {"generation": 3}, "status": status}) == followed


def test_a_change_that_the_operator_has_not_observed_is_in_progress() -> None:
    ready = status_json(written(Reason.SERVING, Phase.READY))
    for status, generation in (({}, 1), (ready, 4)):
        assert health(status, generation)[0] == "Progressing"


def test_what_cannot_be_observed_is_unknown() -> None:
    status = status_json(with_defect(written(Reason.SERVING, Phase.READY), "no such luck", NOW))
    assert health(status) == ("Unknown", "no such luck")
