"""`kanary get`: what a Kanary does now, its rollout, and the connections that failed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kanary.cli.failure import note
from kanary.cli.live import live_kanary
from kanary.cli.output import document, json_text, yaml_text
from kanary.cli.rollout_text import write_rollout
from kanary.cli.text import one_line, write_table
from kanary.cli.times import local_text
from kanary.cli.view import FailedConnection, KanaryView, RouteView, owner_of, read_fleet, view_of

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient

_SHOWN = 5
"""Failed connections of each route in a table; the other formats have all that the proxies keep."""


def get(client: ClusterClient, namespace: str, name: str, output: str) -> None:
    """Print a Kanary. Raises CommandError if it does not exist, and ClusterError."""
    kanary = live_kanary(client, namespace, name)
    view = view_of(kanary, read_fleet(client, owner_of(kanary)))
    if output == "text":
        _write_text(view)
        for problem in view.unknown:
            note(problem)
    elif output == "json":
        sys.stdout.write(json_text(document(view), sys.stdout, indent=2) + "\n")
    else:
        sys.stdout.write(yaml_text(document(view), sys.stdout))


def _write_text(view: KanaryView) -> None:
    print(one_line(f"{view.namespace}/{view.name}: {_phase(view)}"))
    if view.message:
        print(one_line(view.message))
    if view.rollout:
        write_rollout(view.rollout, view.message, sys.stdout)
    if view.routes:
        print()
        headings = ["BACKEND", "WEIGHT", "READY", "UP", "DOWN", "EJECTED", "CONNECTIONS", "FAILED"]
        write_table(headings, [[_cells(route) for route in view.routes]], sys.stdout)
    rows = [_failure_cells(route, failure) for route in view.routes for failure in route.failures[:_SHOWN]]
    print()
    if rows:
        write_table(["FAILED AT", "BACKEND", "POD", "CLIENT", "CAUSE"], [rows], sys.stdout)
    elif view.unknown:
        print("No failed connections are known.")
    else:
        print("No connection has failed since the agents of the proxies started.")


def _phase(view: KanaryView) -> str:
    since = f" since {local_text(view.since)}" if view.since else ""
    return f"{view.phase} ({view.reason}){since}" if view.phase else "no status yet"


def _cells(route: RouteView) -> list[str]:
    counts = (route.up, route.down, route.ejected, route.connections, route.failed)
    ready = f"{route.ready}/{route.ready + route.unready}"
    return [route.backend, str(route.weight), ready, *("-" if count is None else str(count) for count in counts)]


def _failure_cells(route: RouteView, failure: FailedConnection) -> list[str]:
    pod = f"{failure.pod} ({failure.server})" if failure.pod else failure.server or "-"
    return [local_text(failure.time), route.backend, pod, failure.client, failure.cause]
