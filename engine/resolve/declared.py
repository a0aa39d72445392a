"""What a Kanary's spec asks for, and what stands in its way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from engine.model.api import KIND, KanarySpec, Route, route_labels
from engine.model.times import read_time
from engine.ports import ClusterView, Json
from engine.render.objects import Identity, owner_uid
from engine.resolve.endpoints import Endpoint, port_number, resolve, unready
from engine.resolve.validation import InvalidSpecError, read_spec
from states import Problem, Reason, RouteFacts

_AWAITED = (Reason.BACKEND_NOT_FOUND, Reason.DESTINATION_RELEASING)
"""Problems that end by themselves, or when the user has finished applying."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The spec as declared, None where it cannot be read; the ready endpoints of each route; all problems found."""

    spec: KanarySpec | None
    endpoints: tuple[tuple[Endpoint, ...], ...]
    problems: tuple[Problem, ...]
    routes: tuple[RouteFacts, ...]
    backends_since: datetime | None
    """When the Kanary and every Service it names had been created."""

    @property
    def fault(self) -> Problem | None:
        """The first problem that only a change of the spec, or of what it names, can mend."""
        return next((problem for problem in self.problems if problem.reason not in _AWAITED), None)

    @property
    def missing(self) -> Problem | None:
        """The first problem that is a matter of waiting."""
        return next((problem for problem in self.problems if problem.reason in _AWAITED), None)


def read_declared(view: ClusterView, owner: Identity, kanary: Json) -> Declared:
    """Read the spec of a Kanary and look up all that it names."""
    try:
        spec = read_spec(kanary)
    except InvalidSpecError as error:
        return Declared(None, (), (error.problem,), (), None)
    problems = [*_destination_problems(view, owner, kanary, spec), *_same_port_problems(view, owner, spec)]
    endpoints: list[tuple[Endpoint, ...]] = []
    for index in range(len(spec.routes)):
        found = resolve_route(view, owner, spec, index)
        if isinstance(found, Problem):
            problems.append(found)
        endpoints.append(() if isinstance(found, Problem) else found)
    routes = tuple(
        replace(facts, unready=_unready(view, owner, route))
        for facts, route in zip(route_facts(spec, endpoints), spec.routes, strict=True)
    )
    return Declared(spec, tuple(endpoints), tuple(problems), routes, _backends_since(view, kanary, spec))


def _same_port_problems(view: ClusterView, owner: Identity, spec: KanarySpec) -> Iterator[Problem]:
    """One port of a Service under its name and its number is one backend."""
    seen: dict[tuple[str, int], int] = {}
    for index, route in enumerate(spec.routes):
        name = route.backend.service_name
        number = port_number(route.backend, view.service(owner.namespace, name))
        first = seen.setdefault((name, number), index) if number else index
        if first != index:
            yield Problem(
                Reason.DUPLICATE_BACKEND,
                f"spec.routes[{index}].backend is {route.backend}, the same port as spec.routes[{first}].backend "
                f"({spec.routes[first].backend}): give it one route with the sum of the weights",
            )


def _unready(view: ClusterView, owner: Identity, route: Route) -> int:
    name = route.backend.service_name
    return unready(view.service(owner.namespace, name), view.slices(owner.namespace, name))


def resolve_route(view: ClusterView, owner: Identity, spec: KanarySpec, index: int) -> tuple[Endpoint, ...] | Problem:
    """The ready endpoints of one route as they are now, or what is wrong with its backend."""
    backend = spec.routes[index].backend
    return resolve(
        backend,
        where=f"spec.routes[{index}].backend",
        namespace=owner.namespace,
        service=view.service(owner.namespace, backend.service_name),
        slices=view.slices(owner.namespace, backend.service_name),
    )


def route_facts(spec: KanarySpec, endpoints: Sequence[Sequence[Endpoint]]) -> tuple[RouteFacts, ...]:
    """The routes of a spec, each with its number of endpoints."""
    labels = route_labels(spec)
    return tuple(
        RouteFacts(label, route.weight, len(found))
        for label, route, found in zip(labels, spec.routes, endpoints, strict=True)
    )


def _destination_problems(view: ClusterView, owner: Identity, kanary: Json, spec: KanarySpec) -> Iterator[Problem]:
    """Who has the destination: the Kanary that owns the Service of that name, else the oldest that names it."""
    where = f'spec.destination: "{spec.destination}"'
    existing = view.service(owner.namespace, spec.destination)
    if existing is None:
        rivals = [k for k in view.kanaries_for(owner.namespace, spec.destination) if _age(k) < _age(kanary)]
        yield from (_taken(where, rival["metadata"]["name"]) for rival in rivals[:1])
    elif owner_uid(existing) != owner.uid:
        yield _held_by_other(view, owner, existing, where)


def _held_by_other(view: ClusterView, owner: Identity, existing: Json, where: str) -> Problem:
    kind, name = _owner_name(existing)
    if kind != KIND:
        text = f"{where} is a Service that Kanary did not make and will not touch: choose another name, or delete it"
        return Problem(Reason.DESTINATION_EXISTS, text)
    other = view.kanary(owner.namespace, name)
    if other is None or other["metadata"]["uid"] != owner_uid(existing):
        text = f"{where} still belongs to the deleted Kanary {name}: waiting until the cluster has removed it"
        return Problem(Reason.DESTINATION_RELEASING, text)
    return _taken(where, name)


def _taken(where: str, name: str) -> Problem:
    text = f"{where} is the destination of Kanary {name} already: choose another name, or delete that Kanary"
    return Problem(Reason.DESTINATION_TAKEN, text)


def _age(kanary: Json) -> tuple[str, str]:
    return kanary["metadata"].get("creationTimestamp", ""), kanary["metadata"]["uid"]


def _owner_name(obj: Json) -> tuple[str, str]:
    references = obj["metadata"].get("ownerReferences") or ()
    return next(((r["kind"], r["name"]) for r in references if r.get("controller")), ("", ""))


def _backends_since(view: ClusterView, kanary: Json, spec: KanarySpec) -> datetime | None:
    namespace = kanary["metadata"]["namespace"]
    services = [view.service(namespace, route.backend.service_name) for route in spec.routes]
    objects = [kanary, *(service for service in services if service)]
    times = [read_time(obj["metadata"].get("creationTimestamp")) for obj in objects]
    return max((time for time in times if time), default=None)
