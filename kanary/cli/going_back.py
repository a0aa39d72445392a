"""What it takes to write a revision's weights back into a spec, worked out from what is there. Asks nobody."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.model.spec import Backend, KanaryStatus
from engine.resolve.endpoints import port_number, resolve
from kanary.history.model import Route
from states import Problem

Json = dict[str, Any]
Services = Mapping[str, Json | None]
"""Of the namespace, by name; None for one that does not exist."""

CAUSE = "kubernetes.io/change-cause"
LARGE = 50
"""A route whose weight changes by more percentage points than this is not changed without asking."""

_Key = tuple[str, object]


@dataclass(frozen=True)
class Weights:
    """Routes as a spec or a revision has them, comparable with each other."""

    by_backend: Mapping[_Key, int]
    text: str


def declared(kanary: Json, services: Services) -> Weights:
    """What the spec says, as far as it can be read."""
    parts = [(*_backend(route), route.get("weight")) for route in _routes(kanary)]
    return _weights([(name, port, weight if isinstance(weight, int) else 0) for name, port, weight in parts], services)


def recorded(routes: Sequence[Route], services: Services) -> Weights:
    """What a revision says."""
    return _weights([(route.service_name, route.service_port, route.weight) for route in routes], services)


def served(status: KanaryStatus, newest: Sequence[Route], services: Services) -> Weights:
    """What every proxy serves, as the status tells; what the newest revision says where it does not."""
    if not status.weights:
        return recorded(newest, services)
    # The status names each backend by its label alone; which Service and port that is, the changes know.
    known: dict[str, tuple[str, object]] = {r.backend: (r.service_name, r.service_port) for r in newest}
    for change in status.changes:
        known |= {r.backend: (r.service_name, r.service_port) for r in change.routes}
    parts = [(*known.get(each.backend, (each.backend, None)), each.weight) for each in status.weights]
    return _weights(parts, services)


def _weights(parts: Sequence[tuple[str, object, int]], services: Services) -> Weights:
    names = [name for name, _, _ in parts]
    labels = [f"{name}:{port}" if names.count(name) > 1 else name for name, port, _ in parts]
    text = " ".join(f"{label}={weight}" for label, (_, _, weight) in zip(labels, parts, strict=True))
    return Weights({_key(name, port, services): weight for name, port, weight in parts}, text or "no routes")


def _key(name: str, port: object, services: Services) -> _Key:
    """A port under its name and under its number is the same port."""
    service = services.get(name)
    if service is None or not isinstance(port, (int, str)):
        return name, port
    return name, port_number(_plain(name, port), service) or port


def gone(routes: Sequence[Route], services: Services, namespace: str) -> list[str]:
    """What is wrong with the backends of a revision, as they are now."""
    found = []
    for route in routes:
        backend = _plain(route.service_name, route.service_port)
        service = services.get(route.service_name)
        problem = resolve(backend, where="", namespace=namespace, service=service, slices=())
        if isinstance(problem, Problem):
            # Without the place in a spec, which it would have had.
            found.append(problem.message.partition(": ")[2])
    return found


def steps(old: Weights, new: Weights) -> dict[str, tuple[int, int]]:
    """Each backend whose weight differs, with what it had and what it gets."""
    both = {**old.by_backend, **new.by_backend}
    found = {key: (old.by_backend.get(key, 0), new.by_backend.get(key, 0)) for key in both}
    names = [key[0] for key in found]
    return {
        key[0] if names.count(key[0]) == 1 else f"{key[0]}:{key[1]}": step
        for key, step in found.items()
        if step[0] != step[1]
    }


def patch(kanary: Json, routes: Sequence[Route], cause: str, services: Services) -> Json:
    """A merge patch that goes through only while the Kanary is the one that was read.

    A list is replaced whole by it: so what else a route says is taken over from the spec, where it has the backend.
    """
    present = {_key(*_backend(route), services): route for route in _routes(kanary)}
    return {
        "metadata": {
            "resourceVersion": kanary["metadata"]["resourceVersion"],
            "annotations": {CAUSE: cause},
        },
        "spec": {"routes": [_route(route, present, services) for route in routes]},
    }


def _route(route: Route, present: Mapping[_Key, Json], services: Services) -> Json:
    found = present.get(_key(route.service_name, route.service_port, services))
    if found is None:
        return {
            "backend": {"serviceName": route.service_name, "servicePort": route.service_port},
            "weight": route.weight,
        }
    return {**copy.deepcopy(found), "weight": route.weight}


def service_names(kanary: Json, routes: Sequence[Route]) -> set[str]:
    """The Services that have to be looked up."""
    return {route.service_name for route in routes} | {_backend(route)[0] for route in _routes(kanary)} - {""}


def _routes(kanary: Json) -> list[Json]:
    """The spec's routes, whatever else stands among them."""
    spec = kanary.get("spec")
    routes = spec.get("routes") if isinstance(spec, dict) else None
    return [route for route in routes if isinstance(route, dict)] if isinstance(routes, list) else []


def _backend(route: Json) -> tuple[str, object]:
    backend = route.get("backend")
    fields = backend if isinstance(backend, dict) else {}
    return str(fields.get("serviceName") or ""), fields.get("servicePort")


def _plain(name: str, port: int | str) -> Backend:
    """Not validated: it is only looked up."""
    return Backend.model_construct(service_name=name, service_port=port)
