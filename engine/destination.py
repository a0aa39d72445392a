"""The Service that clients connect to, as observed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.fleet.fleet import Fleet, ready_endpoints
from engine.ports import ClusterView
from engine.render.objects import Identity, Json, is_ours
from engine.resolve.slices import slices_of, zones_of_pods


@dataclass(frozen=True, slots=True)
class Destination:
    """The Service that clients connect to."""

    service: Json | None
    ready_endpoints: int
    """None of a Service of others that leads to anything but the proxies."""
    zones: Mapping[str, str] = field(default_factory=dict)
    """Of its pods by name, as far as they are known."""


def observe_destination(view: ClusterView, owner: Identity, name: str, fleet: Fleet) -> Destination:
    """The Service of this name, and what is behind it."""
    service = view.service(owner.namespace, name)
    pieces = slices_of(service, view.slices(owner.namespace, name))
    if service and not is_ours(service, owner.uid, owner.labels) and not fleet.has_all(pieces):
        return Destination(service, 0)
    return Destination(service, ready_endpoints(pieces), zones_of_pods(pieces))
