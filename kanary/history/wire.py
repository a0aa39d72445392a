"""What the HTTP API of the history has beside queries and records; for the server and for its client."""

from enum import StrEnum

from engine.model.shape import Shape

ROOT = "/history/v1"
PORT = 8081
"""Where the operator serves it, on loopback only."""


class Refusal(StrEnum):
    """Why a request is refused. Where the record cannot be read, the reason is that of the fault."""

    BAD_PARAMETER = "BadParameter"
    UNKNOWN_PATH = "UnknownPath"


class Refused(Shape):
    """Why there is no answer."""

    reason: str
    """One word, for programs."""
    message: str
    """One line, for people: what is wrong, and what to do."""
