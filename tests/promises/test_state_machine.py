"""Random edits, endpoints, faults, restarts and clock jumps: the state machine stays legal, and never gets stuck."""

import os

from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis.stateful import run_state_machine_as_test

from engine.model.entries import PhaseChange, RolloutChange
from states.phases import Phase
from states.rollouts import RolloutState
from tests.promises.kanary_machine import PERFORMED, TOTALS, VISITED, KanaryMachine
from tests.promises.watched_world import PHASE_ROWS, ROLLOUT_ROWS
from tests.tables import Table, Tell

MACHINE = Table("Promise 2: the state machine under random events", ("what", "measured"))
EXAMPLES, STEPS = (200, 60) if os.environ.get("KANARY_PROMISES") == "full" else (60, 25)


def test_the_state_machine_keeps_its_promises_whatever_happens(tell: Tell) -> None:
    stages = (Stage.explicit, Stage.generate)
    run_state_machine_as_test(
        KanaryMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            phases=stages,
            suppress_health_check=list(HealthCheck),
        ),
    )
    for what, count in sorted(TOTALS.items()):
        tell(MACHINE, what, count)
    tell(MACHINE, "steps", sum(PERFORMED.values()))
    for name, count in sorted(PERFORMED.items()):
        tell(MACHINE, f"step: {name.replace('_', ' ')}", count)
    for kind, what, rows in ((PhaseChange, "phases", PHASE_ROWS), (RolloutChange, "rollouts", ROLLOUT_ROWS)):
        missing = ", ".join(" ".join(row) for row in sorted(rows - VISITED[kind]))
        tell(
            MACHINE, f"rows of the table of {what} taken", f"{len(VISITED[kind])} of {len(rows)}; not: {missing or '-'}"
        )
    assert len(VISITED[PhaseChange]) >= len(Phase), "the machine was moved"
    assert len(VISITED[RolloutChange]) >= len(RolloutState)
