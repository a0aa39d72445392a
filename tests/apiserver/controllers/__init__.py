"""Stand-ins for the controllers that an operator watches the work of. Off unless they are asked for."""

from collections.abc import Iterator

from ..access import Store
from ..cluster import Cluster
from ..errors import Object
from ..storage import Change
from .deployments import Deployments
from .endpoints import Endpoints

__all__ = ["Controllers"]


class Controllers:
    """Lets a controller work on a Deployment or Service whenever it or one of its pods has changed."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self._store = store
        self._deployments = Deployments(cluster, store)
        self._steps = {
            "deployments": self._deployments.step,
            "services": Endpoints(store, cluster.catalog).step,
        }
        # By object, the revision up to which a step has seen everything, its own writes included.
        self._seen: dict[tuple[str, str, str], int] = {}

    def handle(self, change: Change) -> None:
        namespace = change.record.namespace
        for resource, name in self._concerned(change):
            key = resource, namespace, name
            if change.revision <= self._seen.get(key, 0):
                continue
            if found := self._store.get(resource, name, namespace):
                self._steps[resource](found)
            self._seen[key] = self._store.revision

    def _concerned(self, change: Change) -> Iterator[tuple[str, str]]:
        """What looks at the changed object. What the controllers only write wakes nobody."""
        if change.bucket == "apps/deployments":
            yield "deployments", change.record.name
        elif change.bucket == "/services":
            yield "services", change.record.name
        elif change.bucket == "/pods":
            yield from (("deployments", name) for name in self._deployments.of_pod(change.record.value))
            states = [change.record.value, *([change.previous.value] if change.previous else [])]
            services = self._store.find("services", lambda service: _selects(service, states), change.record.namespace)
            yield from (("services", service["metadata"]["name"]) for service in services)


def _selects(service: Object, states: list[Object]) -> bool:
    """Whether a Service selects, or selected, a pod."""
    selector = service["spec"].get("selector") or {}
    return bool(selector) and any(selector.items() <= (s["metadata"].get("labels") or {}).items() for s in states)
