"""The parts of the messages of decisions: names, numbers and consequences."""

from collections.abc import Sequence

from states.snapshot import OnEmptyRoute, RouteFacts, Snapshot, UnreachedRoute


def consequence(snapshot: Snapshot) -> str:
    """What happens to the share of an empty route. Before the first good configuration there is nothing to hold."""
    if snapshot.delivery.adopts:
        return _not_switched(snapshot)
    if snapshot.on_empty_route is OnEmptyRoute.REDISTRIBUTE:
        return "the other routes take its share"
    if snapshot.on_empty_route is OnEmptyRoute.HOLD and snapshot.has_served:
        return f"the last good configuration stays ({snapshot.weights})"
    return "connections of its share are closed"


def _not_switched(snapshot: Snapshot) -> str:
    return f"Service {snapshot.delivery.adopts} leads to its former pods"


def unreachable_text(snapshot: Snapshot, lasting: Sequence[UnreachedRoute]) -> str:
    """What is wrong with routes that no connection reaches, and the likely causes."""
    names = ", ".join(f"{route.backend} (weight {route.weight})" for route in lasting)
    evidence = next((f": {route.evidence}" for route in lasting if route.evidence), "")
    has_others = len(lasting) < sum(route.weight > 0 for route in snapshot.routes)
    is_shared = has_others and snapshot.on_empty_route is OnEmptyRoute.REDISTRIBUTE
    result = "the other routes take its share" if is_shared else "connections of its share are closed"
    if snapshot.delivery.adopts:
        result = _not_switched(snapshot)
    return (
        f"no connection reaches {names}{evidence}; {result} until a health check passes: check that the pods listen on "
        "this port (targetPort of the Service), and that NetworkPolicies allow connections from the proxies"
    )


def endpoint_count(route: RouteFacts) -> str:
    """A route and its ready endpoints, of how many."""
    known = route.ready + route.unready
    counts = [f"{route.ready} of {known} ready"] if known else []
    others = [f"has {route.note}"] if route.note else []
    return f"{route.backend} ({', '.join(counts + others) or 'none yet'})"


def notes(snapshot: Snapshot) -> str:
    """What else the Services of the routes have, to be appended."""
    return "".join(f"; {route.backend} has {route.note}" for route in snapshot.routes if route.note)


def names_of_empty(snapshot: Snapshot) -> str:
    """The empty routes with their weights."""
    return ", ".join(f"{route.backend} (weight {route.weight})" for route in snapshot.empty_routes)


def proxies(snapshot: Snapshot) -> str:
    """How many proxies serve the revision."""
    delivery = snapshot.delivery
    # While the Deployment scales down, there are more for a moment.
    ready = min(delivery.ready, delivery.replicas)
    return f"{ready} of {delivery.replicas} proxies {'serves' if ready == 1 else 'serve'} revision {snapshot.revision}"


def because(trouble: str) -> str:
    """A cause, to be appended; empty if there is none."""
    return f": {trouble}" if trouble else ""
