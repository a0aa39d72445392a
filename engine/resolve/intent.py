"""Reads what a Kanary's spec declares, and finds the problems with it."""

from collections.abc import Callable, Iterator, Mapping

from engine.memo import Memo
from engine.model.spec import KIND, Backend, KanarySpec
from engine.model.states import Applied, Intent
from engine.ports import ClusterView, DeclaredObjects, Json
from engine.render.adoption import adopter, adoption_of, adoption_problem, lost_port, port_text
from engine.render.objects import Identity, controller_of, is_ours, owner_uid
from engine.render.slots import listening_port
from engine.resolve.endpoints import MOST_ENDPOINTS, Resolved, port_number, resolve
from engine.resolve.loops import Loops
from engine.resolve.validation import InvalidSpecError, read_spec
from states import Problem, Reason

Found = dict[Backend, Resolved | Problem]
"""The present endpoints of each backend, or the problem with it."""


def read_intent(view: ClusterView, owner: Identity, kanary: Json, memo: Memo) -> tuple[Intent, Found]:
    """Read the spec of a Kanary and resolve the objects that it names."""
    generation = kanary["metadata"].get("generation", 0)
    spec = memo(_declared, kanary)
    if isinstance(spec, Problem):
        return Intent(generation, None, (spec,)), {}
    problems = [
        *destination_problems(view, owner, kanary, spec),
        *same_port_problems(lambda name: view.service(owner.namespace, name), spec),
    ]
    backends: Found = {}
    room = MOST_ENDPOINTS
    for backend, where in backends_of(spec).items():
        found = resolve_backend(view, owner, backend, memo, where=where, room=room)
        backends[backend] = found
        room -= 0 if isinstance(found, Problem) else min(room, len(found.endpoints))
    problems += problems_among(backends, spec)
    endpoints = {backend: () if isinstance(found, Problem) else found.endpoints for backend, found in backends.items()}
    return Intent(generation, spec, tuple(problems), endpoints), backends


def backends_of(spec: KanarySpec) -> Mapping[Backend, str]:
    """The backends of all ports, each with its path in the spec."""
    found = {route.backend: f"spec.routes[{index}].backend" for index, route in enumerate(spec.routes)}
    for index, (port, routes) in enumerate(zip(spec.ports, spec.splits[1:], strict=True)):
        where = f"spec.ports[{index}]"
        own = {backend: f"{where}.backends[{number}]" for number, backend in enumerate(port.backends)}
        for route in routes:
            found.setdefault(route.backend, own.get(route.backend, where))
    return found


def problems_among(found: Mapping[Backend, object], spec: KanarySpec) -> list[Problem]:
    """The problems with the backends. What is wrong with a Service is said once, and not for each port."""
    of_service = Reason.BACKEND_NOT_FOUND, Reason.BACKEND_IS_EXTERNAL_NAME
    first = {route.backend for route in spec.routes}
    return [
        each
        for backend, each in found.items()
        if isinstance(each, Problem) and (backend in first or each.reason not in of_service)
    ]


def _declared(kanary: Json) -> KanarySpec | Problem:
    try:
        return read_spec(kanary)
    except InvalidSpecError as error:
        return error.problem


def resolve_backend(
    view: ClusterView, owner: Identity, backend: Backend, memo: Memo, *, where: str = "", room: int = MOST_ENDPOINTS
) -> Resolved | Problem:
    """The current endpoints of a backend, at most `room`, or the problem with it; `where` is its path in the spec."""
    name = backend.service_name
    return resolve(
        backend,
        where=where,
        namespace=owner.namespace,
        service=view.service(owner.namespace, name),
        slices=view.slices(owner.namespace, name),
        memo=memo,
        room=room,
        proxies=Loops(view, owner, memo).among,
    )


def same_port_problems(service: Callable[[str], Json | None], spec: KanarySpec) -> Iterator[Problem]:
    """A port of a Service is one backend, by name or by number. `service` returns the Service of a name, if known."""
    seen: dict[tuple[str, int], int] = {}
    for index, route in enumerate(spec.routes):
        name = route.backend.service_name
        number = port_number(route.backend, service(name))
        first = seen.setdefault((name, number), index) if number else index
        if first != index:
            yield Problem(
                Reason.DUPLICATE_BACKEND,
                f"spec.routes[{index}].backend is {route.backend}, the same port as spec.routes[{first}].backend "
                f"({spec.routes[first].backend}): give it one route with the sum of the weights",
            )


def destination_problems(view: DeclaredObjects, owner: Identity, kanary: Json, spec: KanarySpec) -> Iterator[Problem]:
    """The destination belongs to the Kanary that owns the Service, or to the oldest Kanary that names it."""
    where = f'spec.destination: "{spec.destination}"'
    existing = view.service(owner.namespace, spec.destination)
    if existing is None:
        rivals = [k for k in view.kanaries_for(owner.namespace, spec.destination) if _age(k) < _age(kanary)]
        yield from (_taken(where, rival["metadata"]["name"]) for rival in rivals[:1])
    elif not is_ours(existing, owner.uid, owner.labels):
        yield from _held_by_other(view, owner, existing, where, spec)


def _held_by_other(
    view: DeclaredObjects, owner: Identity, existing: Json, where: str, spec: KanarySpec
) -> Iterator[Problem]:
    kind, name = _owner_name(existing)
    if kind == KIND:
        yield _held_by_kanary(view, owner, existing, where, name)
        return
    adoption = adoption_of(existing)
    other = view.kanary(owner.namespace, adoption.kanary) if adoption.uid not in ("", owner.uid) else None
    if other and other["metadata"]["uid"] == adoption.uid:
        yield _taken(where, adoption.kanary)
    elif adoption.uid == owner.uid and (port := lost_port(spec, existing)):
        text = (
            f"{where} is adopted, and its port {port} leads to the proxies, but neither spec.port nor spec.ports has "
            "it: add it there again, or remove it from the Service first; the last good configuration stays"
        )
        yield Problem(Reason.DESTINATION_PORT_IN_USE, text)
    elif not spec.adopt_destination:
        text = (
            f"{where} is a Service that Kanary did not create and does not modify: choose another name, or set "
            "spec.adoptDestination to true, which switches it to the proxies without a failed connection, or delete it "
            "when they serve"
        )
        yield Problem(Reason.DESTINATION_EXISTS, text)
    elif not adoption.uid and (back := _way_back(view, owner, spec)):
        text = (
            f"{where} cannot be adopted, because Service {back} of a route leads to a Kanary that sends connections "
            "back to it: let the route have the Service of a version, or choose another name"
        )
        yield Problem(Reason.DESTINATION_NOT_ADOPTABLE, text)
    elif problem := adoption_problem(spec, existing):
        why = "is adopted, but it" if adoption.uid == owner.uid else "cannot be adopted, because it"
        yield Problem(Reason.DESTINATION_NOT_ADOPTABLE, f"{where} {why} {problem}")


def former_port_problems(view: ClusterView, owner: Identity, spec: KanarySpec, applied: Applied) -> Iterator[Problem]:
    """A port that leaves the spec while an adopted Service, which is not the destination any more, leads to it."""
    names = {port.name for port in spec.ports}
    gone = {listening_port(port.name, applied.doors) for port in applied.spec.ports if port.name not in names}
    adopted = view.owned_by(owner.namespace, owner.uid) if gone else ()
    for service in adopted:
        name = service["metadata"]["name"]
        if adopter(service) != owner.uid or name == spec.destination:
            continue
        if port := next((port for port in service["spec"].get("ports") or () if port.get("targetPort") in gone), None):
            text = (
                f"spec.ports: Service {name} is adopted, and its port {port_text(port)} leads to the proxies until the "
                f"new destination serves: keep the port in spec.ports, and remove it when {name} is what it was; the "
                "last good configuration stays"
            )
            yield Problem(Reason.DESTINATION_PORT_IN_USE, text)


def _way_back(view: DeclaredObjects, owner: Identity, spec: KanarySpec) -> str:
    """The Service of a route from which other Kanaries send connections to the destination, or an empty string.

    Once it is adopted, no pod would be left behind them.
    """
    for route in spec.routes:
        reached, following = set[str](), [route.backend.service_name]
        while following:
            name = following.pop()
            others = () if name in reached else view.kanaries_for(owner.namespace, name)
            reached.add(name)
            specs = [read for each in others if isinstance(read := _declared(each), KanarySpec)]
            following += [each.backend.service_name for spec in specs for each in spec.routes]
        if spec.destination in reached:
            return route.backend.service_name
    return ""


def _held_by_kanary(view: DeclaredObjects, owner: Identity, existing: Json, where: str, name: str) -> Problem:
    other = view.kanary(owner.namespace, name)
    if other is None or other["metadata"]["uid"] != owner_uid(existing):
        text = f"{where} still belongs to the deleted Kanary {name}: waiting until the cluster has deleted it"
        return Problem(Reason.DESTINATION_RELEASING, text)
    return _taken(where, name)


def _taken(where: str, name: str) -> Problem:
    text = f"{where} is already the destination of Kanary {name}: choose another name, or delete that Kanary"
    return Problem(Reason.DESTINATION_TAKEN, text)


def _age(kanary: Json) -> tuple[str, str]:
    return kanary["metadata"].get("creationTimestamp", ""), kanary["metadata"]["uid"]


def _owner_name(obj: Json) -> tuple[str, str]:
    controller = controller_of(obj)
    return controller.get("kind", ""), controller.get("name", "")
