"""`kanary render`: renders the objects of a Kanary from a file, without a cluster."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import yaml

from engine.capacity import short_of_ports
from engine.memo import Memo
from engine.model.spec import Backend, KanarySpec
from engine.model.states import Endpoint, Endpoints
from engine.observe import Defaults
from engine.plan import Target, plan_unapplied
from engine.render.config import Server
from engine.render.objects import Identity
from engine.render.pods import DEFAULT_PROXY_IMAGE
from engine.render.sysctls import ALL_SYSCTLS, sysctls_for
from engine.resolve.endpoints import Resolved, resolve
from engine.resolve.intent import backends_of, destination_problems, problems_among, same_port_problems
from engine.resolve.validation import InvalidSpecError, read_spec
from kanary.cli.failure import note
from kanary.cli.likely_mistakes import warnings_of
from kanary.cli.manifest import InputError, Manifest, read_manifest
from kanary.cli.rights import explained
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


@dataclass(frozen=True)
class EndpointSource:
    """Where Services and endpoints come from."""

    given: Given
    manifest: Manifest
    cluster: "ClusterLookup | None"

    def endpoints(self, backend: Backend) -> tuple[Endpoint, ...] | None:
        """Those that are given for a backend; None if none are."""
        return next((self.given[name] for name in (str(backend), backend.service_name) if name in self.given), None)

    def service(self, namespace: str, name: str) -> Json | None:
        """The Service that would be applied, or that the cluster has; None if it is in neither."""
        found = self.manifest.service(namespace, name)
        return self.cluster.service(namespace, name) if found is None and self.cluster else found


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
    """The rendered text of every Kanary in a file. Raises InputError."""
    documents = read_manifest(filename)
    # Before the cluster is needed, which may not be reachable.
    specs = [valid_spec(filename, kanary) for kanary in Manifest(documents, "").kanaries]
    given = _given(endpoints)
    _check_given(given, specs)
    cluster = _connect(kubeconfig, context) if from_cluster else None
    source = EndpointSource(given, Manifest(documents, cluster.namespace if cluster else "default"), cluster)
    try:
        accepted = sysctls_for(cluster.version()) if cluster else ALL_SYSCTLS
        defaults = Defaults(proxy_image or DEFAULT_PROXY_IMAGE, sysctls=accepted if pod_sysctls else {})
        of_file = zip(source.manifest.kanaries, specs, strict=True)
        targets = [_target(kanary, spec, source, defaults) for kanary, spec in of_file]
    except ClusterError as error:
        raise InputError(f"--from-cluster: {explained(error)}") from error
    return "".join(_config(target) for target in targets) if output == "config" else _yaml(targets)


def read_valid(filename: str) -> list[tuple[Json, KanarySpec]]:
    """The Kanaries of a file, if the operator would accept them, with their specs. Raises InputError."""
    source = EndpointSource({}, Manifest(read_manifest(filename), "default"), None)
    found = [(kanary, valid_spec(filename, kanary)) for kanary in source.manifest.kanaries]
    for kanary, spec in found:
        _resolved_backends(_owner(kanary), kanary, spec, source)
    return found


def problems_of(kanary: Json, spec: KanarySpec, manifest: Manifest) -> list[Problem]:
    """What the operator would refuse about a valid spec because of other objects of its manifest."""
    return _checked_backends(_owner(kanary), kanary, spec, EndpointSource({}, manifest, None))[1]


def _connect(kubeconfig: str | None, context: str | None) -> "ClusterLookup":
    from kanary.cli.lookup import ClusterLookup  # noqa: PLC0415  loads the cluster client, which only this option needs

    try:
        return ClusterLookup(kubeconfig, context)
    except ClusterError as error:
        raise InputError(f"--from-cluster: {explained(error)}") from error


def _given(texts: Sequence[str]) -> dict[str, tuple[Endpoint, ...]]:
    given: dict[str, tuple[Endpoint, ...]] = {}
    for text in texts:
        name, separator, addresses = text.partition("=")
        if not separator or not name:
            raise InputError(f"--endpoints {text}: must be SERVICE=IP:PORT[,IP:PORT...], e.g. myapp-v1=10.0.0.1:9000")
        given[name] = given.get(name, ()) + tuple(_endpoint(text, part) for part in addresses.split(",") if part)
    return given


def _endpoint(text: str, part: str) -> Endpoint:
    match = _ADDRESS.fullmatch(part)
    if not match:
        raise InputError(f"--endpoints {text}: {part!r} is not IP:PORT; IPv6 as [fd00::1]:9000")
    try:
        server = Server(match["v6"] or match["v4"], int(match["port"]))
    except ValueError as error:
        raise InputError(f"--endpoints {text}: {part!r}: {error}") from error
    return Endpoint(server.address, server.port)


def _check_given(given: Given, specs: Sequence[KanarySpec]) -> None:
    """Reject a name without a route: with a misspelt name a route would silently stay empty."""
    backends = {route.backend for spec in specs for route in spec.all_routes}
    services = [backend.service_name for backend in backends]
    # If two ports of a Service are backends, the name of the Service is ambiguous.
    known = {str(backend) for backend in backends} | {name for name in services if services.count(name) == 1}
    for name in given:
        if name not in known:
            raise InputError(f"--endpoints {name}=...: no route has such a backend: use {', '.join(sorted(known))}")


def valid_spec(filename: str, kanary: Json) -> KanarySpec:
    """The spec of a Kanary of a file. Raises InputError if the operator would refuse it."""
    try:
        return read_spec(kanary, unknown="forbid")
    except InvalidSpecError as error:
        name = str(kanary["metadata"].get("name", ""))[:60]
        raise InputError(f"{filename}: Kanary {name!r}: {error}") from error


def _target(kanary: Json, spec: KanarySpec, source: EndpointSource, defaults: Defaults) -> Target:
    owner = _owner(kanary)
    endpoints = _resolved_backends(owner, kanary, spec, source)
    for backend in endpoints:
        if source.endpoints(backend) is None and not source.cluster:
            note(
                f"note: backend {backend} is rendered without endpoints: give them with --endpoints {backend}=IP:PORT, "
                "or read them with --from-cluster"
            )
    warnings = [problem.message for problem in warnings_of(kanary, spec, source.manifest, datetime.now(UTC))]
    if short := short_of_ports(spec, {str(each): pods for each, pods in endpoints.items()}, defaults.sysctls):
        warnings.append(short)
    for warning in warnings:
        note(f"warning: {owner.name}: {warning}")
    return plan_unapplied(owner, spec, endpoints, defaults, _UNAPPLIED_AT)


def _owner(kanary: Json) -> Identity:
    return Identity(kanary["metadata"]["namespace"], kanary["metadata"]["name"], _UNAPPLIED_UID)


def _resolved_backends(owner: Identity, kanary: Json, spec: KanarySpec, source: EndpointSource) -> Endpoints:
    """The endpoints of each backend. Raises InputError for what the operator would refuse."""
    endpoints, problems = _checked_backends(owner, kanary, spec, source)
    if problems:
        raise InputError(f"Kanary {owner.name!r}: {'; '.join(problem.message for problem in problems)}")
    return endpoints


def _checked_backends(
    owner: Identity, kanary: Json, spec: KanarySpec, source: EndpointSource
) -> tuple[Endpoints, list[Problem]]:
    """The endpoints of each backend, and what the operator would refuse."""
    services = {name: source.service(owner.namespace, name) for name in {r.backend.service_name for r in spec.routes}}
    found = {
        backend: _resolved(backend, where, owner, services[backend.service_name], source)
        for backend, where in backends_of(spec).items()
    }
    problems = [
        # A destination that the cluster has may be that of this Kanary.
        *destination_problems(source.manifest, owner, kanary, spec),
        *same_port_problems(services.get, spec),
        *problems_among(found, spec),
    ]
    return {backend: each.endpoints for backend, each in found.items() if isinstance(each, Resolved)}, problems


def _resolved(
    backend: Backend, where: str, owner: Identity, service: Json | None, source: EndpointSource
) -> Resolved | Problem:
    """The endpoints of a backend, or the problem with it. Without a cluster, the file need not have its Service."""
    given = source.endpoints(backend)
    if given is None and source.cluster:
        slices = source.cluster.slices(owner.namespace, backend.service_name)
        found = resolve(backend, where=where, namespace=owner.namespace, service=service, slices=slices, memo=Memo())
        if isinstance(found, Resolved) and found.note:
            note(f"note: backend {backend} has {found.note}")
        return found
    if service:
        found = resolve(backend, where=where, namespace=owner.namespace, service=service, slices=(), memo=Memo())
        if isinstance(found, Problem):
            return found
    return Resolved(given or ())


def _config(target: Target) -> str:
    return target.written.latest


class _Dumper(yaml.SafeDumper):
    """Writes multi-line text as a block."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def _yaml(targets: Sequence[Target]) -> str:
    objects = [_unowned(planned.rendered) for target in targets for planned in target.all_planned]
    _Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]  # the library's way to say so
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True)


def _unowned(desired: Json) -> Json:
    """Remove the owner reference: the owner has no uid before it is applied."""
    metadata = {key: value for key, value in desired["metadata"].items() if key != "ownerReferences"}
    return {**desired, "metadata": metadata}
