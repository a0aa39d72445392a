"""Stand-ins for the controllers that an operator watches the work of. Off unless they are asked for."""

from ..access import Store
from ..cluster import Cluster
from ..storage import Change
from .deployments import Deployments
from .endpoints import Endpoints

__all__ = ["Controllers"]

# What the controllers look at; what they only write wakes nobody.
_WATCHED = ("/services", "/pods", "apps/deployments")


class Controllers:
    """Lets both controllers work on a namespace whenever something changed in it."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self._store = store
        self._deployments = Deployments(cluster, store)
        self._endpoints = Endpoints(store, cluster.catalog)
        # By namespace, the revision up to which a step has seen everything, its own writes included.
        self._seen: dict[str, int] = {}

    def handle(self, change: Change) -> None:
        namespace = change.record.namespace
        if change.bucket in _WATCHED and change.revision > self._seen.get(namespace, 0):
            self._deployments.step(namespace)
            self._endpoints.step(namespace)
            self._seen[namespace] = self._store.revision
