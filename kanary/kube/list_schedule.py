"""When the objects of a kind are listed again, although their watch reports no fault."""

import random
from collections.abc import Callable

# Seconds without an event or bookmark after which the objects are listed again. API servers send a bookmark every 60 to
# 75 s, so the watch may be dead, or the resource version from which it was opened one that will never come.
_SILENCE, _LONGEST_SILENCE = 90.0, 600.0
# Seconds until the copy is compared with another list. The time doubles as long as the copy lacks nothing: a list that
# was incomplete is mended soon, and so is a watch that omits changes.
_FIRST_REVIEW, _LAST_REVIEW = 60.0, 3600.0
# The time between two lists, as a multiple of what a list takes: large clusters are listed less often.
_LIST_SHARE, _REVIEW_SHARE = 20, 200


class ListSchedule:
    """The longer a list takes, the less often it is made."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.list_seconds = 0.0
        """Of the last list."""
        self._review_pause = _FIRST_REVIEW
        self.review_at = 0.0
        """When the copy is compared with another list."""

    def add(self, began: float, *, is_proven: bool) -> None:
        """A list that began then has arrived; `is_proven` says that it has nothing that the copy lacks."""
        now = self._clock()
        self.list_seconds = now - began
        pause = min(2 * self._review_pause, _LAST_REVIEW) if is_proven else _FIRST_REVIEW
        self._review_pause = max(pause, _REVIEW_SHARE * self.list_seconds)
        self.review_at = now + self._review_pause * random.uniform(1.0, 1.5)  # noqa: S311 -- jitter is no secret

    @property
    def silence(self) -> float:
        """Seconds without a word after which the objects are listed again."""
        return min(max(_SILENCE, _LIST_SHARE * self.list_seconds), _LONGEST_SILENCE)
