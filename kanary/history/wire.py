"""What the HTTP API of the history has beside the record itself; for the server and for its client."""

from enum import StrEnum

from engine.model.shape import Shape

ROOT = "/history/v1"
PORT = 8081
"""Where the operator serves it, on loopback only."""
LIMIT_MAX = 1000
"""Items of a page at most."""


class Refusal(StrEnum):
    """Why a request is refused. Where the record cannot be read, the reason is that of the fault."""

    BAD_PARAMETER = "BadParameter"
    BAD_CURSOR = "BadCursor"
    UNKNOWN_PATH = "UnknownPath"
    UNKNOWN_KANARY = "UnknownKanary"
    UNKNOWN_REVISION = "UnknownRevision"
    UNKNOWN_CONFIGURATION = "UnknownConfiguration"


class Refused(Shape):
    """Why there is no answer."""

    reason: str
    """One word, for programs."""
    message: str
    """One line, for people: what is wrong, and what to do."""


class Revisions(Shape):
    """Which revisions of a Kanary are kept."""

    first: int | None
    """Null where none is kept."""
    last: int | None
