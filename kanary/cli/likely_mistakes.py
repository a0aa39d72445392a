"""Finds what is probably a mistake in a manifest, although the operator accepts it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum
from typing import NamedTuple

from engine.model.placement import BUILT_IN, Resources
from engine.model.spec import KanarySpec
from engine.model.times import time_text
from kanary.cli.manifest import Json, Manifest


class LikelyMistake(StrEnum):
    """The kinds of warnings."""

    PAUSED = "Paused"
    FREEZE_ENDED = "FreezeEnded"
    CONNECTION_LOOP = "ConnectionLoop"
    SAME_SELECTOR = "SameSelector"
    UNUSED_BACKEND = "UnusedBackend"
    LIMIT_BELOW_REQUEST = "LimitBelowRequest"


class Warned(NamedTuple):
    """A warning; the message begins with the path of the field."""

    kind: LikelyMistake
    message: str


def warnings_of(kanary: Json, spec: KanarySpec, manifest: Manifest, now: datetime) -> Iterator[Warned]:
    """The warnings about a Kanary of a manifest, all of whose specs are valid."""
    if spec.paused:
        text = "spec.paused is true: the operator applies no change of the spec until it is false"
        yield Warned(LikelyMistake.PAUSED, text)
    until = spec.freeze.until if spec.freeze else None
    if until and until <= now:
        text = f"spec.freeze.until is {time_text(until)}, which has passed: remove spec.freeze, or set a later time"
        yield Warned(LikelyMistake.FREEZE_ENDED, text)
    yield from _unused_backends(spec)
    yield from _low_limits("resources", spec.proxy.resources, BUILT_IN.resources)
    yield from _low_limits("agentResources", spec.proxy.agent_resources, BUILT_IN.agent_resources)
    yield from _loops(kanary["metadata"]["namespace"], kanary["metadata"]["name"], spec, manifest)
    yield from _same_selectors(kanary["metadata"]["namespace"], spec, manifest)


def _low_limits(field: str, resources: Resources | None, defaults: Resources | None) -> Iterator[Warned]:
    """A default request that is higher than the declared limit: the cluster refuses it."""
    if resources is None or resources.limits is None or resources.requests is not None or defaults is None:
        return
    requests = defaults.requests or {}
    for name in resources.over(defaults).too_low():
        yield Warned(
            LikelyMistake.LIMIT_BELOW_REQUEST,
            f"spec.proxy.{field}.limits.{name} is {resources.limits[name]}, less than the default request of "
            f"{requests[name]}, unless the operator has another default: raise it, or set spec.proxy.{field}.requests",
        )


def _unused_backends(spec: KanarySpec) -> Iterator[Warned]:
    """A misspelt Service leaves its route with the port of all others."""
    services = [route.backend.service_name for route in spec.routes]
    for index, port in enumerate(spec.ports):
        for number, backend in enumerate(port.backends):
            name = backend.service_name
            if name not in services:
                near = get_close_matches(name, services, n=1)
                way_out = f"did you mean {near[0]}?" if near else "remove the entry"
                yield Warned(
                    LikelyMistake.UNUSED_BACKEND,
                    f'spec.ports[{index}].backends[{number}].serviceName is "{name}", which no route names, so that it '
                    f"only counts for a former route until its rollout has ended: {way_out}",
                )


def _loops(namespace: str, name: str, spec: KanarySpec, manifest: Manifest) -> Iterator[Warned]:
    for index, route in enumerate(spec.routes):
        service = route.backend.service_name
        for other in manifest.kanaries_for(namespace, service) if route.weight else ():
            if manifest.is_reached(other, name):
                yield Warned(
                    LikelyMistake.CONNECTION_LOOP,
                    f'spec.routes[{index}].backend.serviceName is "{service}", the destination of Kanary '
                    f"{other['metadata']['name']}, which sends connections back: one of the two gets no endpoints of "
                    "the other; name the Service of a version",
                )


def _same_selectors(namespace: str, spec: KanarySpec, manifest: Manifest) -> Iterator[Warned]:
    """Two versions with the same pods: nothing is split."""
    seen: list[tuple[int, str, Json]] = []
    for index, route in enumerate(spec.routes):
        name = route.backend.service_name
        service = manifest.service(namespace, name) or {}
        selector = (service.get("spec") or {}).get("selector")
        if not isinstance(selector, dict) or not selector:
            continue
        same = next(((first, other) for first, other, of in seen if of == selector and other != name), None)
        if same:
            yield Warned(
                LikelyMistake.SAME_SELECTOR,
                f'spec.routes[{index}].backend.serviceName is "{name}", whose selector is that of Service "{same[1]}" '
                f"(spec.routes[{same[0]}]): both have the same pods; select each version by a label of its own",
            )
        seen.append((index, name, selector))
