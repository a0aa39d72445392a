"""The parts of the history's HTTP API other than queries and records, shared by the server and its client."""

from enum import StrEnum

from engine.model.shape import Shape

ROOT = "/history/v1"
PORT = 8081
"""Default port of the API, on loopback only."""


class Refusal(StrEnum):
    """Reasons for refusing a request. If the history cannot be read, the reason is a `FaultReason` instead."""

    BAD_PARAMETER = "BadParameter"
    UNKNOWN_PATH = "UnknownPath"


class Refused(Shape):
    """The response to a request that failed."""

    reason: str
    """A word for programs."""
    message: str
    """A line for people: what is wrong, and what to do."""
