"""Watches all kinds of objects that the operator needs, and enqueues the Kanaries that a change affects."""

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from engine.model.spec import KIND
from engine.model.states import APPLIED_KEY
from engine.render.objects import KANARY_LABEL, MANAGED_BY, MANAGER
from kanary.kanaries import KANARIES
from kanary.kube.cache import content_of
from kanary.kube.client import ClusterClient
from kanary.kube.reflector import Reflector
from kanary.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    PDBS,
    PODS,
    SERVICES,
    Key,
    Resource,
)
from kanary.kube.workqueue import WorkQueue
from kanary.operator import transforms
from states.timing import ENDPOINTS_COALESCE, WATCH_CHECK_INTERVAL

Json = dict[str, Any]

BY_SERVICE = "service"
BY_DESTINATION = "destination"
BY_OWNER = "owner"
BY_KANARY = "kanary"
BY_TARGET = "target"
Target = str | tuple[str, str]
"""What an endpoint leads to: an address, or the namespace and name of a pod."""
_NAMED_SERVICES = re.compile(r'"(?:destination|serviceName)": ?"([^"]*)"')


@dataclass(frozen=True)
class Served:
    """What this cluster serves, as of the start of the operator."""

    endpoint_slices: bool
    disruption_budgets: bool
    version: str
    """Of the API server, such as `v1.31.2`."""


class Watches:
    """A reflector for each kind, with indexes from objects to the Kanaries that they affect.

    `on_pod` is called with the key of a proxy pod that is new, changed or gone.
    """

    def __init__(
        self,
        client: ClusterClient,
        served: Served,
        queue: WorkQueue[Key],
        *,
        namespace: str | None = None,
        on_pod: Callable[[Key], None] = lambda _key: None,
        on_restart: Callable[[str], None] = lambda _resource: None,
    ) -> None:
        self.served = served
        self._client = client
        self._queue = queue
        self._own_statuses: dict[Key, Json] = {}
        """The statuses that are being written."""
        self._own_config_maps: dict[Key, Json] = {}
        """The ConfigMaps that are being applied."""
        self._on_pod = on_pod
        self._namespace = namespace
        self._on_restart = on_restart
        ours = f"{MANAGED_BY}={MANAGER}"
        self.kanaries = self._reflector(
            KANARIES,
            self._on_kanary,
            transforms.kanary,
            indexers={BY_SERVICE: _services_of_kanary, BY_DESTINATION: _destination_of},
            content=transforms.content_of_kanary,
        )
        self.services = self._reflector(
            SERVICES,
            self._on_service,
            transforms.service,
            indexers={BY_OWNER: _owner_of, BY_TARGET: _targets_of_service},
        )
        self.config_maps = self._reflector(
            CONFIG_MAPS,
            self._on_config_map,
            transforms.config_map,
            label_selector=ours,
            indexers={BY_SERVICE: _services_of_applied, BY_OWNER: _owner_of},
        )
        self.deployments = self._reflector(DEPLOYMENTS, self._on_owned, transforms.deployment, label_selector=ours)
        self.pods = self._reflector(
            PODS,
            self._on_proxy_pod,
            transforms.pod,
            label_selector=ours,
            indexers={BY_KANARY: kanaries_of_owned, BY_TARGET: _targets_of_pod},
        )
        self.budgets = None
        if served.disruption_budgets:
            self.budgets = self._reflector(PDBS, self._on_owned, transforms.disruption_budget, label_selector=ours)
        if served.endpoint_slices:
            self.slices = self._reflector(
                ENDPOINT_SLICES, self._on_endpoints, transforms.endpoint_slice, indexers={BY_SERVICE: _service_of_slice}
            )
        else:
            self.slices = self._reflector(
                ENDPOINTS, self._on_endpoints, transforms.endpoints, indexers={BY_SERVICE: _own_name}
            )

        self._is_stopped = threading.Event()
        self._patrol = threading.Thread(target=self._look_after, name="watches", daemon=True)
        self._by_kind = {(r.resource.api_version, r.resource.kind): r for r in self.all}

    @property
    def all(self) -> tuple[Reflector, ...]:
        """Every reflector."""
        found = (
            self.kanaries,
            self.services,
            self.slices,
            self.config_maps,
            self.deployments,
            self.pods,
            self.budgets,
        )
        return tuple(reflector for reflector in found if reflector)

    def of(self, api_version: str, kind: str) -> Reflector | None:
        """The reflector of a kind, or None."""
        return self._by_kind.get((api_version, kind))

    def start(self) -> None:
        """Start them all."""
        for reflector in self.all:
            reflector.start()
        self._patrol.start()

    def stop(self) -> None:
        """Stop them all."""
        self._is_stopped.set()
        for reflector in self.all:
            reflector.stop()

    def are_synced(self) -> bool:
        """Whether every kind has been listed."""
        return all(reflector.synced.is_set() for reflector in self.all)

    def problems(self) -> list[str]:
        """Why any of the copies is stale."""
        return [reflector.problem() for reflector in self.all if not reflector.healthy() and reflector.problem()]

    def enqueue_all(self) -> None:
        """Enqueue a routine look at every Kanary."""
        for key in self.kanaries.all_keys():
            self.enqueue(key)

    def enqueue(self, key: Key) -> None:
        """Enqueue a routine look at this Kanary."""
        self._queue.add(key, routine=True)

    @contextmanager
    def writing_status(self, key: Key, status: Json) -> Iterator[None]:
        """While a status is being written, its arrival is no change: the reconcile that writes it needs no other."""
        self._own_statuses[key] = status
        try:
            yield
        finally:
            del self._own_statuses[key]

    @contextmanager
    def applying(self, desired: Json) -> Iterator[None]:
        """While a ConfigMap is being applied, its arrival is no change: all its content comes from the reconcile."""
        is_config_map = desired["kind"] == CONFIG_MAPS.kind
        if is_config_map:
            self._own_config_maps[Key.of(desired)] = desired
        try:
            yield
        finally:
            if is_config_map:
                del self._own_config_maps[Key.of(desired)]

    def proxy_pod(self, key: Key) -> Json | None:
        """The proxy pod of that key, or None."""
        return self.pods.get(key.namespace, key.name)

    def _look_after(self) -> None:
        while not self._is_stopped.wait(WATCH_CHECK_INTERVAL.total_seconds()):
            for reflector in self.all:
                reflector.close_if_silent()

    def _reflector(
        self,
        resource: Resource,
        on_change: Callable[[Key, Json | None, Json | None], None],
        transform: Callable[[Json], Json],
        *,
        label_selector: str | None = None,
        indexers: Mapping[str, Callable[[Json], Iterable[Any]]] | None = None,
        content: Callable[[Json], Json] = content_of,
    ) -> Reflector:
        return Reflector(
            self._client,
            resource,
            on_change=on_change,
            transform=transform,
            namespace=self._namespace,
            label_selector=label_selector,
            indexers=indexers,
            content=content,
            on_restart=lambda: self._on_restart(str(resource)),
        )

    def _on_kanary(self, key: Key, old: Json | None, new: Json | None) -> None:
        own = self._own_statuses.get(key)
        if (
            old
            and new
            and own is not None
            and transforms.content_of_kanary({**old, "status": own}) == transforms.content_of_kanary(new)
        ):
            return
        self._queue.add(key)
        # Another Kanary may wait for the destination that this one has or had.
        for destination in {name for obj in (old, new) if obj for name in _destination_of(obj)}:
            for other in self.kanaries.lookup_keys(BY_DESTINATION, destination):
                if other != key:
                    self._queue.add(other)

    def _on_service(self, key: Key, old: Json | None, new: Json | None) -> None:
        self._enqueue_users(key.namespace, key.name, 0)
        for owner in {owner for obj in (old, new) if obj for owner in owning_kanaries(obj)}:
            self._queue.add(owner)

    def _on_endpoints(self, key: Key, old: Json | None, new: Json | None) -> None:
        for name in {_service_name(key, obj) for obj in (old, new) if obj}:
            self._enqueue_users(key.namespace, name, ENDPOINTS_COALESCE.total_seconds())

    def _on_owned(self, key: Key, old: Json | None, new: Json | None) -> None:  # noqa: ARG002  the signature of OnChange
        for owner in kanaries_of_owned(new or old or {}):
            self._queue.add(owner)

    def _on_config_map(self, key: Key, old: Json | None, new: Json | None) -> None:
        own = self._own_config_maps.get(key)
        if old and new and own is not None and content_of(_with(old, own)) == content_of(new):
            return
        self._on_owned(key, old, new)

    def _on_proxy_pod(self, key: Key, old: Json | None, new: Json | None) -> None:
        self._on_pod(key)
        self._on_owned(key, old, new)

    def _enqueue_users(self, namespace: str, service: str, seconds: float) -> None:
        """Enqueue the Kanaries whose spec names the Service, or whose applied spec does."""
        for key in self.kanaries.lookup_keys(BY_SERVICE, (namespace, service)):
            self._queue.add_after(key, seconds)
        for config_map in self.config_maps.lookup(BY_SERVICE, (namespace, service)):
            for owner in kanaries_of_owned(config_map):
                self._queue.add_after(owner, seconds)


def _with(config_map: Json, applied: Json) -> Json:
    """The ConfigMap after this one was applied to it."""
    before, after = config_map["metadata"], applied["metadata"]
    annotations = {**(before.get("annotations") or {}), **after["annotations"]}
    return {**config_map, "metadata": {**before, **after, "annotations": annotations}, "data": applied["data"]}


def _services_of_kanary(kanary: Json) -> Iterator[tuple[str, str]]:
    """The Services that a spec names, the destination included; the spec may be invalid."""
    namespace, spec = kanary["metadata"]["namespace"], _mapping(kanary.get("spec"))
    yield namespace, str(spec.get("destination"))
    routes = spec.get("routes")
    for route in routes if isinstance(routes, list) else ():
        yield namespace, str(_mapping(_mapping(route).get("backend")).get("serviceName"))


def _destination_of(kanary: Json) -> Iterator[tuple[str, str]]:
    destination = _mapping(kanary.get("spec")).get("destination")
    if isinstance(destination, str):
        yield kanary["metadata"]["namespace"], destination


def _services_of_applied(config_map: Json) -> Iterator[tuple[str, str]]:
    """The Services that the applied spec names. It is not parsed: it may be damaged, and has all endpoints."""
    text = str(_mapping(config_map.get("data")).get(APPLIED_KEY))
    for name in _NAMED_SERVICES.findall(text):
        yield config_map["metadata"]["namespace"], name


def _service_of_slice(piece: Json) -> Iterator[tuple[str, str]]:
    metadata = piece["metadata"]
    name = (metadata.get("labels") or {}).get(transforms.SERVICE_OF_SLICE)
    if name:
        yield metadata["namespace"], name


def _service_name(key: Key, obj: Json) -> str:
    """The Service of a slice, by its label, or of Endpoints, by their name."""
    return str((obj["metadata"].get("labels") or {}).get(transforms.SERVICE_OF_SLICE, key.name))


def _own_name(obj: Json) -> Iterator[tuple[str, str]]:
    yield obj["metadata"]["namespace"], obj["metadata"]["name"]


def _owner_of(obj: Json) -> Iterator[str]:
    references = obj["metadata"].get("ownerReferences") or ()
    yield from (reference["uid"] for reference in references if reference.get("controller"))


def owning_kanaries(obj: Json) -> Iterator[Key]:
    """The Kanary that is the controller of an object, if one is."""
    namespace = obj["metadata"]["namespace"]
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller") and reference.get("kind") == KIND:
            yield Key(namespace, reference["name"])


def kanaries_of_owned(obj: Json) -> Iterator[Key]:
    """The Kanary of an object of ours, by its label."""
    metadata = obj["metadata"]
    name = (metadata.get("labels") or {}).get(KANARY_LABEL)
    if name:
        yield Key(metadata["namespace"], name)


def _targets_of_pod(pod: Json) -> Iterator[Target]:
    """What an endpoint may have of a pod: its name or an address. The address of one that ended may be another's."""
    yield pod["metadata"]["namespace"], pod["metadata"]["name"]
    status = _mapping(pod.get("status"))
    if status.get("phase") not in ("Failed", "Succeeded"):
        yield from {status.get("podIP"), *(entry.get("ip") for entry in status.get("podIPs") or ())} - {None}


def _targets_of_service(service: Json) -> Iterator[Target]:
    """The addresses of a Service: users' ones may select proxies as well."""
    spec = _mapping(service.get("spec"))
    addresses = {spec.get("clusterIP"), *(spec.get("clusterIPs") or ()), *(spec.get("externalIPs") or ())}
    yield from addresses - {None, "", "None"}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
