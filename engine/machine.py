"""Drives the table of `states` with the `transitions` library."""

import threading

from transitions import Machine, MachineError

from states import TRANSITIONS, Phase, Trigger


class IllegalTransitionError(Exception):
    """The table has no such row; the phase is as it was."""


class _Model:
    """What the library moves: made afresh for each firing, so that no two reconciles share state."""

    state: str


class PhaseMachine:
    """Fires triggers; thread-safe."""

    def __init__(self) -> None:
        # No auto transitions: they would go round the table. No queue: it is shared by all models of a machine.
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
        """The phase that `trigger` leads to. Raises IllegalTransitionError where the table does not allow it."""
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
