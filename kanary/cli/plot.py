"""`kanary history NAME --plot`: the weights over time, as a picture or in the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import datetime
from pathlib import Path

from kanary.cli.access import Access
from kanary.cli.failure import CommandError
from kanary.cli.find import one_kanary, unknown
from kanary.cli.timeline import timeline
from kanary.history.selection import Selection

_BESIDE = 8  # rows of the terminal that the title, the axis, the legend and the prompt take
_ROWS = (12, 20)


def plot(access: Access, selection: Selection, file: str | None, now: datetime) -> int:
    """Draw one Kanary, into a file or, where none is named, into the terminal."""
    if file is not None and not file.lower().endswith(".svg"):
        raise CommandError(f"--plot {file}: pictures are drawn as SVG: name a file that ends in .svg")
    kanary = one_kanary(access.source, access.namespace, selection.name or "")
    if kanary.deleted_at and not selection.include_deleted:
        raise unknown(access.source, access.namespace, kanary.name)
    found = timeline(access.source, kanary, selection.since, now)
    if file is not None:
        from kanary.cli.svg import svg  # noqa: PLC0415 -- of the two ways to draw, one is loaded

        _write(Path(file), svg(found))
        first, last = found.steps[0].revision, found.steps[-1].revision
        print(f"{file}: {kanary.namespace}/{kanary.name}, revisions {first} to {last}")
        return 0
    from kanary.cli.drawing import draw  # noqa: PLC0415 -- as above

    size = shutil.get_terminal_size((80, 24))
    rows = min(_ROWS[1], max(_ROWS[0], size.lines - _BESIDE - len(found.backends)))
    with_colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    sys.stdout.write(draw(found, size.columns, rows // 4 * 4, with_blocks=_carries("█┤"), with_colours=with_colours))
    return 0


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}") from error


def _carries(signs: str) -> bool:
    try:
        signs.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
