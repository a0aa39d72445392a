"""Follows what changes: redrawn in place in a terminal, otherwise written once more at each change."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment

from kanary.cli.console import is_terminal, new_console, text_of
from kanary.cli.failure import CommandError
from kanary.cli.output import json_text, yaml_text

_REDRAW_SECONDS = 1.0
"""How often ages are drawn anew, and how soon a pipe that its reader has closed is detected."""
_LEAST_SECONDS = 0.2
"""The time between two pictures: of changes within it only the last is shown."""
_REST = 3
"""Between two pictures, the command rests so many times as long as one takes: there may be thousands of Kanaries."""
_ENDING = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Sight:
    """What there is to see at a moment."""

    picture: RenderableType
    document: Callable[[], Any]
    """The same for programs."""
    state: object
    """Another one is a change. Counts and ages are no part of it."""
    end: str = ""
    """Why there is nothing more to see."""


class Feed(ABC):
    """Where the sights come from."""

    def __init__(self) -> None:
        self.news = threading.Event()
        """Set when there may be something new."""

    @abstractmethod
    def look(self, columns: int) -> Sight:
        """What there is to see now, for people in a terminal of so many columns."""


def watch(feed: Feed, output: str) -> None:
    """Show what there is to see until the user interrupts it. Raises CommandError at its end."""
    if output == "text" and is_terminal():
        _redraw(feed)
    else:
        _append(feed, output)


def write(sight: Sight, output: str, console: Console | None = None) -> None:
    """Write it once."""
    if output == "text":
        sys.stdout.write(text_of(console or new_console(), sight.picture))
    elif output == "json":
        sys.stdout.write(json_text(sight.document(), sys.stdout, indent=2) + "\n")
    else:
        sys.stdout.write(yaml_text(sight.document(), sys.stdout))


def _append(feed: Feed, output: str) -> None:
    console, last = new_console(), None
    while not _is_closed():
        began = time.monotonic()
        feed.news.clear()
        sight = feed.look(console.width)
        if last is None or sight.state != last.state:
            if output == "json":
                sys.stdout.write(json_text(sight.document(), sys.stdout) + "\n")
            else:
                sys.stdout.write(("---\n" if output == "yaml" else "\n") if last else "")
                write(sight, output, console)
            sys.stdout.flush()
            last = sight
        if sight.end:
            raise CommandError(sight.end)
        _pause(feed, began)


def _redraw(feed: Feed) -> None:
    console, began = new_console(), time.monotonic()
    sight = feed.look(console.width)
    try:
        # The other screen of the terminal: what was there before returns, and no size leaves remains.
        with Live(console=console, screen=True, auto_refresh=False) as live, _signals(live):
            while not sight.end:
                live.update(_Fitting(sight.picture), refresh=True)
                _pause(feed, began)
                began = time.monotonic()
                feed.news.clear()
                sight = feed.look(console.width)
    finally:
        write(sight, "text", console)
    raise CommandError(sight.end)


def _pause(feed: Feed, began: float) -> None:
    time.sleep(max(_LEAST_SECONDS, _REST * (time.monotonic() - began)))
    feed.news.wait(_REDRAW_SECONDS - _LEAST_SECONDS)


def _is_closed() -> bool:
    """Whether the output is a pipe that its reader has closed."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


@contextmanager
def _signals(live: Live) -> Iterator[None]:
    """Leave the terminal clean also if the process is ended or suspended."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def suspend(*_: object) -> None:
        live.stop()
        os.kill(os.getpid(), signal.SIGSTOP)
        live.start(refresh=True)

    former = {number: signal.signal(number, end) for number in _ENDING}
    former[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class _Fitting:
    """As much of a picture as the terminal has lines."""

    picture: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self.picture, options.update(height=None), pad=False)
        room = console.height
        if len(lines) > room:
            more = f"and {len(lines) - room + 1} more lines: a larger terminal shows them"
            lines = [*lines[: room - 1], [Segment(more[: console.width])]]
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line
