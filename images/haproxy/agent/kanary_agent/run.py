"""The agent's command line, its loop, and what it reports."""

import argparse
import json
import os
import signal
import sys
from typing import NoReturn

from kanary_agent.guard import Guard
from kanary_agent.master import Figures, Master, SilentError
from kanary_agent.reports import Reports
from kanary_agent.sentences import SHORTEST_SECONDS
from kanary_agent.updater import Updater

TURN_SECONDS = 0.1
# A check takes some ten milliseconds, and nothing else is waited for until it has ended.
BUSY_TURN_SECONDS = 0.01

NOTHING = Figures(digest="", draining=0, connections=0, max_connections=0)


def main() -> NoReturn:
    """Runs until it is told to stop."""
    options = _options()
    master = Master(os.path.join(options.run, "master.sock"), options.run)
    updater = Updater(options.mounted, options.run, options.haproxy, master)
    guard = Guard(master, options.eject_seconds)
    pages = {"/report": lambda: report(master, updater, guard), "/healthz": lambda: "ok\n"}
    reports = Reports(options.port, pages)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, _stop)
    try:
        while True:
            updater.turn()
            guard.turn(updater.changes)
            reports.serve(BUSY_TURN_SECONDS if updater.is_checking else TURN_SECONDS)
    finally:
        updater.stop()


def report(master: Master, updater: Updater, guard: Guard) -> str:
    """What HAProxy serves now, asked now, and what keeps it from serving the mounted text."""
    try:
        figures, silence = master.figures(), ""
    except SilentError as error:
        figures, silence = NOTHING, str(error)
    refused = updater.refused
    return json.dumps(
        {
            "digest": figures.digest,
            "refused": {"digest": refused[0], "message": refused[1]} if refused else None,
            "draining": figures.draining,
            "connections": figures.connections,
            "maxConnections": figures.max_connections,
            "problem": updater.problem or silence,
            "ejected": guard.ejected,
        }
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kanary-agent", description="Keeps HAProxy at a mounted configuration.")
    parser.add_argument("--mounted", required=True, help="the configuration that is to be served")
    parser.add_argument("--run", required=True, help="the folder of haproxy.cfg and master.sock")
    parser.add_argument("--port", required=True, type=int, help="where the report is served")
    parser.add_argument("--haproxy", default="haproxy", help="the program that checks configurations")
    ejected = "for how long a server that resets its connections is taken out the first time"
    parser.add_argument("--eject-seconds", default=SHORTEST_SECONDS, type=float, help=ejected)
    return parser.parse_args()


def _stop(*_: object) -> NoReturn:
    sys.exit(0)
