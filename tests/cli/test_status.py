"""`kanary status`: waits for a Kanary, with the API server for tests; the test writes what an operator would."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kanary.cli import status as module
from kanary.cli.main import main
from tests.apiserver import Fault
from tests.cli.conftest import ROOT
from tests.cli.stage import Stage, rollout
from tests.unit.kanaries import OWNER

Json = dict[str, Any]
Act = Callable[[], object]

READY = {"phase": "Ready", "reason": "Serving", "message": "2 of 2 proxies serve revision 3"}
ROLLING = {"phase": "Rolling", "reason": "RollingOut", "message": "1 of 2 proxies serves revision 3"}
DEGRADED = {"phase": "Degraded", "reason": "RolledBack", "message": "rolled back to myapp-v1:http=100"}


class Reacting(io.StringIO):
    """An output that does the next thing after each line."""

    def __init__(self, acts: list[Act]) -> None:
        super().__init__()
        self._acts = acts

    def write(self, text: str) -> int:
        written = super().write(text)
        if text.endswith("\n") and self._acts:
            self._acts.pop(0)()
        return written


class Wait:
    """Runs the command, and does something after each line."""

    def __init__(self, stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.stage = stage
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str, then: list[Act] | None = None) -> tuple[int, list[str], str]:
        output = Reacting([*(then or [])])
        self._monkeypatch.setattr(sys, "stdout", output)
        code = main(["status", OWNER.name, "-n", OWNER.namespace, "--kubeconfig", self.stage.kubeconfig, *arguments])
        return code, output.getvalue().splitlines(), self._capsys.readouterr().err


@pytest.fixture
def wait(stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Wait:
    return Wait(stage, capsys, monkeypatch)


def line(status: Json) -> str:
    return f"{status['phase']} - {status['message']}"


def test_a_kanary_that_is_ready_needs_no_waiting(wait: Wait) -> None:
    wait.stage.status(**READY)
    assert wait() == (0, [line(READY)], "")


def test_each_change_is_printed_once_until_it_is_ready(wait: Wait) -> None:
    stage = wait.stage
    stage.status(**ROLLING)
    later = ROLLING | {"message": "1 of 2 proxies serves revision 3: waiting for x"}

    def only_counts() -> None:
        stage.status(**later, revision=4)
        stage.status(**READY)

    code, lines, _ = wait(then=[lambda: stage.status(**later), only_counts])
    assert (code, lines) == (0, [line(ROLLING), line(later), line(READY)])


def test_a_degraded_kanary_ends_it_with_1_and_a_hint(wait: Wait) -> None:
    stage = wait.stage
    stage.status(**ROLLING)
    code, lines, err = wait(then=[lambda: stage.status(**DEGRADED)])
    assert (code, lines) == (1, [line(ROLLING), line(DEGRADED)])
    assert "kanary explain RolledBack" in err


def test_a_degraded_kanary_may_recover_within_the_grace(wait: Wait) -> None:
    stage = wait.stage
    stage.status(**DEGRADED)
    code, lines, err = wait("--grace", "10m", then=[lambda: stage.status(**READY)])
    assert (code, lines, err) == (0, [line(DEGRADED), line(READY)], "")


def test_a_kanary_that_stays_degraded_for_the_grace_ends_it(wait: Wait) -> None:
    wait.stage.status(**DEGRADED)
    began = time.monotonic()
    code, lines, _ = wait("--grace", "1s", "--timeout", "10m")
    assert (code, lines) == (1, [line(DEGRADED)])
    assert time.monotonic() - began >= 1


def test_another_fault_within_the_grace_is_the_same_break(wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = wait.stage
    stage.status(**DEGRADED)
    other, clock = DEGRADED | {"message": "another fault"}, [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    then: list[Act] = [lambda: stage.status(**other), lambda: clock.append(clock.pop() + 60)]
    code, lines, _ = wait("--grace", "1m", "--timeout", "10m", then=then)
    assert (code, lines) == (1, [line(DEGRADED), line(other)])


def test_neither_within_the_time_out_is_3_with_what_it_waits_for(wait: Wait) -> None:
    wait.stage.status(**ROLLING)
    code, lines, err = wait("--timeout", "1s")
    assert (code, lines) == (3, [line(ROLLING)])
    assert "not Ready after 1s" in err
    assert "kanary why" in err


def test_a_status_of_an_older_spec_is_neither_printed_nor_believed(wait: Wait) -> None:
    stage = wait.stage
    for old in (READY, DEGRADED):
        stage.status(**old, observedGeneration=0)
        code, lines, err = wait("--timeout", "1s")
        assert (code, lines) == (3, [])
        assert "generation 0" in err


def test_a_spec_that_changes_meanwhile_is_waited_for(wait: Wait) -> None:
    stage = wait.stage
    stage.status(**ROLLING)
    stored = stage.server.store.get("kanaries", OWNER.name, OWNER.namespace)
    assert stored

    def change() -> None:
        """The status that the operator wrote for the former spec arrives after the change."""
        spec = {**stage.written["spec"], "paused": True}
        stage.written = {**stage.written, "spec": spec}
        stage.status(**READY)
        stage.status(**READY, observedGeneration=2)

    code, lines, _ = wait("--timeout", "10m", then=[change])
    assert (code, lines) == (0, [line(ROLLING), line(READY)])
    assert stage.server.store.get("kanaries", OWNER.name, OWNER.namespace)["metadata"]["generation"] == 2  # type: ignore[index]


def test_a_rollback_whose_retry_has_not_begun_is_no_result(wait: Wait) -> None:
    stage = wait.stage
    metadata = {**stage.written["metadata"], "annotations": {"kanary.k8s.io/retry": '{"rollout": 3, "by": "ann"}'}}
    stage.written = {**stage.written, "metadata": metadata}
    stage.status(**DEGRADED, rollout=rollout(state="RolledBack", reason="RolledBack", until=None))
    code, lines, err = wait("--timeout", "1s")
    assert (code, lines) == (3, [])
    assert "retry of rollout 3" in err
    stage.status(**DEGRADED, rollout=rollout(number=4, state="RolledBack", reason="RolledBack", until=None))
    assert wait()[:2] == (1, [line(DEGRADED)])


def test_without_a_status_the_operator_is_waited_for(wait: Wait) -> None:
    stage = wait.stage
    stage.server.store.put({**stage.written, "status": {}})
    code, lines, err = wait("--timeout", "1s")
    assert (code, lines) == (3, [])
    assert "has not written a status yet" in err


def test_reconciles_that_fail_are_no_readiness(wait: Wait) -> None:
    condition = {"type": "Ready", "status": "Unknown", "reason": "ReconcileFailed", "message": "reconcile failed: X"}
    condition |= {"observedGeneration": 1, "lastTransitionTime": "2026-11-26T12:00:00Z"}
    wait.stage.status(**READY, conditions=[condition])
    assert wait("--timeout", "1s")[:2] == (3, ["Unknown - reconcile failed: X"])


def test_an_api_server_that_does_not_respond_is_waited_for_and_reported_once(wait: Wait) -> None:
    stage = wait.stage
    stage.status(**ROLLING)
    fault = Fault.status(503, "GET", "kanaries")

    def outage() -> None:
        while not stage.server.watches:
            time.sleep(0.01)
        stage.server.faults.add(fault)
        stage.server.drop_watches()
        # So many attempts take longer than two looks at the problem.
        fault.wait_for_hits(4)
        stage.server.faults.remove(fault)
        stage.status(**READY)

    code, lines, err = wait("--timeout", "2m", then=[threading.Thread(target=outage).start])
    assert (code, lines) == (0, [line(ROLLING), line(READY)])
    assert err.count("waiting until it responds") == err.count("\n") == 1


def test_a_kanary_that_is_deleted_meanwhile_is_an_error(wait: Wait) -> None:
    stage = wait.stage
    stage.status(**ROLLING)
    code, lines, err = wait(then=[lambda: stage.server.store.delete("kanaries", OWNER.name, OWNER.namespace)])
    assert (code, lines) == (1, [line(ROLLING)])
    assert "deleted" in err


def test_an_unknown_name_lists_the_nearest(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "myapp-splt", "-n", OWNER.namespace, "--kubeconfig", stage.kubeconfig]) == 1
    assert OWNER.name in capsys.readouterr().err


def test_a_user_who_may_only_get_the_kanary_learns_what_is_missing(wait: Wait) -> None:
    wait.stage.status(**ROLLING)
    wait.stage.server.faults.add(Fault.status(403, "GET", "fieldSelector"))
    code, _, err = wait("--timeout", "10m")
    assert code == 1
    assert "403" in err or "permission" in err


@pytest.mark.parametrize("option", ["--timeout", "--grace"])
@pytest.mark.parametrize("value", ["", "0s", "5", "-1m", "soon"])
def test_a_duration_that_is_none_is_wrong_usage(wait: Wait, option: str, value: str) -> None:
    assert wait(option, value)[0] == 2


def test_control_characters_do_not_reach_the_terminal(wait: Wait) -> None:
    wait.stage.status(**READY | {"message": "\x1b[31mred\nline"})
    code, lines, _ = wait()
    assert (code, lines) == (0, ["Ready - \\x1b[31mred line"])


def test_an_interrupt_ends_it_with_130(stage: Stage) -> None:
    stage.status(**ROLLING)
    command = [sys.executable, "-m", "kanary.cli.main", "status", OWNER.name, "-n", OWNER.namespace]
    command += ["--kubeconfig", stage.kubeconfig]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == f"{line(ROLLING)}\n"
        process.send_signal(2)
        assert process.wait(60) == 130
        assert process.stderr.read() == ""


def test_a_pipe_that_is_closed_changes_no_exit_code(stage: Stage) -> None:
    stage.status(**ROLLING)
    command = [sys.executable, "-m", "kanary.cli.main", "status", OWNER.name, "-n", OWNER.namespace]
    command += ["--kubeconfig", stage.kubeconfig]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        stage.status(**ROLLING | {"message": "nobody reads this"})
        stage.status(**READY)
        assert process.wait(60) == 0
        assert process.stderr.read() == b""
        stage.status(**DEGRADED)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.close()
        assert process.wait(60) == 1
