"""The weights of a spec, compared with others, and the patch that writes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from engine.model.spec import Backend
from engine.resolve.endpoints import port_number, resolve
from states import Problem

Json = dict[str, Any]
Services = Mapping[str, Json | None]
"""Of the namespace, by name; None for one that does not exist."""
Weights = Mapping[str, int]
"""By backend, as `str(Backend)` writes it."""

CAUSE = "kubernetes.io/change-cause"
LARGE = 50
"""A change of a weight by more percentage points than this has to be confirmed."""


def declared(kanary: Json) -> Weights:
    """What the spec says, as far as it can be read."""
    weights = ((_backend(route), route.get("weight")) for route in _routes(kanary))
    return {backend: weight if isinstance(weight, int) else 0 for backend, weight in weights}


def by_number(weights: Weights, services: Services) -> Weights:
    """With the number of each port where its Service is there, so that a port's name and number are the same."""
    return {_by_number(backend, services): weight for backend, weight in weights.items()}


def _by_number(backend: str, services: Services) -> str:
    parsed = _parsed(backend)
    number = port_number(parsed, services.get(parsed.service_name)) if parsed else None
    return f"{parsed.service_name}:{number}" if parsed and number else backend


def _parsed(backend: str) -> Backend | None:
    try:
        return Backend.parse(backend)
    except ValidationError:
        return None


def missing(weights: Weights, services: Services, namespace: str) -> list[str]:
    """What is wrong with the backends, as they are now."""
    found = []
    for text in weights:
        backend = _parsed(text)
        if backend is None:
            found.append(f"backend {text} cannot be read")
            continue
        problem = resolve(backend, where="", namespace=namespace, service=services.get(backend.service_name), slices=())
        if isinstance(problem, Problem):
            # Without the place in a spec, which is before the colon.
            found.append(problem.message.partition(": ")[2])
    return found


def large_steps(old: Weights, new: Weights) -> dict[str, tuple[int, int]]:
    """Each backend whose weight changes by more than `LARGE`, with the old and the new weight."""
    steps = {backend: (old.get(backend, 0), new.get(backend, 0)) for backend in {**old, **new}}
    return {backend: step for backend, step in steps.items() if abs(step[1] - step[0]) > LARGE}


def patch(kanary: Json, weights: Weights, cause: str, services: Services) -> Json:
    """A merge patch of weights that the API server refuses once the Kanary has changed.

    It replaces the whole list, so the other options of a route are copied from the spec, where it has the backend.
    """
    present = {_by_number(_backend(route), services): route for route in _routes(kanary)}
    routes = (present.get(_by_number(backend, services)) or {"backend": _spec(backend)} for backend in weights)
    return {
        "metadata": {"resourceVersion": kanary["metadata"]["resourceVersion"], "annotations": {CAUSE: cause}},
        "spec": {
            "routes": [{**route, "weight": weight} for route, weight in zip(routes, weights.values(), strict=True)]
        },
    }


def _spec(backend: str) -> Json:
    return Backend.parse(backend).model_dump(mode="json", by_alias=True)


def service_names(*all_weights: Weights) -> set[str]:
    """The Services of the backends."""
    return {parsed.service_name for weights in all_weights for backend in weights if (parsed := _parsed(backend))}


def _routes(kanary: Json) -> Sequence[Json]:
    """The spec's routes, whatever else is among them."""
    spec = kanary.get("spec")
    routes = spec.get("routes") if isinstance(spec, dict) else None
    return [route for route in routes if isinstance(route, dict)] if isinstance(routes, list) else []


def _backend(route: Json) -> str:
    """The text of a route's backend, which may be invalid."""
    fields = route["backend"] if isinstance(route.get("backend"), dict) else {}
    name, port = fields.get("serviceName", ""), fields.get("servicePort", "")
    return str(Backend.model_construct(service_name=name, service_port=port))
