"""A Service with traffic that is switched to the proxies of a Kanary: what it was, and how it becomes that again.

Only the selector and the target ports are changed, in one write. So kube-proxy sees the same Service, and the
EndpointSlices of the proxies exist before those of the former pods are deleted.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from engine.model.spec import MAX_PORTS, KanarySpec
from engine.render.objects import (
    ADOPTED_ANNOTATION,
    HASH_ANNOTATION,
    KANARY_LABEL,
    SKIP_MIRROR_LABEL,
    Identity,
    hash_of,
)
from engine.render.slots import Slots, listening_port

Json = dict[str, Any]

PROXY_PORT = "split"
"""The name of the port on which the proxies' pods listen for the first port."""
FINALIZER = "kanary.k8s.io/adopted-destination"
"""On a Kanary while it may have an adopted Service, which must not select proxies that are deleted."""

WITHOUT_MARKS: Json = {
    "labels": {SKIP_MIRROR_LABEL: None},
    "annotations": {ADOPTED_ANNOTATION: None, HASH_ANNOTATION: None},
}
"""The merge patch of the metadata that removes what Kanary has added to an adopted Service."""


class AdoptedPort(NamedTuple):
    """A port of a Service that leads to the proxies."""

    port: int
    former: int | str
    """The target port that it had."""
    target: int | str
    """The port of the proxies."""


class Adoption(NamedTuple):
    """The content of the annotation."""

    kanary: str = ""
    uid: str = ""
    selector: Mapping[str, str] = {}
    ports: tuple[AdoptedPort, ...] = ()

    def of(self, ports: Sequence[Mapping[str, Any]]) -> list[AdoptedPort | None]:
        """What is known of each of these ports of the Service, if it leads to the proxies, maybe by another number."""
        tcp = {port["port"] for port in ports if _is_tcp(port)}

        def known_of(port: Mapping[str, Any]) -> AdoptedPort | None:
            number, target = port["port"], _target(port)
            by_target = [known for known in self.ports if _is_tcp(port) and known.target == target]
            return next((known for known in by_target if known.port == number or known.port not in tcp), None)

        return [known_of(port) for port in ports]


def adoption_of(service: Mapping[str, Any]) -> Adoption:
    """What the annotation of a Service says; without a valid one, or of another kind of object, nothing."""
    if service.get("kind") != "Service":
        return Adoption()
    text = ((service.get("metadata") or {}).get("annotations") or {}).get(ADOPTED_ANNOTATION)
    try:
        read = json.loads(text or "{}")
        ports = tuple(AdoptedPort(each["port"], each["targetPort"], each["proxyPort"]) for each in read["ports"])
        found = Adoption(read["kanary"], read["uid"], read["selector"], ports)
    except (ValueError, TypeError, KeyError, RecursionError):
        return Adoption()
    names = [found.kanary, found.uid, *(found.selector.values() if isinstance(found.selector, dict) else (None,))]
    are_ports = all(type(value) in {int, str} for port in ports for value in port)
    return found if are_ports and found.selector and all(isinstance(name, str) for name in names) else Adoption()


def adopter(service: Mapping[str, Any]) -> str:
    """The uid of the Kanary that has adopted this Service, or an empty string."""
    return adoption_of(service).uid


def adoption_problem(spec: KanarySpec, service: Mapping[str, Any]) -> str:
    """Why a Service cannot be adopted, with the way out; empty if it can."""
    return next(_problems(spec, service), "")


def write_problem(service: Mapping[str, Any]) -> str:
    """Why even a Service that leads to the proxies is not written any more; empty if it is."""
    return next(_problems_of_kind(service), "")


def lost_port(spec: KanarySpec, service: Mapping[str, Any]) -> str:
    """A port of the Service that leads to the proxies, and that the spec does not serve; empty if there is none."""
    ports, paths = (service.get("spec") or {}).get("ports") or (), _paths(spec)
    known = adoption_of(service).of(ports)
    return next(
        (
            port_text(port)
            for port, is_known in zip(ports, known, strict=True)
            if is_known and port["port"] not in paths
        ),
        "",
    )


def _problems(spec: KanarySpec, service: Mapping[str, Any]) -> Iterator[str]:
    declared = service.get("spec") or {}
    is_new, selector = not adopter(service), declared.get("selector") or {}
    local = [name for name in ("externalTrafficPolicy", "internalTrafficPolicy") if declared.get(name) == "Local"]
    yield from _problems_of_kind(service)
    found: tuple[tuple[object, str], ...] = (
        (
            is_new and not selector,
            "has no selector, so that others write its endpoints: give it that of its pods, or choose another name",
        ),
        (
            is_new and KANARY_LABEL in selector,
            f"selects proxies already, and lacks the annotation {ADOPTED_ANNOTATION}: give it its former selector and "
            "target ports",
        ),
        (
            declared.get("publishNotReadyAddresses"),
            "has publishNotReadyAddresses, so that proxies would receive connections before they are ready: set it to "
            "false",
        ),
        (
            spec.configures_service,
            "keeps its own type, labels and settings of ports: leave out spec.service, and appProtocol and nodePort in "
            "spec.ports, and set them on the Service",
        ),
        (
            is_new and local,
            f"has {' and '.join(local)} Local, so that nodes without a proxy would drop connections: set it to Cluster",
        ),
    )
    yield from (text for applies, text in found if applies)
    yield from _port_problems(spec, declared.get("ports") or ())


def _problems_of_kind(service: Mapping[str, Any]) -> Iterator[str]:
    metadata, declared = service["metadata"], service.get("spec") or {}
    owner: Json = next(iter(metadata.get("ownerReferences") or ()), {})
    if metadata.get("deletionTimestamp"):
        yield "is being deleted: wait until it is, or remove its finalizers"
    if owner:
        yield (
            f"belongs to {owner.get('kind')} {owner.get('name')}, which may switch it back: choose another name, or "
            "remove its ownerReferences"
        )
    if declared.get("type") == "ExternalName":
        yield "has the type ExternalName, and leads to no pods: choose another name"
    if declared.get("clusterIP") == "None":
        yield "is headless, so that its clients connect to the pods by their addresses: choose another name"


def _port_problems(spec: KanarySpec, ports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    tcp, paths = {port["port"]: port for port in ports if _is_tcp(port)}, _paths(spec)
    others = [f"{port['port']}/{port['protocol']}" for port in ports if not _is_tcp(port)]
    if spec.port not in tcp:
        has = ", ".join([*(f"{number}/TCP" for number in tcp), *others])
        yield f"has no TCP port {spec.port}, but {has}: set spec.port to one of its TCP ports"
    way_out = "to a Service of its own, with this selector"
    if others:
        yield f"also has port {', '.join(others)}, and Kanary splits TCP connections: move that {way_out}"
    if len(tcp) > 1 + MAX_PORTS:
        yield f"has {len(tcp)} TCP ports, and a Kanary at most {1 + MAX_PORTS}: move others {way_out}"
    for port in tcp.values():
        if port["port"] not in paths:
            yield f"has port {port_text(port)}, which no entry of spec.ports serves: add one, or move that {way_out}"
    for number, path in paths.items():
        if number not in tcp:
            yield f"has no TCP port {number} ({path}): add the port to the Service, or remove it from spec.ports"


def _paths(spec: KanarySpec) -> Mapping[int, str]:
    """Each port that the spec serves, and where it is declared."""
    return {spec.port: "spec.port", **{port.port: f"spec.ports[{index}]" for index, port in enumerate(spec.ports)}}


def _is_tcp(port: Mapping[str, Any]) -> bool:
    return bool(port.get("protocol", "TCP") == "TCP")


def _target(port: Mapping[str, Any]) -> int | str:
    target: int | str = port.get("targetPort", port["port"])
    return target


def port_text(port: Mapping[str, Any]) -> str:
    """The number and the name of a port."""
    return f"{port['port']} ({port['name']})" if port.get("name") else str(port["port"])


def switched(owner: Identity, spec: KanarySpec, doors: Slots, live: Json) -> Json:
    """The fields of an adoptable Service that change, for the version that was read."""
    before, former = live["spec"]["ports"], given_back(live)["spec"]
    targets = {spec.port: PROXY_PORT, **{port.port: listening_port(port.name, doors) for port in spec.ports}}
    # A port that the spec does not serve stays as it is.
    ports = [
        {**port, "targetPort": targets[port["port"]]} if _is_tcp(port) and port["port"] in targets else port
        for port in before
    ]
    adopted = [
        {"port": port["port"], "targetPort": _target(was), "proxyPort": port["targetPort"]}
        for port, now, was, known in zip(ports, before, former["ports"], adoption_of(live).of(before), strict=True)
        if port is not now or known
    ]
    content = {"kanary": owner.name, "uid": owner.uid, "selector": former["selector"], "ports": adopted}
    desired: Json = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": live["metadata"]["name"],
            "namespace": owner.namespace,
            "labels": {SKIP_MIRROR_LABEL: "true"},
            "annotations": {ADOPTED_ANNOTATION: json.dumps(content, sort_keys=True)},
        },
        "spec": {"selector": owner.selector, "ports": ports},
    }
    desired["metadata"]["annotations"][HASH_ANNOTATION] = hash_of(desired)
    if version := live["metadata"].get("resourceVersion"):
        desired["metadata"]["resourceVersion"] = version
    return desired


def is_switched_back(live: Json, desired: Json) -> bool:
    """Whether others have taken connections away from the proxies, to which `desired` switches them again.

    Without a selector, the endpoints stay as they are: the manifest has none any more.
    """
    known = adoption_of(live)
    if not known.uid or known.uid != adopter(desired):
        return False
    selector, ports = live["spec"].get("selector"), live["spec"].get("ports") or ()
    targets = {port["port"]: _target(port) for port in ports if _is_tcp(port)}
    is_other = any(targets.get(port.port, port.target) != port.target for port in known.ports)
    return bool(selector and (is_other or selector != desired["spec"]["selector"]))


def given_back(live: Json) -> Json:
    """The metadata and spec of an adopted Service as it was; what others have changed meanwhile stays.

    A `kubectl apply` of its manifest adds the former selector to that of the proxies. One of a manifest without
    selector and target ports removes them, and the cluster sets the default of the target ports.
    """
    known, spec, metadata = adoption_of(live), live["spec"], live["metadata"]
    theirs = {
        part: {key: text for key, text in (metadata.get(part) or {}).items() if key not in marks}
        for part, marks in WITHOUT_MARKS.items()
    }
    selector = {key: value for key, value in (spec.get("selector") or {}).items() if key != KANARY_LABEL}
    declared = spec.get("ports") or ()
    by_number = {} if spec.get("selector") else {port.port: port for port in known.ports}
    entries = [
        entry or (by_number.get(port["port"]) if _is_tcp(port) else None)
        for port, entry in zip(declared, known.of(declared), strict=True)
    ]
    ports = [{**port, "targetPort": was.former} if was else port for port, was in zip(declared, entries, strict=True)]
    spec = {**spec, "selector": selector or {**known.selector}, "ports": ports}
    return {**live, "metadata": {**metadata, **theirs}, "spec": spec}
