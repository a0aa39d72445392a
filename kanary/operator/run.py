"""Runs the operator with logging and signal handlers."""

import gc
import logging
import resource
import signal
import sys

from kanary.kube.errors import NotConfigured
from kanary.operator.logs import start_logging
from kanary.operator.process import make
from kanary.operator.settings import Settings

_log = logging.getLogger(__name__)

_NEW_OBJECTS = 10_000
"""Objects after which the garbage collector looks at the new ones. A reconcile makes thousands, with hardly a cycle:
with the default of 700, collections took 6 % of its CPU. Now they take less than 1 %, and cycles hold some megabytes.
"""


def run(settings: Settings) -> int:
    """Run the operator until SIGTERM or SIGINT; returns the exit code."""
    start_logging(settings.log_level, settings.log_format, sys.stderr)
    raise_file_limit()
    gc.set_threshold(_NEW_OBJECTS)
    try:
        operator = make(settings)
    except NotConfigured as error:
        _log.critical("%s", error)
        return 1
    except OSError as error:
        _log.critical("cannot listen: %s; choose other ports by --http-port and --history-port", error.strerror)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: operator.stop())
    return operator.run()


def raise_file_limit() -> None:
    """Allow as many open files as the system does: each proxy takes one, and the soft limit is often 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
