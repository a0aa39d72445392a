"""The API server as tests hold it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import yaml

from .access import Store
from .app import App
from .builtin import CUSTOM_RESOURCES
from .cluster import Cluster
from .controllers import Controllers
from .crd import Definitions
from .errors import Object
from .faults import Faults
from .follower import Follower
from .garbage import GarbageCollector
from .http import Transport
from .requestlog import RequestLog
from .requests import Request, Target
from .storage import Change, to_json
from .writing import Writing


class ApiServer:
    """A Kubernetes API server in this process, on a free port of 127.0.0.1. Use it as a context manager."""

    def __init__(self, *, controllers: bool = False) -> None:
        """Makes the server; it listens at once and answers when it is started.

        `controllers` has Services get endpoints and Deployments get pods.
        """
        self.cluster = Cluster()
        self.store = Store(self.cluster)
        self.requests = RequestLog()
        self.faults = Faults()
        self._definitions = Definitions(self.cluster)
        app = App(self.cluster)
        self.authorizer = app.authorizer
        self._transport = Transport(app, self.faults, self.requests)
        self._background: list[Follower] = []
        self._follow(GarbageCollector(self.cluster).handle, "garbage-collector")
        if controllers:
            self._follow(Controllers(self.cluster, self.store).handle, "controllers")
        self._listener = threading.Thread(
            target=self._transport.serve_forever, kwargs={"poll_interval": 0.05}, name="api-server", daemon=True
        )

    def __enter__(self) -> ApiServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None and self.cluster.defects:
            raise ExceptionGroup("the in-process API server failed", self.cluster.defects)

    def _follow(self, handle: Callable[[Change], None], name: str) -> None:
        self._background.append(Follower(self.cluster, handle, name))

    def start(self) -> None:
        for worker in self._background:
            worker.start()
        self._listener.start()

    def stop(self) -> None:
        """Ends every connection, what hangs included."""
        self._transport.stop()
        for worker in self._background:
            worker.stop()
        self._listener.join()

    @property
    def url(self) -> str:
        return self._transport.url

    def kubeconfig(self, path: Path, token: str = "") -> Path:
        """Writes a kubeconfig that leads here, and returns its path.

        With a token, the rights are those that `authorizer.let` gave it.
        """
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "in-process", "cluster": {"server": self.url}}],
            "users": [{"name": "anyone", "user": {"token": token} if token else {}}],
            "contexts": [{"name": "in-process", "context": {"cluster": "in-process", "user": "anyone"}}],
            "current-context": "in-process",
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def install_crd(self, crd: Object) -> None:
        """Serves what a CustomResourceDefinition defines, as if it had been created.

        Raises ApiError when the definition is invalid.
        """
        request = Request("POST", Target(CUSTOM_RESOURCES), body=to_json(crd), user_agent="install_crd")
        Writing(self.cluster).create(request)

    def withdraw(self, group: str, version: str, plural: str) -> None:
        """Acts as a cluster without this resource; its watches end.

        Raises KeyError when it was not served.
        """
        self.cluster.storage.end(self.cluster.catalog.withdraw(group, version, plural).storage)

    def compact(self) -> None:
        """Forgets the history: older resourceVersions and continue tokens are answered with 410."""
        self.cluster.storage.compact()

    def bookmark(self) -> None:
        """Sends a bookmark to every watch that asked for bookmarks."""
        self.cluster.storage.bookmark()

    def drop_watches(self) -> None:
        """Cuts the connection of every watch."""
        self._transport.drop_watches()

    @property
    def watches(self) -> int:
        """The number of watches that are running."""
        return len(self._transport.watches())
