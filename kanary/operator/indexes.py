"""Which Kanaries, Services and addresses an object names: the indexes of the watches' copies."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.model.spec import KIND
from engine.model.states import APPLIED_KEY
from engine.render.adoption import adopter
from engine.render.objects import KANARY_LABEL, controller_of, owner_uid
from kanary.kube.pods import addresses_of
from kanary.kube.resources import Key
from kanary.operator import transforms

Json = dict[str, Any]

Target = str | tuple[str, str]
"""What an endpoint leads to: an address, or the namespace and name of a pod."""

_NAMED_SERVICES = re.compile(r'"(?:destination|serviceName)": ?"([^"]*)"')


def services_of_kanary(kanary: Json) -> Iterator[tuple[str, str]]:
    """The Services that a spec names, the destination included; the spec may be invalid."""
    namespace, spec = kanary["metadata"]["namespace"], _mapping(kanary.get("spec"))
    yield namespace, str(spec.get("destination"))
    routes = spec.get("routes")
    for route in routes if isinstance(routes, list) else ():
        yield namespace, str(_mapping(_mapping(route).get("backend")).get("serviceName"))


def destination_of(kanary: Json) -> Iterator[tuple[str, str]]:
    """The destination that a Kanary declares."""
    destination = _mapping(kanary.get("spec")).get("destination")
    if isinstance(destination, str):
        yield kanary["metadata"]["namespace"], destination


def services_of_applied(config_map: Json) -> Iterator[tuple[str, str]]:
    """The Services that the applied spec names. It is not parsed: it may be damaged, and has all endpoints."""
    text = str(_mapping(config_map.get("data")).get(APPLIED_KEY))
    for name in _NAMED_SERVICES.findall(text):
        yield config_map["metadata"]["namespace"], name


def service_of_slice(piece: Json) -> Iterator[tuple[str, str]]:
    """The Service of a slice, by its label."""
    metadata = piece["metadata"]
    name = (metadata.get("labels") or {}).get(transforms.SERVICE_OF_SLICE)
    if name:
        yield metadata["namespace"], name


def service_name(key: Key, obj: Json) -> str:
    """The Service of a slice, by its label, or of Endpoints, by their name."""
    return str((obj["metadata"].get("labels") or {}).get(transforms.SERVICE_OF_SLICE, key.name))


def own_name(obj: Json) -> Iterator[tuple[str, str]]:
    """Namespace and name."""
    yield obj["metadata"]["namespace"], obj["metadata"]["name"]


def controller_uid(obj: Json) -> Iterator[str]:
    """The uid of the controller, or of the Kanary that has adopted a Service, if there is one."""
    if uid := owner_uid(obj) or adopter(obj):
        yield uid


def owning_kanaries(obj: Json) -> Iterator[Key]:
    """The Kanary that is the controller of an object, if one is."""
    controller = controller_of(obj)
    if controller.get("kind") == KIND:
        yield Key(obj["metadata"]["namespace"], controller["name"])


def kanaries_of_owned(obj: Json) -> Iterator[Key]:
    """The Kanary of an object of ours, by its label."""
    metadata = obj["metadata"]
    name = (metadata.get("labels") or {}).get(KANARY_LABEL)
    if name:
        yield Key(metadata["namespace"], name)


def targets_of_pod(pod: Json) -> Iterator[Target]:
    """What an endpoint may have of a pod: its name or an address, but not that of a node, which no proxy has."""
    yield pod["metadata"]["namespace"], pod["metadata"]["name"]
    if not _mapping(pod.get("spec")).get("hostNetwork"):
        yield from addresses_of(pod)


def targets_of_service(service: Json) -> Iterator[Target]:
    """The addresses of a Service: users' ones may select proxies as well."""
    spec = _mapping(service.get("spec"))
    addresses = {spec.get("clusterIP"), *(spec.get("clusterIPs") or ()), *external_addresses(service)}
    yield from addresses - {None, "", "None"}


def external_addresses(service: Json) -> Sequence[str]:
    """The addresses that its author has chosen, which may be another's."""
    return _mapping(service.get("spec")).get("externalIPs") or ()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
