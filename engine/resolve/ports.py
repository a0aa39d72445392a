"""The rules of `spec.ports`: each name, number and backend occurs once."""

from collections.abc import Hashable, Iterator, Mapping

from engine.model.spec import MAX_BACKENDS, MAX_PORTS, KanarySpec

EXPECTED: Mapping[str, str] = {
    "further port": "an object with a name, a port and a servicePort",
    "further port.name": "the name of a Service port: lower-case letters, digits and '-', at most 63 characters",
    "ports": f"a list of at most {MAX_PORTS} ports, each with a name, a port and a servicePort",
    "backends": "a list of objects with serviceName and servicePort",
}
"""What the fields must be, by name."""


def port_problems(spec: KanarySpec) -> Iterator[str]:
    """What is wrong with the further ports, each with the way out."""
    seen: dict[Hashable, str] = {spec.service.port.name: "spec.port", spec.port: "spec.port"}
    seen |= {route.backend: "spec.routes" for route in spec.routes}
    for index, (port, routes) in enumerate(zip(spec.ports, spec.splits[1:], strict=True)):
        where = f"spec.ports[{index}]"
        named = [backend.service_name for backend in port.backends]
        yield from (f"{where}.backends has {name} twice: leave one" for name in set(named) if named.count(name) > 1)
        if (other := seen.setdefault(port.name, where)) != where:
            yield f'{where}.name is "{port.name}", the name of {other}: choose another name'
        if (other := seen.setdefault(port.port, where)) != where:
            yield f"{where}.port is {port.port}, the port of {other}: choose another port"
        for route in routes:
            if (other := seen.setdefault(route.backend, where)) != where:
                yield f"{where} leads to {route.backend}, as {other} does: name another port of that Service"
    if spec.ports and (count := sum(map(len, spec.splits))) > MAX_BACKENDS:
        yield (
            f"spec.ports: {len(spec.routes)} routes and {len(spec.ports)} further ports have {count} backends, and "
            f"there may be {MAX_BACKENDS}: divide them between several Kanaries"
        )
