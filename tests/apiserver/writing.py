"""Create, update and patch: from what a client sent to what is stored."""

from __future__ import annotations

from . import metadata, ownership
from .builtin import NAMESPACES
from .cluster import Cluster
from .errors import (
    Cause,
    Object,
    Subject,
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
    terminating,
    unsupported_media_type,
)
from .forms import fitted, makes_new_generation, reset_by
from .kinds import rules_of
from .ownership import Writer
from .patch import merge_patch
from .requests import APPLY_PATCH, PATCHES, Request
from .resources import Resource
from .shapes import shape_of
from .storage import Record, copy_of
from .validation import validate

Outcome = tuple[int, Object]


class Writing:
    """The verbs that write one object. Each is one step: nobody sees it half done."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def create(self, request: Request) -> Outcome:
        value = self._decoded(request.object(), request)
        if not value["metadata"].get("name"):
            raise bad_request("name is required: this server generates none")
        with self.cluster.storage.lock:
            return 201, self._create(value, request)

    def update(self, request: Request) -> Outcome:
        value = self._decoded(request.object(), request)
        with self.cluster.storage.lock:
            record = self.existing(request)
            self._check_uid(value, record, request.target.resource)
            if not value["metadata"].get("resourceVersion"):
                rule = "Invalid value: 0x0: must be specified for an update"
                cause = Cause("FieldValueInvalid", rule, "metadata.resourceVersion")
                raise invalid(request.target.resource.subject(record.name), [cause])
            return 200, self.replace(value, record, request)

    def patch(self, request: Request) -> Outcome:
        if request.content_type not in PATCHES:
            raise unsupported_media_type(PATCHES)
        if request.content_type == APPLY_PATCH:
            return self._apply(request)
        change = request.object()
        with self.cluster.storage.lock:
            record = self.existing(request)
            patched = self._decoded(merge_patch(record.value, change), request)
            return 200, self.replace(patched, record, request)

    def _apply(self, request: Request) -> Outcome:
        resource = request.target.resource
        config = self._decoded(request.object(), request)
        with self.cluster.storage.lock:
            record = self._record(request)
            live = None if record is None else record.copy()
            reset = reset_by(resource, request.target.subresource)
            shape, force = shape_of(resource.kind), request.flag("force")
            applied = ownership.apply(live, config, shape, self._writer(request), force=force, reset=reset)
            if record is not None:
                return 200, self.replace(applied, record, request, tracked=True)
            if uid := config["metadata"].get("uid"):
                why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                raise conflict(resource.subject(request.target.name), why)
            return 201, self._create(applied, request, tracked=True)

    def _create(self, value: Object, request: Request, *, tracked: bool = False) -> Object:
        resource, namespace = request.target.resource, request.target.namespace
        if resource.namespaced:
            found = self.cluster.storage.get(NAMESPACES.storage, "", namespace)
            if found is None:
                raise not_found(Subject("", "namespaces", "Namespace", namespace))
            if (found.value.get("status") or {}).get("phase") == "Terminating":
                raise terminating(resource.subject(value["metadata"]["name"]), namespace)
        value = fitted(value, resource)
        metadata.complete_new(value, resource, namespace, self.cluster)
        if resource.status:
            value.pop("status", None)
        rules_of(resource.kind).complete(value, None, self.cluster.storage)
        subject = resource.subject(value["metadata"]["name"])
        self._check(value, None, resource)
        if self.cluster.storage.get(resource.storage, namespace, subject.name):
            raise already_exists(subject)
        return self._store(value if tracked else self._tracked(None, value, request), resource)

    def replace(self, value: Object, record: Record, request: Request, *, tracked: bool = False) -> Object:
        """Stores another version of an object, as far as the endpoint writes it; `tracked` if it has its managers."""
        resource, old = request.target.resource, record.copy()
        if value["metadata"].get("resourceVersion") not in (None, str(record.revision)):
            raise conflict(resource.subject(record.name))
        value = self._restricted(fitted(value, resource), old, request.target.subresource, resource)
        metadata.carry_over(value, old)
        rules_of(resource.kind).complete(value, old, self.cluster.storage)
        if resource.generation and makes_new_generation(value, old, resource):
            value["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        self._check(value, old, resource)
        stored = self._store(value if tracked else self._tracked(old, value, request), resource)
        if old["metadata"].get("deletionTimestamp") and _lost_its_last_finalizer(old, stored):
            self.cluster.remove(resource.storage, self.existing(request))
        return stored

    def _store(self, value: Object, resource: Resource) -> Object:
        metadata.tidy(value)
        return self.cluster.write(resource, value).copy()

    def _tracked(self, old: Object | None, value: Object, request: Request) -> Object:
        resource = request.target.resource
        reset = reset_by(resource, request.target.subresource)
        return ownership.track_update(old, value, shape_of(resource.kind), self._writer(request), reset)

    def _record(self, request: Request) -> Record | None:
        target = request.target
        return self.cluster.storage.get(target.resource.storage, target.namespace, target.name)

    def existing(self, request: Request) -> Record:
        record = self._record(request)
        if record is None:
            raise not_found(request.target.resource.subject(request.target.name))
        return record

    def _writer(self, request: Request) -> Writer:
        target = request.target
        return Writer(request.manager, target.resource.api_version, self.cluster.now(), target.subresource)

    def _decoded(self, value: Object, request: Request) -> Object:
        """The object with its type and place checked; a body without them is taken for the resource's."""
        target = request.target
        expected = (target.resource.api_version, target.resource.kind)
        given = (value.get("apiVersion", expected[0]), value.get("kind", expected[1]))
        if given != expected:
            raise bad_request(
                f"{given[1]} in version {given[0]!r} cannot be handled as a {expected[1]} in version {expected[0]!r}"
            )
        value = {"apiVersion": given[0], "kind": given[1]} | value | {"metadata": dict(value.get("metadata") or {})}
        if value["metadata"].get("namespace", target.namespace) != target.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if target.name and value["metadata"].get("name") != target.name:
            raise bad_request(f"the name of the object does not match the name on the URL ({target.name})")
        return value

    def _check_uid(self, value: Object, record: Record, resource: Resource) -> None:
        uid = value["metadata"].get("uid")
        if uid not in (None, record.uid):
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {record.uid}"
            raise conflict(resource.subject(record.name), f"StorageError: invalid object, {why}")

    def _restricted(self, value: Object, old: Object, subresource: str, resource: Resource) -> Object:
        """The part of the new object that this endpoint writes, over the old one."""
        if subresource == "status":
            kept = {key: item for key, item in copy_of(old).items() if key != "status"}
            return kept | ({"status": value["status"]} if "status" in value else {})
        if not resource.status:
            return value
        rest = {key: item for key, item in value.items() if key != "status"}
        return rest | ({"status": copy_of(old["status"])} if "status" in old else {})

    def _check(self, value: Object, old: Object | None, resource: Resource) -> None:
        causes = metadata.check(value, old) + rules_of(resource.kind).check(value, old)
        if resource.schema:
            causes += validate(value, resource.schema)
        if causes:
            raise invalid(resource.subject(value["metadata"]["name"]), causes)


def _lost_its_last_finalizer(old: Object, new: Object) -> bool:
    return bool(old["metadata"].get("finalizers")) and not new["metadata"].get("finalizers")
