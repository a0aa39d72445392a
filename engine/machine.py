"""Runs the transition tables of `states` with the `transitions` library."""

import threading
from collections.abc import Iterable
from typing import Generic

from transitions import Machine, MachineError

from states import TRANSITIONS, Phase, Transition, Trigger
from states.phases import Move, State
from states.rollouts import ROLLOUT_TRANSITIONS, RolloutState, RolloutTrigger


class IllegalTransitionError(Exception):
    """The table has no such row; the phase is unchanged."""


class _Model:
    """The object that the library moves: a new one for each trigger, so that no two reconciles share state."""

    state: str


class TableMachine(Generic[State, Move]):
    """Fires the triggers of one table; thread-safe."""

    def __init__(self, states: type[State], table: Iterable[Transition[State, Move]]) -> None:
        self._states = states
        # No auto transitions: they would bypass the table. No queue: all models of a machine would share it.
        names = [state.value for state in states]
        self._machine = Machine(model=None, states=names, initial=names[0], auto_transitions=False, queued=False)
        for row in table:
            self._machine.add_transition(
                row.trigger.value, [state.value for state in row.sources], row.destination.value
            )
        # Adding and removing a model changes the machine's list of models.
        self._lock = threading.Lock()

    def fire(self, state: State, trigger: Move) -> State:
        """The state that `trigger` leads to. Raises IllegalTransitionError if the table does not allow it."""
        model = _Model()
        with self._lock:
            self._machine.add_model(model, initial=state.value)
            try:
                getattr(model, trigger.value)()
            except MachineError as error:
                raise IllegalTransitionError(f"{trigger} is not possible in {state}") from error
            finally:
                self._machine.remove_model(model)
        return self._states(model.state)


RolloutMachine = TableMachine[RolloutState, RolloutTrigger]


def phase_machine() -> TableMachine[Phase, Trigger]:
    """The machine of the phases of a Kanary."""
    return TableMachine(Phase, TRANSITIONS)


def rollout_machine() -> RolloutMachine:
    """The machine of a rollout."""
    return TableMachine(RolloutState, ROLLOUT_TRANSITIONS)
