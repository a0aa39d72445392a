"""Actions of Argo CD on rollouts: its Lua, as Argo CD runs it, writes what the command line writes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaRuntime

from engine.last_status import read_status
from engine.model.commands import ABORT, PAUSE, PROMOTE, RESUME, RETRY, Command, read_command
from kanary.cli import steering
from kanary.cli.failure import CommandError
from states.rollouts import RolloutState
from tests.manifests.programs import MANIFESTS
from tests.unit.kanaries import route
from tests.unit.snapshots import NOW

Json = dict[str, Any]

_PATCH = yaml.safe_load((MANIFESTS / "argocd" / "argocd-cm.yaml").read_text(encoding="utf-8"))
CUSTOMIZATION = yaml.safe_load(_PATCH["data"]["resource.customizations.actions.kanary.k8s.io_Kanary"])
SCRIPTS = {each["name"]: each["action.lua"] for each in CUSTOMIZATION["definitions"]}
ORDERS: dict[str, tuple[str, Json]] = {
    "promote": ("promote", {"is_seen": True}),
    "promote-full": ("promote", {"is_full": True}),
    "pause": ("pause", {}),
    "resume": ("resume", {}),
    "abort": ("abort", {}),
    "retry": ("retry", {}),
}
"""The verbs of the command line."""


def run(script: str, kanary: Json) -> Any:
    """What a script returns. Argo CD gives it the object `obj`, in which numbers are doubles."""
    lua: Any = LuaRuntime(unpack_returned_tuples=True)
    call = lua.eval("function(text, obj) local run = loadstring(text); setfenv(run, {obj = obj}); return run() end")
    return call(script, lua.table_from(_doubles(kanary), recursive=True))


def _doubles(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _doubles(each) for key, each in value.items()}
    if isinstance(value, list):
        return [*map(_doubles, value)]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def discovered(kanary: Json) -> dict[str, bool]:
    """Each action, and whether it is enabled."""
    found = run(CUSTOMIZATION["discovery.lua"], kanary)
    return {name: not action["disabled"] for name, action in found.items()}


def annotations(kanary: Json) -> dict[str, Command | None]:
    return {each: read_command(kanary, each) for each in (PROMOTE, PAUSE, RESUME, ABORT, RETRY)}


def kanary_with(rollout: Json | None, given: dict[str, str] | None = None) -> Json:
    status = {"phase": "Rolling", "observedGeneration": 1} | ({"rollout": rollout} if rollout else {})
    metadata: Json = {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "1", "generation": 1}
    metadata |= {"annotations": given} if given is not None else {}
    steps = [{"to": 10, "until": "Promoted"}, {"to": 50, "until": "Promoted"}, {"to": 100, "until": "Promoted"}]
    routes = [route("myapp-v1", 0), route("myapp-v2", 100)]
    spec = {"destination": "myapp", "routes": routes, "rollout": {"steps": steps}}
    return {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": metadata, "spec": spec, "status": status}


def rollout_in(state: RolloutState, step: int) -> Json:
    good, goal = ([route("myapp-v1", v1), route("myapp-v2", 100 - v1)] for v1 in (100, 0))
    at = {"step": step} | ({"to": (10, 50, 100)[step - 1]} if step else {})
    routes = {"good": good, "start": good, "goal": goal}
    return {"number": 12, "state": state.value, "steps": 3, "seconds": 60, **at, **routes}


GIVEN = [
    None,
    {"other": "stays"},
    {PAUSE: Command(rollout=12, by="jane").model_dump_json(by_alias=True), "other": "stays"},
    {RESUME: Command(rollout=12, by="jane").model_dump_json(by_alias=True)},
]


def test_every_action_that_is_offered_is_defined_and_is_one_of_the_command_line() -> None:
    assert discovered(kanary_with(None)) == dict.fromkeys(ORDERS, False)
    assert SCRIPTS.keys() == ORDERS.keys()


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("step", [0, 1, 2, 3])
@pytest.mark.parametrize("state", RolloutState)
def test_an_action_writes_what_the_command_line_writes(
    state: RolloutState, step: int, given: dict[str, str] | None
) -> None:
    kanary = kanary_with(rollout_in(state, step), given)
    rollout = read_status(kanary).rollout
    assert rollout
    enabled = discovered(kanary)
    for name, (verb, how) in ORDERS.items():
        command = Command(rollout=12, by="Argo CD")
        try:
            order = getattr(steering, verb)(steering.Steered(kanary, rollout, NOW), command, **how)
        except CommandError:
            assert not enabled[name], name
            continue
        if order.annotations:
            assert enabled[name], name
            acted = run(SCRIPTS[name], kanary)
            found = {**kanary, "metadata": {"annotations": dict(acted["metadata"]["annotations"])}}
            assert annotations(found) == annotations(kanary) | order.annotations
            assert found["metadata"]["annotations"].get("other") == (given or {}).get("other")
            assert acted["spec"]["destination"] == "myapp"
