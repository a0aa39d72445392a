"""The weights of a spec, compared with others, and the patch that writes them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from engine.model.spec import Backend
from engine.resolve.endpoints import port_number, resolve
from states import Problem

Json = dict[str, Any]
Weights = Mapping[str, int]
"""By backend, as `str(Backend)` writes it."""

CAUSE = "kubernetes.io/change-cause"
LARGE = 50
"""A change of a weight by more percentage points than this has to be confirmed."""


def declared(kanary: Json) -> Weights:
    """What the spec says; a route that cannot be read stands for itself, with no weight."""
    return {backend: route.get("weight", 0) for backend, route in _routes(kanary).items()}


def resolved(text: str, namespace: str, services: Callable[[str], Json | None]) -> tuple[str, str]:
    """A backend with the number of its port, since a port's name and number are the same; and what is wrong with it.

    The first is the same text where anything is wrong, the second is empty where nothing is.
    """
    try:
        backend = Backend.parse(text)
    except ValidationError:
        return text, f"backend {text} cannot be read"
    service = services(backend.service_name)
    found = resolve(backend, where="", namespace=namespace, service=service, slices=())
    if isinstance(found, Problem):
        # Without the place in a spec, which is before the colon.
        return text, found.message.partition(": ")[2]
    return f"{backend.service_name}:{port_number(backend, service)}", ""


def large_steps(present: Sequence[Weights], new: Weights) -> dict[str, tuple[int, int]]:
    """Each backend whose weight changes by more than `LARGE`, with its present and its new weight."""
    return {
        backend: (old.get(backend, 0), new.get(backend, 0))
        for old in present
        for backend in {**old, **new}
        if abs(new.get(backend, 0) - old.get(backend, 0)) > LARGE
    }


def patch(kanary: Json, weights: Weights, cause: str, by_number: Callable[[str], str]) -> Json:
    """A merge patch of weights that the API server rejects once the Kanary has changed.

    It replaces the whole list, so the other options of a route are copied from the spec, where it has the backend.
    """
    present = {by_number(backend): route for backend, route in _routes(kanary).items()}
    new = {text: {"backend": Backend.parse(text).model_dump(mode="json", by_alias=True)} for text in weights}
    routes = [{**present.get(by_number(text), new[text]), "weight": weight} for text, weight in weights.items()]
    return {
        "metadata": {"resourceVersion": kanary["metadata"]["resourceVersion"], "annotations": {CAUSE: cause}},
        "spec": {"routes": routes},
    }


def _routes(kanary: Json) -> dict[str, Json]:
    found = {}
    for route in (kanary.get("spec") or {}).get("routes") or ():
        try:
            found[str(Backend.model_validate(route["backend"]))] = route
        except (KeyError, TypeError, ValidationError):
            found[str(route)] = {}
    return found
