"""Requests to the API server: thousands of writes a second, and a watch of each kind."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import yaml

from bench.programs import ROOT

Json = dict[str, Any]
Seen = Callable[[str, Json], None]
"""Receives ADDED, MODIFIED or DELETED, and the object."""

NAMESPACE = "scale"
_CORE, _APPS, _DISCOVERY = "/api/v1", "/apis/apps/v1", "/apis/discovery.k8s.io/v1"
PREFIXES = {
    "configmaps": _CORE,
    "pods": _CORE,
    "services": _CORE,
    "deployments": _APPS,
    "replicasets": _APPS,
    "endpointslices": _DISCOVERY,
    "kanaries": "/apis/kanary.k8s.io/v1",
}
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_APPLY = {"Content-Type": "application/apply-patch+yaml"}
_MERGE = {"Content-Type": "application/merge-patch+json"}
_LINE = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_READS = {"GET", "LIST", "WATCH"}


class Api:
    """The API server of a kubeconfig, in one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str = NAMESPACE) -> None:
        self._namespace = namespace
        self._cluster = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context(cafile=self._cluster["certificate-authority"])
        connector = aiohttp.TCPConnector(ssl=context, limit=64)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
        self._session = aiohttp.ClientSession(self._cluster["server"], connector=connector, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def prepare(self) -> None:
        """Create the CRD of Kanaries and the namespace, and wait until both are served."""
        obj = yaml.safe_load((ROOT / "manifests" / "base" / "crd.yaml").read_text())
        await self.apply(f"{_CRDS}/{obj['metadata']['name']}", obj)
        for name in (self._namespace, "default"):
            await self.apply(
                f"{_CORE}/namespaces/{name}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            )
        while True:
            async with self._session.get(self.path_of("kanaries")) as response:
                if response.ok:
                    return
            await asyncio.sleep(0.1)

    async def create(self, resource: str, obj: Json) -> Json:
        """Create the object. Raises RuntimeError with the server's message."""
        return await self._send("POST", self.path_of(resource), obj)

    async def get(self, resource: str, name: str) -> Json:
        """The object. Raises RuntimeError with the server's message."""
        return await self._send("GET", self.path_of(resource, name))

    async def list(self, resource: str, selector: str = "") -> list[Json]:
        """All objects. Raises RuntimeError with the server's message."""
        found: list[Json] = (await self._send("GET", f"{self.path_of(resource)}?labelSelector={quote(selector)}"))[
            "items"
        ]
        return found

    async def apply(self, path: str, obj: Json) -> Json:
        """Create or change the object of this path. Raises RuntimeError with the server's message."""
        return await self._send("PATCH", f"{path}?fieldManager=bench&force=true", obj, _APPLY)

    async def patch(self, resource: str, name: str, changes: Json, subresource: str = "") -> Json:
        """Merge the changes into the object. Raises RuntimeError with the server's message."""
        return await self._send("PATCH", f"{self.path_of(resource, name)}{subresource}", changes, _MERGE)

    async def replace(self, resource: str, name: str, obj: Json) -> Json:
        """Replace the object at the version that was read. Raises RuntimeError with the server's message."""
        return await self._send("PUT", self.path_of(resource, name), obj)

    async def delete(self, resource: str, name: str) -> None:
        """Delete the object at once. Raises RuntimeError with the server's message."""
        await self._send("DELETE", self.path_of(resource, name), {"gracePeriodSeconds": 0})

    async def follow(self, resource: str, seen: Seen, selector: str = "") -> None:
        """Call `seen` with each object and each change; ends only by cancellation."""
        version = "0"
        while True:
            query = {"watch": "1", "resourceVersion": version, "labelSelector": selector}
            async with self._session.get(self.path_of(resource), params=query) as response:
                response.raise_for_status()
                async for line in _lines(response.content):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise RuntimeError(f"the watch of {resource} failed: {event['object'].get('message')}")
                    version = event["object"]["metadata"]["resourceVersion"]
                    seen(event["type"], event["object"])

    async def writes(self) -> Counter[str]:
        """The successful writes that the API server has counted, by verb, resource and subresource.

        Leases are left out: a leader renews its own all the time.
        """
        async with self._session.get("/metrics") as response:
            text = await response.text()
        return writes_in(text)

    def path_of(self, resource: str, name: str = "") -> str:
        """The path of an object, or of all objects."""
        return f"{PREFIXES[resource]}/namespaces/{self._namespace}/{resource}" + (f"/{name}" if name else "")

    async def _send(self, method: str, path: str, body: Json | None = None, headers: Json | None = None) -> Json:
        async with self._session.request(method, path, json=body, headers=headers) as response:
            if response.status >= 400:  # noqa: PLR2004  where HTTP's errors begin
                raise RuntimeError(f"{method} {path}: {await response.text()}")
            found: Json = await response.json()
            return found


async def _lines(stream: aiohttp.StreamReader) -> Any:
    """Lines of any length, which the reader's own are not."""
    rest = bytearray()
    async for chunk in stream.iter_any():
        *lines, last = chunk.split(b"\n")
        for line in lines:
            yield bytes(rest + line)
            rest.clear()
        rest += last


def writes_in(text: str) -> Counter[str]:
    """The successful writes in the metrics of an API server, by verb, resource and subresource."""
    found: Counter[str] = Counter()
    for labels, count in _LINE.findall(text):
        label = dict(_LABEL.findall(labels))
        what = "/".join(filter(None, (label["resource"], label["subresource"])))
        if label["verb"] not in _READS and what != "leases" and label["code"].startswith("2"):
            found[f"{label['verb']} {what}"] += int(float(count))
    return found


async def gathered(limit: int, *work: Any) -> None:
    """Await all, so many at a time."""
    slots = asyncio.Semaphore(limit)

    async def run(one: Any) -> None:
        async with slots:
            await one

    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(run(one))
