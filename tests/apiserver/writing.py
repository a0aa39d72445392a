"""Create, update and patch: from what a client sent to what is stored."""

from __future__ import annotations

from . import metadata, ownership
from .cluster import Cluster
from .errors import (
    ApiError,
    Cause,
    Object,
    Subject,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
    unsupported_media_type,
    value_required,
)
from .forms import check_declared, encoded, fitted, makes_new_generation, reset_by, shape_of
from .kinds import decoding, namespaces, rules_of
from .ownership import Writer
from .patch import json_patch, merge_patch
from .requests import APPLY_PATCH, JSON_PATCH, PATCHES, Request
from .resources import Resource
from .storage import Record, copy_of
from .validation import validate

Outcome = tuple[int, Object]


class Writing:
    """The verbs that write one object. Each is one step: nobody sees it half done."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def create(self, request: Request) -> Outcome:
        value = self._decoded(request.object(), request)
        with self.cluster.storage.lock:
            return 201, self._create(value, request)

    def update(self, request: Request) -> Outcome:
        value = self._decoded(request.object(), request)
        resource, name = request.target.resource, request.target.name
        if value["metadata"].get("name") != name:
            given = value["metadata"].get("name", "")
            raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        with self.cluster.storage.lock:
            record = self._record(request)
            if record is not None:
                self._check_precondition(value, record, resource)
                return 200, self._update(value, record, request)
            if not resource.create_on_update or request.target.subresource:
                raise not_found(resource.subject(name))
            return 201, self._create(value, request)

    def patch(self, request: Request) -> Outcome:
        if request.content_type not in PATCHES:
            raise unsupported_media_type(PATCHES)
        if request.content_type == APPLY_PATCH:
            return self._apply(request)
        change = request.data()
        with self.cluster.storage.lock:
            record = self._record(request)
            if record is None:
                raise not_found(request.target.resource.subject(request.target.name))
            live = encoded(record, request.target.resource)
            if request.content_type == JSON_PATCH:
                patched = json_patch(live, change)
            else:
                patched = merge_patch(live, self._mergeable(change))
            return 200, self._update(self._decoded(patched, request), record, request)

    def _mergeable(self, change: object) -> object:
        if not isinstance(change, dict):
            raise bad_request("json: cannot unmarshal non-object into Go value of type map[string]interface {}")
        return change

    def _apply(self, request: Request) -> Outcome:
        resource, name = request.target.resource, request.target.name
        if not request.query.get("fieldManager"):
            causes = [value_required("fieldManager", "is required for apply patch")]
            raise invalid(Subject("meta.k8s.io", "patchoptions", "PatchOptions"), causes)
        config = self._configuration(request)
        with self.cluster.storage.lock:
            record = self._record(request)
            if record is None and request.target.subresource:
                raise not_found(resource.subject(name))
            live = None if record is None else encoded(record, resource)
            applied = self._applied(live, config, request)
            if record is not None:
                return 200, self._update(applied, record, request, tracked=True)
            if uid := config["metadata"].get("uid"):
                why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                raise conflict(resource.subject(name), why)
            if not config["metadata"].get("name"):
                raise bad_request(
                    f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
                )
            return 201, self._create(applied, request, tracked=True)

    def _configuration(self, request: Request) -> Object:
        config, resource = request.object(), request.target.resource
        if config.get("apiVersion") != resource.api_version:
            given = config.get("apiVersion", "")
            raise bad_request(
                f"Incorrect version specified in apply patch. Specified patch version: {given}, "
                f"expected: {resource.api_version}"
            )
        return self._decoded(config, request)

    def _applied(self, live: Object | None, config: Object, request: Request) -> Object:
        resource, reset = request.target.resource, reset_by(request.target.resource, request.target.subresource)
        shape, force = shape_of(resource), request.flag("force")
        if resource.custom and resource.schema:
            check_declared(config, resource.schema, shape)
        return ownership.apply(live, config, shape, self._writer(request), force=force, reset=reset)

    def _create(self, value: Object, request: Request, *, tracked: bool = False) -> Object:
        resource, namespace = request.target.resource, request.target.namespace
        if value["metadata"].get("resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        self._check_namespace(resource, namespace)
        value = fitted(value, resource)
        metadata.complete_new(value, resource, namespace, self.cluster)
        if resource.status:
            value.pop("status", None)
        self._complete(value, None, resource)
        subject = resource.subject(value["metadata"].get("name", ""))
        self._check(value, None, resource, subject)
        if self.cluster.storage.get(resource.storage, value["metadata"].get("namespace", ""), subject.name):
            raise already_exists(subject)
        if not tracked:
            value = self._tracked(None, value, request)
        return self._store(value, request)

    def _update(self, value: Object, record: Record, request: Request, *, tracked: bool = False) -> Object:
        resource = request.target.resource
        old = encoded(record, resource)
        self._check_revision(value, record, resource)
        self._check_name(value, old)
        value = self._restricted(fitted(value, resource), old, request.target.subresource, resource)
        metadata.carry_over(value, old)
        self._complete(value, old, resource)
        if resource.generation and makes_new_generation(value, old, resource):
            value["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        self._check(value, old, resource, resource.subject(record.name))
        if not tracked:
            value = self._tracked(old, value, request)
        if "deletionTimestamp" in old["metadata"] and not value["metadata"].get("finalizers"):
            if not request.dry_run:
                self.cluster.remove(resource.storage, record)
            return value
        return self._store(value, request)

    def _store(self, value: Object, request: Request) -> Object:
        resource = request.target.resource
        metadata.tidy(value)
        if request.dry_run:
            return value
        stored = resource.codec.decode(value) if resource.codec else value
        return encoded(self.cluster.write(resource, stored), resource)

    def _tracked(self, old: Object | None, value: Object, request: Request) -> Object:
        resource = request.target.resource
        reset = reset_by(resource, request.target.subresource)
        return ownership.track_update(old, value, shape_of(resource), self._writer(request), reset)

    def _record(self, request: Request) -> Record | None:
        target = request.target
        return self.cluster.storage.get(target.resource.storage, target.namespace, target.name)

    def _writer(self, request: Request) -> Writer:
        target = request.target
        return Writer(request.manager, target.resource.api_version, self.cluster.now(), target.subresource)

    def _decoded(self, value: Object, request: Request) -> Object:
        """The object with its type checked; a body without one is taken for the resource's."""
        target = request.target
        expected = (target.resource.api_version, target.resource.kind)
        given = (value.get("apiVersion", expected[0]), value.get("kind", expected[1]))
        if given != expected:
            raise bad_request(
                f"{given[1]} in version {given[0]!r} cannot be handled as a {expected[1]} in version {expected[0]!r}"
            )
        metadata.check_types(value | {"metadata": value.get("metadata", {})})
        value = {"apiVersion": given[0], "kind": given[1]} | value | {"metadata": dict(value.get("metadata") or {})}
        if value["metadata"].get("namespace", target.namespace) != target.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        return value

    def _check_namespace(self, resource: Resource, namespace: str) -> None:
        if not resource.namespaced:
            return
        record = self.cluster.storage.get(namespaces.BUCKET, "", namespace)
        if record is None:
            raise not_found(Subject("", "namespaces", "Namespace", namespace))
        if "deletionTimestamp" in record.value["metadata"]:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise forbidden(resource.subject(), why)

    def _check_precondition(self, value: Object, record: Record, resource: Resource) -> None:
        uid = value["metadata"].get("uid")
        if uid and uid != record.uid:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {record.uid}"
            raise conflict(resource.subject(record.name), f"StorageError: invalid object, {why}")

    def _check_revision(self, value: Object, record: Record, resource: Resource) -> None:
        given = value["metadata"].get("resourceVersion")
        if not given and not resource.unconditional_update:
            cause = Cause(
                "FieldValueInvalid", "Invalid value: 0x0: must be specified for an update", "metadata.resourceVersion"
            )
            raise invalid(resource.subject(record.name), [cause])
        if given and given != str(record.revision):
            raise conflict(resource.subject(record.name))

    def _check_name(self, value: Object, old: Object) -> None:
        given, name = value["metadata"].get("name"), old["metadata"]["name"]
        if given != name:
            raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")

    def _restricted(self, value: Object, old: Object, subresource: str, resource: Resource) -> Object:
        """The part of the new object that this endpoint writes, over the old one."""
        if subresource:
            managed = value["metadata"].get("managedFields")
            kept = {key: item for key, item in copy_of(old).items() if key != "status"}
            kept["metadata"] |= {"managedFields": managed} if managed else {}
            return kept | ({"status": value["status"]} if "status" in value else {})
        if not resource.status:
            return value
        rest = {key: item for key, item in value.items() if key != "status"}
        return rest | ({"status": copy_of(old["status"])} if "status" in old else {})

    def _complete(self, value: Object, old: Object | None, resource: Resource) -> None:
        if not resource.custom:
            decoding.check_types(value)
            rules_of(resource.kind).complete(value, old, self.cluster.storage)

    def _check(self, value: Object, old: Object | None, resource: Resource, subject: Subject) -> None:
        causes = metadata.check(value, old)
        if not resource.custom:
            causes += metadata.check_finalizers(value)
            causes += rules_of(resource.kind).check(value, old, self.cluster.storage)
        elif resource.schema:
            causes += validate(value, resource.schema)
        if causes:
            raise invalid(subject, causes)
