"""`kanary history NAME --plot`: the weights over time, as a picture or in the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from kanary.cli.failure import CommandError
from kanary.cli.find import one_kanary
from kanary.cli.output import is_unicode
from kanary.cli.timeline import timeline
from kanary.history.queries import ChangeQuery
from kanary.history.source import Source

_BESIDE = 8  # rows of the terminal that the title, the axis, the legend and the prompt take
_ROWS = (12, 20)


def draw(source: Source, query: ChangeQuery, file: str | None) -> None:
    """Draw one Kanary, into a file or, where none is named, in the terminal."""
    if file is not None and not file.lower().endswith(".svg"):
        raise CommandError(f"--plot {file}: pictures are SVG: name a file that ends in .svg")
    kanary = one_kanary(source, query.namespace or "", query.name or "", deleted=query.deleted)
    found = timeline(source, kanary, query.since, datetime.now(UTC))
    if file is None:
        from kanary.cli.drawing import drawing  # noqa: PLC0415 -- of the two ways to draw, one is loaded

        size = shutil.get_terminal_size((80, 24))
        rows = min(_ROWS[1], max(_ROWS[0], size.lines - _BESIDE - len(found.backends)))
        with_colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        sys.stdout.write(drawing(found, size.columns, rows // 4 * 4, is_unicode(sys.stdout), with_colours))
        return
    from kanary.cli.svg import svg  # noqa: PLC0415 -- as above

    try:
        Path(file).write_text(svg(found), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}") from error
    print(f"{file}: {found.title}, revisions {found.steps[0].revision} to {found.steps[-1].revision}")
