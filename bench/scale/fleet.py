"""The measured Kanaries: two routes with ten pods each, two proxies, updateStrategy Live."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bench.scale.api import Api, Json, gathered
from bench.scale.player import address_of, endpoint, endpoint_slice

PODS = 10
"""Of each route."""
UNREAD = "kubernetes.io/change-cause"
"""An annotation whose change leads to no reconcile."""
READ = "kanary.k8s.io/promote"
"""One whose change does, and which has no effect if it is no order to the present rollout."""
_AT_ONCE = 16
"""Requests to the API server at a time, when many objects are created or changed."""
_BACKENDS = (10 << 24) + int(time.time()) % 2**16 * 2**8
"""In 10.0.0.0/8: nothing connects to the pods of the routes. They differ from those of stored Kanaries."""


@dataclass
class Fleet:
    """All Kanaries, and what the API server last sent about each."""

    api: Api
    states: dict[str, Json] = field(default_factory=dict)
    """Metadata and status by name."""
    addresses: int = _BACKENDS
    """The last address of a pod, as a number."""
    _seen: asyncio.Event = field(default_factory=asyncio.Event)
    _slices: dict[str, Json] = field(default_factory=dict)
    """The slices that were changed, by name. Like the cluster's controller, this writes them without a read before."""
    _locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """Of each slice: if the API server is slow, the next change is due before the last one is written."""

    async def follow(self) -> None:
        """Keep `states` current, until cancelled."""
        await self.api.follow("kanaries", self._see)

    def _see(self, kind: str, obj: Json) -> None:
        name = obj["metadata"]["name"]
        if kind == "DELETED":
            self.states.pop(name, None)
        else:
            self.states[name] = {"generation": obj["metadata"]["generation"], "status": obj.get("status") or {}}
        self._seen.set()

    async def create(self, names: Iterable[str], pods: int = PODS, pods_per_slice: int = 100) -> None:
        """Create these Kanaries, with their backends."""
        await gathered(_AT_ONCE, *(self._create(name, pods, pods_per_slice) for name in names))

    async def _create(self, name: str, pods: int, pods_per_slice: int) -> None:
        for service in (f"{name}-v1", f"{name}-v2"):
            ports = [{"name": "http", "port": 80, "targetPort": 9000, "protocol": "TCP"}]
            spec = {"type": "ClusterIP", "ports": ports, "selector": {"app": service}}
            await self.api.create("services", {"metadata": {"name": service}, "spec": spec})
            addresses = [self._new_address() for _ in range(pods)]
            for number, start in enumerate(range(0, pods, pods_per_slice), 1):
                piece = endpoint_slice(service, addresses[start : start + pods_per_slice], number)
                await self.api.create("endpointslices", piece)
        await self.api.create("kanaries", _kanary(name))

    def _new_address(self) -> str:
        """An address that no pod has had."""
        self.addresses += 1
        return address_of(self.addresses)

    async def change_weight(self, name: str, weight: int) -> None:
        """Change the weights to this one and the rest."""
        changed = await self.api.patch("kanaries", name, {"spec": {"routes": _routes(name, weight)}})
        # The status that the watch sent last is of the generation before.
        self.states[name]["generation"] = changed["metadata"]["generation"]

    async def annotate(self, name: str, annotation: str, number: int) -> None:
        """Change a Kanary in a way that has no effect: to this number in `UNREAD` or `READ`."""
        await self.api.patch("kanaries", name, {"metadata": {"annotations": {annotation: str(number)}}})

    async def replace_pod(self, name: str) -> str:
        """Replace the oldest pod of this slice; returns the new address."""
        added = self._new_address()
        async with self._locks[name]:
            found = self._slices.get(name) or await self.api.get("endpointslices", name)
            endpoints = [*found["endpoints"][1:], endpoint(name.rpartition("-")[0], added)]
            self._slices[name] = await self.api.replace("endpointslices", name, {**found, "endpoints": endpoints})
        return added

    async def await_ready(self, names: Iterable[str], seconds: float) -> None:
        """Wait until these are Ready with the spec that they have now. Raises TimeoutError with what is missing."""
        missing = set(names)

        def are_ready() -> bool:
            missing.difference_update([name for name in missing if self._is_ready(name)])
            return not missing

        try:
            await self.await_that(are_ready, seconds)
        except TimeoutError:
            name = min(missing)
            status = self.states.get(name, {}).get("status")
            raise TimeoutError(f"{len(missing)} Kanaries are not Ready after {seconds} s; {name}: {status}") from None

    async def await_that(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until this is true, which is checked after each change of a Kanary. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while not condition():
            self._seen.clear()
            await asyncio.wait_for(self._seen.wait(), max(0, end - time.monotonic()))

    def _is_ready(self, name: str) -> bool:
        state = self.states.get(name)
        if state is None:
            return False
        status = state["status"]
        return bool(status.get("phase") == "Ready" and status.get("observedGeneration") == state["generation"])


def _kanary(name: str) -> Json:
    return {
        "apiVersion": "kanary.k8s.io/v1",
        "kind": "Kanary",
        "metadata": {"name": name},
        "spec": {
            "destination": name,
            "updateStrategy": "Live",
            "proxy": {"replicas": 2},
            "routes": _routes(name, 80),
        },
    }


def _routes(name: str, weight: int) -> list[Json]:
    shares = {f"{name}-v1": weight, f"{name}-v2": 100 - weight}
    return [
        {"backend": {"serviceName": service, "servicePort": "http"}, "weight": share}
        for service, share in shares.items()
    ]
