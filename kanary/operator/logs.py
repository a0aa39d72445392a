"""The operator's log: JSON for a cluster's log collector, or text for a terminal."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from kanary.kube.resources import Key
from states.texts import plain

_TEXT = "%(asctime)s %(levelname)-7s %(threadName)s %(message)s"
_log = logging.getLogger(__name__)


def start_logging(level: str, form: str, stream: TextIO) -> None:
    """Log to the stream; `form` is `json`, `text`, or `auto`: text if it is a terminal."""
    is_text = form == "text" or (form == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter(_TEXT) if is_text else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # Our client reports the retries that urllib3 logs; the libraries of the state machine and of the migrations log
    # each of their steps.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    logging.getLogger("transitions").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # What Python would print by itself.
    logging.captureWarnings(capture=True)
    sys.excepthook = lambda *error: _log.critical("uncaught exception", exc_info=error)
    threading.excepthook = lambda ended: _log.critical(
        "uncaught exception in thread %s", ended.thread and ended.thread.name, exc_info=ended.exc_value
    )


def fields(**named: Any) -> Mapping[str, Any]:
    """For the argument `extra` of a log call: fields of the JSON line beside those of every line."""
    return {"fields": named}


class TextFormatter(logging.Formatter):
    """A line for people; only tracebacks have more lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name of the base class
        """The line."""
        record.message = plain(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  as above
        """The traceback."""
        return "\n".join(map(plain, super().formatException(ei).splitlines()))


class JsonFormatter(logging.Formatter):
    """One JSON object per line. A `Key` among the arguments of a message becomes `namespace` and `name`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        arguments = record.args if isinstance(record.args, tuple) else ()
        for key in arguments:
            if isinstance(key, Key):
                line |= key._asdict()
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = json.dumps(line, ensure_ascii=False, default=str)
        # DEL is an ASCII character that JSON does not escape.
        return text if text.isprintable() else json.dumps(line, default=str).replace("\x7f", "\\u007f")
