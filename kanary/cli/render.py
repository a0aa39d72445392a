"""`kanary render`: renders the objects of a Kanary from a file, without a cluster."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from engine.capacity import short_of_ports
from engine.memo import Memo
from engine.model.spec import GROUP, KIND, Backend, KanarySpec
from engine.model.states import Endpoint
from engine.observe import Defaults
from engine.plan import Target, plan_unapplied
from engine.render.config import Server
from engine.render.objects import Identity
from engine.render.pods import DEFAULT_PROXY_IMAGE
from engine.render.sysctls import ALL_SYSCTLS, sysctls_for
from engine.resolve.endpoints import resolve
from engine.resolve.validation import InvalidSpecError, read_spec
from kanary.cli.failure import CommandError, note
from kanary.kube.errors import ClusterError
from states import Problem

if TYPE_CHECKING:
    from kanary.cli.lookup import ClusterLookup

Json = dict[str, Any]
Given = Mapping[str, tuple[Endpoint, ...]]

_UNAPPLIED_UID = "00000000-0000-0000-0000-000000000000"
_UNAPPLIED_AT = datetime(1970, 1, 1, tzinfo=UTC)
"""Not the current time, so that the same file gives the same text."""
_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<v4>[^:\[\]]+)):(?P<port>\d{1,5})")


class RenderError(CommandError):
    """The input cannot be rendered; the message says what to do."""


@dataclass(frozen=True)
class EndpointSource:
    """The sources of endpoints."""

    given: Given
    services: Mapping[tuple[str, str], Json]
    """Services of the file, by namespace and name."""
    namespace: str
    """The namespace of objects without one."""
    cluster: "ClusterLookup | None"


def render_file(
    filename: str,
    *,
    endpoints: Sequence[str],
    from_cluster: bool,
    output: Literal["objects", "config"],
    proxy_image: str | None = None,
    pod_sysctls: bool = True,
    kubeconfig: str | None = None,
    context: str | None = None,
) -> str:
    """The rendered text of every Kanary in a file. Raises RenderError."""
    documents = _documents(filename)
    kanaries = [d for d in documents if d.get("kind") == KIND and str(d.get("apiVersion", "")).startswith(f"{GROUP}/")]
    if not kanaries:
        kinds = ", ".join(sorted({str(d.get("kind")) for d in documents})) or "nothing"
        raise RenderError(f"{filename}: has no object of kind {KIND} in {GROUP}, only {kinds}")
    specs = [_spec(filename, kanary) for kanary in kanaries]
    given = _given(endpoints)
    _check_given(given, specs)
    cluster = _connect(kubeconfig, context) if from_cluster else None
    namespace = cluster.namespace if cluster else "default"
    source = EndpointSource(given, _services(documents, namespace), namespace, cluster)
    try:
        accepted = sysctls_for(cluster.version()) if cluster else ALL_SYSCTLS
        defaults = Defaults(proxy_image or DEFAULT_PROXY_IMAGE, sysctls=accepted if pod_sysctls else {})
        targets = [_target(kanary, spec, source, defaults) for kanary, spec in zip(kanaries, specs, strict=True)]
    except ClusterError as error:
        raise RenderError(f"--from-cluster: {error}") from error
    return "".join(_config(target) for target in targets) if output == "config" else _yaml(targets)


def _connect(kubeconfig: str | None, context: str | None) -> "ClusterLookup":
    from kanary.cli.lookup import ClusterLookup  # noqa: PLC0415  loads the cluster client, which only this option needs

    try:
        return ClusterLookup(kubeconfig, context)
    except ClusterError as error:
        raise RenderError(f"--from-cluster: {error}") from error


def _documents(filename: str) -> list[Json]:
    try:
        text = sys.stdin.read() if filename == "-" else Path(filename).read_text(encoding="utf-8")
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except OSError as error:
        raise RenderError(f"{filename}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # PyYAML also raises ValueError, for invalid UTF-8 or a 13th month, and RecursionError.
        raise RenderError(f"{filename}: is not YAML: {' '.join(str(error).split())}") from error
    objects = [item for document in documents for item in _items(document)]
    for each in objects:
        if not isinstance(each, dict) or not isinstance(each.get("metadata"), dict):
            raise RenderError(f"{filename}: has something that is no Kubernetes object: {str(each)[:60]!r}")
    return objects


def _items(document: Any) -> list[Any]:
    """The objects of a document, which may be a List."""
    items = document.get("items") if isinstance(document, dict) and document.get("kind") == "List" else None
    return items if isinstance(items, list) else [document]


def _given(texts: Sequence[str]) -> dict[str, tuple[Endpoint, ...]]:
    given: dict[str, tuple[Endpoint, ...]] = {}
    for text in texts:
        name, separator, addresses = text.partition("=")
        if not separator or not name:
            raise RenderError(f"--endpoints {text}: must be SERVICE=IP:PORT[,IP:PORT...], e.g. myapp-v1=10.0.0.1:9000")
        given[name] = given.get(name, ()) + tuple(_endpoint(text, part) for part in addresses.split(",") if part)
    return given


def _endpoint(text: str, part: str) -> Endpoint:
    match = _ADDRESS.fullmatch(part)
    if not match:
        raise RenderError(f"--endpoints {text}: {part!r} is not IP:PORT; IPv6 as [fd00::1]:9000")
    try:
        server = Server(match["v6"] or match["v4"], int(match["port"]))
    except ValueError as error:
        raise RenderError(f"--endpoints {text}: {part!r}: {error}") from error
    return Endpoint(server.address, server.port)


def _check_given(given: Given, specs: Sequence[KanarySpec]) -> None:
    """Reject a name without a route: with a misspelt name a route would silently stay empty."""
    backends = {route.backend for spec in specs for route in spec.routes}
    services = [backend.service_name for backend in backends]
    # If two ports of a Service are backends, the name of the Service is ambiguous.
    known = {str(backend) for backend in backends} | {name for name in services if services.count(name) == 1}
    for name in given:
        if name not in known:
            raise RenderError(f"--endpoints {name}=...: no route has such a backend: use {', '.join(sorted(known))}")


def _spec(filename: str, kanary: Json) -> KanarySpec:
    try:
        return read_spec(kanary, unknown="forbid")
    except InvalidSpecError as error:
        name = str(kanary["metadata"].get("name", ""))[:60]
        raise RenderError(f"{filename}: Kanary {name!r}: {error}") from error


def _target(kanary: Json, spec: KanarySpec, source: EndpointSource, defaults: Defaults) -> Target:
    metadata = kanary["metadata"]
    owner = Identity(str(metadata.get("namespace") or source.namespace), metadata["name"], _UNAPPLIED_UID)
    endpoints = {
        route.backend: _endpoints_of(owner, route.backend, f"spec.routes[{index}].backend", source)
        for index, route in enumerate(spec.routes)
    }
    found = {str(backend): pods for backend, pods in endpoints.items()}
    if short := short_of_ports(spec, found, defaults.sysctls):
        note(f"warning: {owner.name}: {short}")
    return plan_unapplied(owner, spec, endpoints, defaults, _UNAPPLIED_AT)


def _endpoints_of(owner: Identity, backend: Backend, where: str, source: EndpointSource) -> tuple[Endpoint, ...]:
    given = [source.given[name] for name in (str(backend), backend.service_name) if name in source.given]
    if given:
        return given[0]
    if source.cluster is None:
        note(
            f"note: backend {backend} is rendered without endpoints: give them with --endpoints {backend}=IP:PORT, "
            "or read them with --from-cluster"
        )
        return ()
    in_file = source.services.get((owner.namespace, backend.service_name))
    found = resolve(
        backend,
        where=where,
        namespace=owner.namespace,
        service=in_file or source.cluster.service(owner.namespace, backend.service_name),
        slices=source.cluster.slices(owner.namespace, backend.service_name),
        memo=Memo(),
    )
    if isinstance(found, Problem):
        raise RenderError(f"Kanary {owner.name!r}: {found.message}")
    if found.note:
        note(f"note: backend {backend} has {found.note}")
    return found.endpoints


def _services(documents: Sequence[Json], namespace: str) -> dict[tuple[str, str], Json]:
    services = [d for d in documents if (d.get("apiVersion"), d.get("kind")) == ("v1", "Service")]
    return {(str(s["metadata"].get("namespace") or namespace), str(s["metadata"].get("name"))): s for s in services}


def _config(target: Target) -> str:
    return target.written.latest


class _Dumper(yaml.SafeDumper):
    """Writes multi-line text as a block."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def _yaml(targets: Sequence[Target]) -> str:
    objects = [_unowned(planned.render()) for target in targets for planned in target.all_planned]
    _Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]  # the library's way to say so
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True)


def _unowned(desired: Json) -> Json:
    """Remove the owner reference: the owner has no uid before it is applied."""
    metadata = {key: value for key, value in desired["metadata"].items() if key != "ownerReferences"}
    return {**desired, "metadata": metadata}
