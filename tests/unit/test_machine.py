"""The machine that fires what a rule decided."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from engine.machine import IllegalTransitionError, TableMachine, phase_machine
from states import TRANSITIONS, Phase, Trigger, next_phase

PAIRS = list(product(Phase, Trigger))


@pytest.fixture(scope="module")
def machine() -> TableMachine[Phase, Trigger]:
    return phase_machine()


def outcome(machine: TableMachine[Phase, Trigger], phase: Phase, trigger: Trigger) -> Phase | None:
    try:
        return machine.fire(phase, trigger)
    except IllegalTransitionError:
        return None


@pytest.mark.parametrize(("phase", "trigger"), PAIRS)
def test_the_machine_does_what_the_table_says(
    machine: TableMachine[Phase, Trigger], phase: Phase, trigger: Trigger
) -> None:
    assert outcome(machine, phase, trigger) is next_phase(phase, trigger)


@pytest.mark.parametrize(
    ("source", "trigger", "destination"),
    [(source, row.trigger, row.destination) for row in TRANSITIONS for source in row.sources],
)
def test_every_row_of_the_table_can_be_fired(
    machine: TableMachine[Phase, Trigger], source: Phase, trigger: Trigger, destination: Phase
) -> None:
    assert machine.fire(source, trigger) is destination


def test_no_short_cut_goes_round_the_table(machine: TableMachine[Phase, Trigger]) -> None:
    """The library would add one to each state, such as `to_Ready`."""
    assert set(machine._machine.events) == {trigger.value for trigger in Trigger}


def test_an_illegal_trigger_raises_and_names_trigger_and_phase(machine: TableMachine[Phase, Trigger]) -> None:
    with pytest.raises(IllegalTransitionError, match=r"^complete is not possible in Pending$"):
        machine.fire(Phase.PENDING, Trigger.COMPLETE)


def test_an_illegal_trigger_leaves_the_machine_as_it_was(machine: TableMachine[Phase, Trigger]) -> None:
    with pytest.raises(IllegalTransitionError):
        machine.fire(Phase.ROLLING, Trigger.ROLL)
    assert machine.fire(Phase.ROLLING, Trigger.COMPLETE) is Phase.READY


def test_a_firing_leaves_nothing_behind(machine: TableMachine[Phase, Trigger]) -> None:
    """Else the memory would grow with every move of every Kanary."""
    for phase, trigger in PAIRS:
        outcome(machine, phase, trigger)
    assert machine._machine.models == []


def test_many_threads_get_the_phase_of_their_own_kanary(machine: TableMachine[Phase, Trigger]) -> None:
    tasks = PAIRS * 20
    with ThreadPoolExecutor(max_workers=16) as pool:
        found = list(pool.map(lambda pair: outcome(machine, *pair), tasks))
    assert found == [next_phase(phase, trigger) for phase, trigger in tasks]
