"""The agent's command line and main loop."""

import argparse
import json
import os
import signal
import sys
import time
from typing import NoReturn

from kanary_agent.contact import LOST_SECONDS, Contact
from kanary_agent.ejections import SHORTEST_SECONDS
from kanary_agent.ejector import Ejector
from kanary_agent.failures import Failures
from kanary_agent.fullness import Fullness
from kanary_agent.inbox import Inbox
from kanary_agent.master import Master
from kanary_agent.ports import Ports
from kanary_agent.records import Pipe
from kanary_agent.reporter import Reporter
from kanary_agent.reports import ReportServer
from kanary_agent.rollback import Rollback
from kanary_agent.routes import Routes
from kanary_agent.slots import Slots
from kanary_agent.totals import Totals
from kanary_agent.updater import Updater
from kanary_agent.zones import preferring_own_zone

STEP_SECONDS = 0.1
# A verification and a check take some ten milliseconds, and delay the change.
CHECKING_STEP_SECONDS = 0.01


def main() -> NoReturn:
    """Run until SIGTERM, SIGINT or SIGUSR1."""
    options = _options()
    master = Master(os.path.join(options.run, "master.sock"), options.run)
    # It has to exist before the configuration, which HAProxy's container waits for.
    pipe = Pipe(options.run)
    slots, fullness, totals = Slots(), Fullness(), Totals(os.path.join(options.run, "counts.json"))
    routes = Routes(master, slots, totals)
    contact = Contact(options.pod, options.contact_seconds)
    rollback = Rollback(os.path.join(options.run, "rollback.json"), contact, totals.revisions, routes.count_now)

    def changed(text: str) -> str:
        return preferring_own_zone(rollback.applied_to(text), options.pod)

    updater = Updater(options.mounted, options.run, options.haproxy, master, count=routes.count_now, change=changed)
    key = os.path.join(os.path.dirname(options.mounted), "public-key.pem")
    inbox = Inbox(key, os.path.join(options.run, "inbox"), lambda: updater.newest, options.openssl)
    ports = Ports(master, slots, routes)
    ejector = Ejector(master, routes, fullness, options.eject_seconds)
    reporter = Reporter(options.pod, master, updater, fullness, routes, ports=ports, rollback=rollback)
    failures = Failures(pipe, slots, totals.revisions)
    pages = {
        "/healthz": lambda: "ok\n",
        "/metrics": slots.metrics,
        "/report": lambda: _with_failures(reporter.report(), failures.of(routes.servers)),
        "/reports": reporter.report,
    }
    server = ReportServer(options.port, pages, reporter.news, inbox, contact)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, _stop)
    try:
        while True:
            if text := inbox.take(time.monotonic()):
                contact.renew()
                updater.send(text)
            failures.step()
            rollback.step(updater.text, updater.serves_newest)
            updater.step()
            ejector.step(updater.changes)
            ports.step(updater.changes)
            server.serve(CHECKING_STEP_SECONDS if updater.is_checking or inbox.is_busy else STEP_SECONDS)
    finally:
        inbox.stop()
        updater.stop()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kanary-agent", description="Loads a mounted configuration into HAProxy.")
    parser.add_argument("--mounted", required=True, help="path of the mounted configuration")
    parser.add_argument("--run", required=True, help="folder of haproxy.cfg and master.sock")
    parser.add_argument("--port", required=True, type=int, help="port of the report")
    parser.add_argument("--pod", required=True, help="uid of the pod, for the report")
    parser.add_argument("--haproxy", default="haproxy", help="HAProxy binary that validates configurations")
    parser.add_argument("--openssl", default="openssl", help="OpenSSL binary that verifies signatures")
    ejection = "first ejection time of a server that resets its connections"
    parser.add_argument("--eject-seconds", default=SHORTEST_SECONDS, type=float, help=ejection)
    contact = "time without a sign of the operator after which the agent may roll back by itself"
    parser.add_argument("--contact-seconds", default=LOST_SECONDS, type=float, help=contact)
    return parser.parse_args()


def _with_failures(report: str, failures: object) -> str:
    return json.dumps({**json.loads(report), "failures": failures})


def _stop(*_: object) -> NoReturn:
    sys.exit(0)
