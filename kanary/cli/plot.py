"""`kanary history NAME --plot`: the weights over time, as a picture or in the terminal."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from kanary.cli.drawing import drawing
from kanary.cli.failure import CommandError
from kanary.cli.find import one_kanary
from kanary.cli.output import is_unicode
from kanary.cli.svg import svg
from kanary.cli.timeline import timeline
from kanary.history.queries import ChangeQuery
from kanary.history.source import Source


def draw(source: Source, query: ChangeQuery, file: str | None) -> None:
    """Draw one Kanary into an SVG file, or in the terminal if no file is named. Raises CommandError."""
    if file is not None and not file.lower().endswith(".svg"):
        raise CommandError(f"--plot {file}: pictures are SVG: name a file that ends in .svg")
    kanary = one_kanary(source, query.namespace or "", query.name or "", deleted=query.deleted)
    found = timeline(source, kanary, query.since, datetime.now(UTC))
    if file is None:
        console = Console(width=shutil.get_terminal_size().columns)
        with console.capture() as captured:
            for line in drawing(found, console.width, with_blocks=is_unicode(sys.stdout)):
                # Without these arguments `print` wraps a row that is too long, instead of cropping it.
                console.print(line, no_wrap=line.no_wrap, overflow=line.overflow)
        sys.stdout.write(captured.get())
        return
    try:
        Path(file).write_text(svg(found), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}") from error
    revisions = [change.revision for *_, change in found.weights]
    print(f"{file}: {found.title}, revisions {revisions[0]} to {revisions[-1]}")
