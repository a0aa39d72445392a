"""The zones of a Kanary's proxies and of the pods that they connect to."""

from collections.abc import Iterator

from engine.model.spec import KanarySpec
from engine.observe import Observed
from engine.render.zones import Zones, by_zone, pairs
from engine.resolve.endpoints import Resolved


def zones_of(observed: Observed, spec: KanarySpec) -> Zones | None:
    """The zones, as far as they are known; None if the spec does not prefer any.

    The slices of the destination have the zones of the proxies, so that the operator needs no permission to read nodes.
    """
    return by_zone(_members(observed, spec)) if spec.proxy.traffic_distribution else None


def _members(observed: Observed, spec: KanarySpec) -> Iterator[tuple[str, str]]:
    destination = observed.destinations.get(spec.destination)
    zones = destination.zones if destination else {}
    yield from ((zones.get(proxy.name, ""), proxy.uid) for proxy in observed.fleet.proxies)
    for route in spec.all_routes:
        found = observed.backends.get(route.backend)
        yield from pairs(found.zones) if isinstance(found, Resolved) else ()
