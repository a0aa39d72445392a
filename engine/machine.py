"""Runs the transition table of `states` with the `transitions` library."""

import threading

from transitions import Machine, MachineError

from states import TRANSITIONS, Phase, Trigger


class IllegalTransitionError(Exception):
    """The table has no such row; the phase is unchanged."""


class _Model:
    """The object that the library moves: a new one for each trigger, so that no two reconciles share state."""

    state: str


class PhaseMachine:
    """Fires triggers; thread-safe."""

    def __init__(self) -> None:
        # No auto transitions: they would bypass the table. No queue: all models of a machine would share it.
        self._machine = Machine(
            model=None,
            states=[phase.value for phase in Phase],
            initial=Phase.PENDING.value,
            auto_transitions=False,
            queued=False,
        )
        for row in TRANSITIONS:
            self._machine.add_transition(
                row.trigger.value, [phase.value for phase in row.sources], row.destination.value
            )
        # Adding and removing a model changes the machine's list of models.
        self._lock = threading.Lock()

    def fire(self, phase: Phase, trigger: Trigger) -> Phase:
        """The phase that `trigger` leads to. Raises IllegalTransitionError if the table does not allow it."""
        model = _Model()
        with self._lock:
            self._machine.add_model(model, initial=phase.value)
            try:
                getattr(model, trigger.value)()
            except MachineError as error:
                raise IllegalTransitionError(f"{trigger} is not possible in phase {phase}") from error
            finally:
                self._machine.remove_model(model)
        return Phase(model.state)
