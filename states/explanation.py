"""The form of an entry of the catalogue of reasons."""

from dataclasses import dataclass

from states.phases import Phase

NOTHING = "None: Kanary continues by itself."
"""The remedy where none is needed."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A reason, for a person on call."""

    meaning: str
    """What is the case, and what happens to the traffic."""
    cause: str
    """What leads to it."""
    remedy: str
    """What to do, or what ends it."""
    phases: tuple[Phase, ...] = ()
    """The phases that have it; none if only an Event or a condition has it."""
