"""`kanary dashboard`: serves the page until it is interrupted."""

from __future__ import annotations

import logging
import os
import sys
import threading
import webbrowser
from functools import partial
from typing import Any

from kanary.cli.access import connect, opened
from kanary.cli.failure import CommandError, note
from kanary.dashboard.actions import Actions
from kanary.dashboard.app import Dashboard
from kanary.dashboard.board import Board
from kanary.dashboard.guard import Guard
from kanary.dashboard.opened import OpenedKanaries, OpenHistory
from kanary.kube.client import ClusterClient
from kanary.web.server import HttpServer, listen_on_loopback


class LocalDashboard:
    """The dashboard on a port of loopback, between `start()` and `stop()`."""

    def __init__(self, client: ClusterClient, namespace: str | None, history: OpenHistory, port: int) -> None:
        """Listen. Raises CommandError if the port cannot be used."""
        try:
            sockets = listen_on_loopback(port)
        except (OSError, OverflowError) as error:
            way_out = "choose another one, or let --port 0 choose a free one"
            raise CommandError(f"port {port} cannot be used: {error}; {way_out}") from error
        self._guard = Guard(sockets[0].getsockname()[1])
        self._board = Board(client, namespace)
        opened = OpenedKanaries(client, self._board, history)
        dashboard = Dashboard(self._board, opened, Actions(client, history), self._guard)
        self._server = HttpServer(dashboard.app(), sockets)

    def start(self) -> None:
        """Begin to watch and to serve. Raises ClusterError if the Kanaries cannot be listed."""
        self._board.start()
        self._server.start()

    def stop(self) -> None:
        """End all connections."""
        self._board.stop()
        self._server.stop()

    def new_link(self) -> str:
        """A link that opens the dashboard once; former links end."""
        return self._guard.new_link()


def serve(*, all_namespaces: bool, port: int, opens: bool, **source_of: Any) -> None:
    """Serve until Ctrl-C; `source_of` has the arguments of `opened`. Raises CommandError and ClusterError."""
    # The pages show when the cluster cannot be read.
    logging.getLogger("kanary.kube").setLevel(logging.ERROR)
    client = connect(source_of["kubeconfig"], source_of["context"])
    namespace = None if all_namespaces else source_of["namespace"] or client.namespace
    dashboard = LocalDashboard(client, namespace, partial(opened, **source_of, client=client), port)
    try:
        dashboard.start()
        link = dashboard.new_link()
        print(f"Dashboard of {client.host}: {link}")
        print("The link works once, in one browser. Enter: a new link. Ctrl-C: end.", flush=True)
        if opens and not _open(link):
            note("no browser can be opened here: open the link yourself")
        _offer_links(dashboard)
    finally:
        dashboard.stop()


def _open(link: str) -> bool:
    """Open a browser; without a screen, a program for terminals would take this one."""
    has_screen = sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(has_screen) and webbrowser.open(link)


def _offer_links(dashboard: LocalDashboard) -> None:
    """Print a new link for each line of the terminal, until the program is interrupted."""
    if sys.stdin.isatty():
        while sys.stdin.readline():
            print(dashboard.new_link(), flush=True)
    threading.Event().wait()
