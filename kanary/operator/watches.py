"""Watches all kinds of objects that the operator needs, and enqueues the Kanaries that a change affects."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from engine.model.times import time_text
from engine.render.objects import MANAGED_BY, MANAGER
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
    REPLICA_SETS,
    SERVICES,
    Key,
    Resource,
)
from kanary.kube.workqueue import WorkQueue
from kanary.operator import transforms
from kanary.operator.indexes import (
    controller_uid,
    destination_of,
    kanaries_of_owned,
    own_name,
    owning_kanaries,
    service_name,
    service_of_slice,
    services_of_applied,
    services_of_kanary,
    targets_of_pod,
    targets_of_service,
)
from kanary.operator.ownership import is_proxy
from states.timing import COPY_FAILING_LIMIT, COPY_REPORT_INTERVAL, ENDPOINTS_COALESCE, WATCH_CHECK_INTERVAL

Json = dict[str, Any]

_WHY_LENGTH = 300
"""Characters of an error in a message, which may be any text of a server."""
BY_SERVICE = "service"
BY_DESTINATION = "destination"
BY_OWNER = "owner"
BY_KANARY = "kanary"
BY_TARGET = "target"


@dataclass(frozen=True)
class Served:
    """What this cluster serves, as of the start of the operator."""

    endpoint_slices: bool
    disruption_budgets: bool
    version: str
    """Of the API server, such as `v1.31.2`."""


@dataclass(frozen=True)
class _Stale:
    """A copy that has been stale for some time."""

    kind: str
    since: datetime
    why: str
    noted: datetime

    def __str__(self) -> str:
        return f"the operator's copy of {self.kind} is from {time_text(self.since)}: {self.why[:_WHY_LENGTH]}"


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
            indexers={BY_SERVICE: services_of_kanary, BY_DESTINATION: destination_of},
            content=transforms.content_of_kanary,
        )
        self.services = self._reflector(
            SERVICES,
            self._on_service,
            transforms.service,
            indexers={BY_OWNER: controller_uid, BY_TARGET: targets_of_service},
        )
        self.config_maps = self._reflector(
            CONFIG_MAPS,
            self._on_config_map,
            transforms.config_map,
            label_selector=ours,
            indexers={BY_SERVICE: services_of_applied, BY_OWNER: controller_uid},
        )
        self.deployments = self._reflector(DEPLOYMENTS, self._on_workload, transforms.deployment, label_selector=ours)
        self.replica_sets = self._reflector(
            REPLICA_SETS, self._on_workload, transforms.replica_set, label_selector=ours
        )
        self.pods = self._reflector(
            PODS,
            self._on_proxy_pod,
            transforms.pod,
            label_selector=ours,
            indexers={BY_KANARY: kanaries_of_owned, BY_TARGET: targets_of_pod},
        )
        self.budgets = None
        if served.disruption_budgets:
            self.budgets = self._reflector(PDBS, self._on_owned, transforms.disruption_budget, label_selector=ours)
        if served.endpoint_slices:
            self.slices = self._reflector(
                ENDPOINT_SLICES, self._on_endpoints, transforms.endpoint_slice, indexers={BY_SERVICE: service_of_slice}
            )
        else:
            self.slices = self._reflector(
                ENDPOINTS, self._on_endpoints, transforms.endpoints, indexers={BY_SERVICE: own_name}
            )

        self._is_stopped = threading.Event()
        self._stale: dict[Reflector, _Stale] = {}
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
            self.replica_sets,
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
        return all(each.synced.is_set() for each in self.all)

    def unlisted(self) -> str:
        """The kinds that have not been listed, each with the last error; empty if all have."""
        return "; ".join(each.problem() or str(each.resource) for each in self.all if not each.synced.is_set())

    def can_report(self) -> bool:
        """Whether there are Kanaries to report to, and each other kind has been listed or cannot be for some time."""
        others = (each for each in self.all if each is not self.kanaries)
        return self.kanaries.synced.is_set() and all(each.synced.is_set() or each in self._stale for each in others)

    def staleness(self) -> str:
        """Which copies are stale, since when and why; empty if none is."""
        return "; ".join(str(stale) for stale in [*self._stale.values()])

    def is_deleted(self, key: Key) -> bool:
        """Whether the Kanaries have been listed, and this is none of them."""
        return self.kanaries.synced.is_set() and self.kanaries.get(*key) is None

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
        pod = self.pods.get(key.namespace, key.name)
        return pod if pod and self._is_proxy(pod) else None

    def proxy_pods(self, kanary: Key) -> list[Json]:
        """The proxy pods of a Kanary."""
        return [pod for pod in self.pods.lookup(BY_KANARY, kanary) if self._is_proxy(pod)]

    def _is_proxy(self, pod: Json) -> bool:
        return is_proxy(pod, self.replica_sets, self.deployments)

    def _look_after(self) -> None:
        while not self._is_stopped.wait(WATCH_CHECK_INTERVAL.total_seconds()):
            before = self.staleness()
            for reflector in self.all:
                reflector.close_if_silent()
                self._judge(reflector)
            if self.staleness() != before:
                self.enqueue_all()

    def _judge(self, reflector: Reflector) -> None:
        why, known, now = reflector.staleness(), self._stale.get(reflector), self._client.clock.now()
        if not why:
            self._stale = {each: stale for each, stale in self._stale.items() if each is not reflector}
        elif known is None or (why != known.why and now >= known.noted + COPY_REPORT_INTERVAL):
            since = known.since if known else now - timedelta(seconds=reflector.age())
            self._stale = {**self._stale, reflector: _Stale(str(reflector.resource), since, why, now)}

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
            stale_seconds=COPY_FAILING_LIMIT.total_seconds(),
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
        for destination in {name for obj in (old, new) if obj for name in destination_of(obj)}:
            for other in self.kanaries.lookup_keys(BY_DESTINATION, destination):
                if other != key:
                    self._queue.add(other)

    def _on_service(self, key: Key, old: Json | None, new: Json | None) -> None:
        self._enqueue_users(key.namespace, key.name, 0)
        for owner in {owner for obj in (old, new) if obj for owner in owning_kanaries(obj)}:
            self._queue.add(owner)

    def _on_endpoints(self, key: Key, old: Json | None, new: Json | None) -> None:
        for name in {service_name(key, obj) for obj in (old, new) if obj}:
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

    def _on_workload(self, key: Key, old: Json | None, new: Json | None) -> None:
        # The watch of its pods may be ahead, and it may have been adopted.
        for kanary in kanaries_of_owned(new or old or {}):
            for pod in self.pods.lookup_keys(BY_KANARY, kanary):
                self._on_pod(pod)
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
