"""`kanary plan`: what applying a manifest would change. Nothing is written."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from engine.model.spec import KanarySpec
from engine.observe import Defaults
from engine.render.objects import Identity
from engine.render.pods import DEFAULT_PROXY_IMAGE
from engine.render.sysctls import ALL_SYSCTLS, sysctls_for
from engine.resolve.validation import InvalidSpecError, read_spec
from kanary.cli.applying import after_apply, after_replace
from kanary.cli.cuts import OpenConnections
from kanary.cli.failure import CommandError, note
from kanary.cli.forecast import Forecast, defaults_of, forecast, settle
from kanary.cli.imagined import ImaginedCluster, NoCluster
from kanary.cli.likely_mistakes import warnings_of
from kanary.cli.manifest import InputError, Manifest, is_kanary, is_service, read_manifest
from kanary.cli.plan_text import write_plans
from kanary.cli.render import valid_spec
from kanary.cli.selected import put_selected
from kanary.cli.stand_ins import inner_first, put_proxies, put_stand_ins
from kanary.kanaries import KANARIES
from kanary.kube.resources import PDBS, SERVICES, Json

if TYPE_CHECKING:
    from kanary.cli.lookup import LiveObjects
    from kanary.kube.client import ClusterClient

CHANGES = 3
"""The exit code of a plan with changes, if it is requested: 1 is an error, and 2 wrong usage."""

Plans = Iterator[tuple[Forecast, OpenConnections]]


class PlannedFile:
    """The Kanaries of a file; those without a namespace are in `namespace`. Raises InputError."""

    def __init__(self, filename: str, namespace: str) -> None:
        documents = read_manifest(filename)
        manifest = Manifest(documents, namespace)
        self.filename = filename
        self.manifest = manifest
        self.kanaries = [(kanary, valid_spec(filename, kanary)) for kanary in manifest.kanaries]
        others = Counter(str(each.get("kind")) for each in documents if not is_kanary(each) and not is_service(each))
        self.ignored = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))

    def warn(self, kanary: Json, spec: KanarySpec, now: datetime) -> None:
        """Print the warnings about a Kanary."""
        for warning in warnings_of(kanary, spec, self.manifest, now):
            note(f"warning: {kanary['metadata']['name']}: {warning.message}")

    def put_services(self, cluster: ImaginedCluster) -> None:
        """Have the cluster contain the Services of the file, as after an apply of all of it."""
        for each in self.manifest.services:
            metadata = each["metadata"]
            live = cluster.service(metadata["namespace"], metadata["name"]) or {}
            spec = {**(live.get("spec") or {}), **(each.get("spec") or {})}
            cluster.put(SERVICES, {**each, **live, "spec": spec} if live else each)


def plan(
    filename: str,
    *,
    client: ClusterClient | None,
    namespace: str | None,
    against: str | None,
    proxy_image: str | None,
    pod_sysctls: bool,
    output: str,
    exit_code: bool,
) -> int:
    """Print the plan of each Kanary in a file; returns the exit code. Raises CommandError and ClusterError."""
    of_file = PlannedFile(filename, namespace or (client.namespace if client else "default"))
    if of_file.ignored:
        note(f"note: {filename}: other objects are ignored: {of_file.ignored}")
    if client:
        plans = list(_in_cluster(of_file, client, proxy_image, pod_sysctls=pod_sysctls))
    else:
        defaults = Defaults(proxy_image or DEFAULT_PROXY_IMAGE, sysctls=ALL_SYSCTLS if pod_sysctls else {})
        former = PlannedFile(against, namespace or "default") if against else None
        plans = list(_offline(of_file, former, defaults))
    write_plans(plans, output, sys.stdout)
    if any(planned.problems for planned, _ in plans):
        return 1
    return CHANGES if exit_code and any(planned.is_change for planned, _ in plans) else 0


def _in_cluster(of_file: PlannedFile, client: ClusterClient, proxy_image: str | None, *, pod_sysctls: bool) -> Plans:
    from kanary.cli.lookup import LiveObjects  # noqa: PLC0415 -- loads the cluster client

    objects, now = LiveObjects(client), client.clock.now()
    sysctls, budgets = (sysctls_for(client.server_version()) if pod_sysctls else {}), objects.serves(PDBS)
    cluster = ImaginedCluster(objects, now)
    of_file.put_services(cluster)
    put_selected(cluster, objects, of_file.manifest.services)
    for kanary, spec in of_file.kanaries:
        live = cluster.kanary(*_key(kanary))
        owner = _owner(live or kanary)
        if live and live["metadata"].get("deletionTimestamp"):
            raise CommandError(f"Kanary {owner.name} is being deleted: plan again when it is gone")
        defaults = defaults_of(cluster, owner, proxy_image=proxy_image, sysctls=sysctls, budgets=budgets)
        of_file.warn(kanary, spec, now)
        is_pending = live is not None and _note_pending(ImaginedCluster(objects, now), owner, defaults)
        applied = after_apply(live, kanary, now)
        try:
            applied_spec = read_spec(applied)
        except InvalidSpecError as error:
            text = f"{of_file.filename}: Kanary {owner.name!r}, with the fields that stay from the cluster: {error}"
            raise InputError(text) from error
        planned = forecast(cluster, applied, (_spec_of(live), applied_spec), defaults, is_pending=is_pending)
        yield planned, _connections(objects, owner)


def _offline(of_file: PlannedFile, former: PlannedFile | None, defaults: Defaults) -> Plans:
    """The plan against the Kanaries of another file, as if they were served, or against nothing."""
    now = datetime.now(UTC)
    cluster = ImaginedCluster(NoCluster(), now)
    of_file.put_services(cluster)
    if former:
        former.put_services(cluster)
    put_stand_ins(cluster, [*(former.kanaries if former else ()), *of_file.kanaries])
    for kanary, _ in inner_first(former.kanaries) if former else ():
        cluster.put(KANARIES, after_apply(None, kanary, now))
        settle(cluster, _owner(kanary), defaults)
        put_proxies(cluster, _owner(kanary))
        settle(cluster, _owner(kanary), defaults)
    of_file.put_services(cluster)
    for kanary, spec in inner_first(of_file.kanaries):
        of_file.warn(kanary, spec, now)
        live = cluster.kanary(*_key(kanary))
        applied = after_replace(live, kanary) if live else after_apply(None, kanary, now)
        planned = forecast(cluster, applied, (_spec_of(live), spec), defaults)
        yield planned, OpenConnections(0 if live is None else None)
        if live is None:
            put_proxies(cluster, _owner(kanary))


def _note_pending(cluster: ImaginedCluster, owner: Identity, defaults: Defaults) -> bool:
    """Whether the operator would write something anyway; prints a note then."""
    before = cluster.snapshot()
    settle(cluster, owner, defaults)
    kinds = [f"{after['kind']} {after['metadata']['name']}" for _, after in cluster.changes(before) if after]
    if kinds:
        note(
            f"note: {owner.name}: {', '.join(kinds)} would change without the file as well: the operator has not "
            "written the present state yet, or is of another version than this command"
        )
    return bool(kinds)


def _connections(objects: LiveObjects, owner: Identity) -> OpenConnections:
    readings = objects.readings(owner.namespace, owner.name)
    unread = next((each.problem for each in readings if each.problem), "")
    reports = [each.proxy.report for each in readings]
    return OpenConnections(None if unread else sum(each.connections for each in reports if each), unread)


def _spec_of(live: Json | None) -> KanarySpec | None:
    """The declared spec in the cluster; None if it is invalid."""
    try:
        return read_spec(live) if live else None
    except InvalidSpecError:
        return None


def _key(kanary: Json) -> tuple[str, str]:
    return kanary["metadata"]["namespace"], kanary["metadata"]["name"]


def _owner(kanary: Json) -> Identity:
    return Identity(*_key(kanary), kanary["metadata"]["uid"])
