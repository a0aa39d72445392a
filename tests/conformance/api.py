"""A plain HTTP client for a Kubernetes API, the same for the in-process server and for a real cluster."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

import urllib3
import yaml

from tests.waiting import await_that

Object: TypeAlias = dict[str, Any]

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
# Nothing waits for it when all is well. A real garbage collector looks for new kinds every 30 s.
DEADLINE = 120.0


@dataclass(frozen=True)
class Reply:
    """An answer: HTTP status and decoded body."""

    status: int
    body: Any

    def ok(self) -> Object:
        """The body of a success; fails the test on anything else."""
        assert 200 <= self.status < 300, f"{self.status}: {self.body}"
        assert isinstance(self.body, dict)
        return self.body

    def refused(self, status: int, reason: str = "") -> Object:
        """The Status of a refusal; fails the test on anything else."""
        assert self.status == status, f"expected {status}, got {self.status}: {self.body}"
        assert self.body["kind"] == "Status", self.body
        assert self.body["status"] == "Failure", self.body
        assert self.body.get("code") == status, self.body
        if reason:
            assert self.body.get("reason") == reason, self.body
        return dict(self.body)

    def causes(self) -> dict[str, str]:
        """The reasons of a refusal by field, indices of lists left out: releases differ in whether they name them."""
        causes = self.body.get("details", {}).get("causes", [])
        return {_without_indices(cause["field"]): cause["reason"] for cause in causes}


def _without_indices(field: str) -> str:
    return "".join(part.partition("]")[2] if "]" in part else part for part in field.split("["))


class Api:
    """An API server. `query` parameters are given as keywords."""

    def __init__(self, url: str, headers: dict[str, str] | None = None, **tls: Any) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "conformance/1.0", **(headers or {})}
        self._pool = urllib3.PoolManager(maxsize=16, retries=False, **tls)

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: Any
    ) -> Reply:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = self._headers | {"Content-Type": content_type}
        timeout = urllib3.Timeout(connect=10, read=DEADLINE)
        response = self._pool.request(method, self._at(path, query), body=data, headers=headers, timeout=timeout)
        text = response.data.decode()
        is_json = "json" in response.headers.get("Content-Type", "")
        return Reply(response.status, json.loads(text) if is_json else text)

    def get(self, path: str, **query: Any) -> Reply:
        return self.request("GET", path, **query)

    def watch(self, path: str, **query: Any) -> WatchStream:
        timeout = urllib3.Timeout(connect=10, read=DEADLINE)
        url = self._at(path, {"watch": "1", "timeoutSeconds": 50, **query})
        response = self._pool.request("GET", url, headers=self._headers, preload_content=False, timeout=timeout)
        return WatchStream(response)

    def _at(self, path: str, query: dict[str, Any]) -> str:
        return f"{self._url}{path}" + (f"?{urlencode(query)}" if query else "")


class WatchStream:
    """A running watch; a thread collects its events."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self.status = response.status
        self.events: list[Object] = []
        self.ended = False
        self._response = response
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> WatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        # A stream that ended by itself has no connection any more, which urllib3 says in one of two ways.
        with contextlib.suppress(RuntimeError, ValueError):
            self._response.shutdown()
        self._thread.join()
        self._response.release_conn()

    def _read(self) -> None:
        buffered = b""
        try:
            for chunk in self._response.stream():
                *lines, buffered = (buffered + chunk).split(b"\n")
                with self._changed:
                    self.events += [json.loads(line) for line in lines]
                    self._changed.notify_all()
        except (urllib3.exceptions.HTTPError, ValueError):
            pass  # The test ended the stream; ValueError is what reading a closed one raises.
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def until(self, holds: Callable[[list[Object]], object], what: str) -> list[Object]:
        """Waits until this holds for the events so far, and returns them."""
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self.events), DEADLINE), f"{what}: got {self.events}"
            return list(self.events)

    def seen(self, count: int) -> list[tuple[str, str]]:
        """Waits for so many events (bookmarks left out) and returns their types and names."""
        events = self.until(lambda all_: len(_without_bookmarks(all_)) >= count, f"{count} events")
        return [(event["type"], event["object"]["metadata"]["name"]) for event in _without_bookmarks(events)]

    def objects(self, count: int) -> list[Object]:
        """Waits for so many events (bookmarks left out) and returns their objects."""
        events = self.until(lambda all_: len(_without_bookmarks(all_)) >= count, f"{count} events")
        return [event["object"] for event in _without_bookmarks(events)]

    def wait_for_end(self) -> list[Object]:
        """Waits until the server ended the stream."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.ended, DEADLINE), f"still open after {self.events}"
            return list(self.events)


def _without_bookmarks(events: list[Object]) -> list[Object]:
    return [event for event in events if event["type"] != "BOOKMARK"]


def eventually(holds: Callable[[], object], what: str) -> None:
    """Waits until this holds; fails the test after the deadline."""
    await_that(holds, what, DEADLINE)


def from_kubeconfig(path: Path, scratch: Path) -> Api:
    """The API that a kubeconfig's current context leads to, with a client certificate, a token or neither.

    Certificates that stand in the kubeconfig itself are written into the directory `scratch`.
    """
    config = yaml.safe_load(path.read_text())
    context = _named(config["contexts"], config["current-context"])["context"]
    cluster = _named(config["clusters"], context["cluster"])["cluster"]
    user = _named(config.get("users") or [], context["user"]).get("user") or {}
    headers = {"Authorization": f"Bearer {user['token']}"} if user.get("token") else {}
    if not cluster["server"].startswith("https:"):
        return Api(cluster["server"], headers)
    return Api(cluster["server"], headers, **_verification(cluster, scratch), **_client_certificate(user, scratch))


def _named(items: list[Object], name: str) -> Object:
    return next(item for item in items if item["name"] == name)


def _verification(cluster: Object, scratch: Path) -> Object:
    if cluster.get("insecure-skip-tls-verify"):
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        return {"cert_reqs": "CERT_NONE"}
    return {"ca_certs": _file(cluster, "certificate-authority", scratch), "cert_reqs": "CERT_REQUIRED"}


def _client_certificate(user: Object, scratch: Path) -> Object:
    if "client-certificate" not in user and "client-certificate-data" not in user:
        return {}
    certificate, key = (_file(user, name, scratch) for name in ("client-certificate", "client-key"))
    return {"cert_file": certificate, "key_file": key}


def _file(settings: Object, name: str, scratch: Path) -> str:
    """The path of a setting that is a file, or whose content stands in the kubeconfig itself."""
    if f"{name}-data" not in settings:
        return str(settings[name])
    path = scratch / name
    path.touch(mode=0o600)
    path.write_bytes(base64.b64decode(settings[f"{name}-data"]))
    return str(path)
