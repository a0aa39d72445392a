"""The door for text from outside: of users, pods, HAProxy, the API server, databases and webhooks.

Whoever writes it may not be trusted, and it ends in logs, statuses, Events, terminals and pages.
"""

from __future__ import annotations

LONGEST = 2_000
"""Characters of a text that has no smaller limit."""


def plain(text: str) -> str:
    """Text on one line, without characters that move the cursor, change colours or the writing direction."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def one_line(text: str) -> str:
    """As `plain`, with each run of white space as one space."""
    return plain(" ".join(text.split()))


def harmless(text: object, limit: int = LONGEST) -> str:
    """As `one_line`, of at most so many characters; of None it is empty."""
    # Each character of the text may become ten, and a text of many megabytes needs no look at its end.
    found = one_line(str(text)[: 2 * limit]) if text is not None else ""
    return found if len(found) <= limit else f"{found[: limit - 1]}…"
