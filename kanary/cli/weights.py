"""Compares the weights of a spec with others, and builds the patch that writes them. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from engine.journal import CAUSE_ANNOTATION
from engine.memo import Memo
from engine.model.spec import Backend
from engine.model.weight import read_weight, weight_number
from engine.resolve.endpoints import port_number, resolve
from states import Problem

Json = dict[str, Any]
Weights = Mapping[str, Decimal]
"""Weights by backend, in the form of `str(Backend)`."""

LARGE = 50
"""A weight change by more percentage points requires confirmation."""


def declared(kanary: Json) -> Weights:
    """The weights in the spec, 0 if unreadable; a route without a readable backend counts as its own text."""
    return {backend: _weight(route) for backend, route in _routes(kanary).items()}


def _weight(route: Json) -> Decimal:
    with suppress(ValueError):
        return read_weight(route.get("weight"))
    return Decimal()


def resolved(text: str, namespace: str, services: Callable[[str], Json | None]) -> tuple[str, str]:
    """Resolve the port of a backend to its number, since name and number mean the same port; returns it and an error.

    If there is an error, the backend is returned as given; otherwise the error is empty.
    """
    try:
        backend = Backend.parse(text)
    except ValidationError:
        return text, f"backend {text} cannot be read"
    service = services(backend.service_name)
    found = resolve(backend, where="", namespace=namespace, service=service, slices=(), memo=Memo())
    if isinstance(found, Problem):
        # Without the path in a spec, which is before the colon.
        return text, found.message.partition(": ")[2]
    return f"{backend.service_name}:{port_number(backend, service)}", ""


def large_steps(present: Sequence[Weights], new: Weights) -> dict[str, tuple[Decimal, Decimal]]:
    """The backends whose weight changes by more than `LARGE`, with the present and the new weight."""
    return {
        backend: (before, after)
        for old in present
        for backend in {**old, **new}
        if abs((after := new.get(backend, Decimal())) - (before := old.get(backend, Decimal()))) > LARGE
    }


def patch(kanary: Json, weights: Weights, cause: str, by_number: Callable[[str], str]) -> Json:
    """A merge patch of the weights, which the API server rejects if the Kanary has changed since it was read.

    A merge patch replaces the whole list of routes: their other options are copied from the spec if it has the backend.
    """
    present = {by_number(backend): route for backend, route in _routes(kanary).items()}
    new = {text: {"backend": Backend.parse(text).model_dump(mode="json", by_alias=True)} for text in weights}
    routes = [
        {**present.get(by_number(text), new[text]), "weight": weight_number(weight)} for text, weight in weights.items()
    ]
    return {
        "metadata": {
            "resourceVersion": kanary["metadata"]["resourceVersion"],
            "annotations": {CAUSE_ANNOTATION: cause},
        },
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
