"""Writes to the cluster: only as the leader, only objects that Kanary owns, and only differences."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from engine.adopting import check_owner
from engine.fleet.proxy import Proxy
from engine.model.states import Written
from engine.ports import EndingError, RetryLaterError, not_kept, rejected
from engine.render.adoption import WITHOUT_MARKS, adopter, given_back
from engine.render.objects import HASH_ANNOTATION, Identity, covers, made_from, owner_uid
from engine.render.service import dropped_fields, with_node_ports
from kanary.kanaries import FIELD_MANAGER, KANARIES
from kanary.kube.client import AlreadyExists, ClusterClient, ClusterError, Invalid, NotFound
from kanary.kube.errors import Meaning
from kanary.kube.resources import DEPLOYMENTS, SERVICES, Key, Resource
from kanary.operator.agents import Agents
from kanary.operator.bodies import as_applied, replacing
from kanary.operator.last_applied import LastApplied, kanary_of
from kanary.operator.sending import Push
from kanary.operator.signing import SigningKey
from kanary.operator.transforms import created_fields
from kanary.operator.watches import Watches
from states.timing import REJECTED_RECHECK, STALE_COPY_RETRY

Json = dict[str, Any]

_log = logging.getLogger(__name__)


class Writer:
    """Implements `engine.ports.ClusterWriter`. `may_write` returns whether this process is the leader."""

    def __init__(
        self,
        client: ClusterClient,
        watches: Watches,
        may_write: Callable[[], bool],
        *,
        agents: Agents,
        key: SigningKey,
    ) -> None:
        self._client = client
        self._watches = watches
        self._may_write = may_write
        self._agents = agents
        self._key = key
        self._last = LastApplied()

    def apply(self, desired: Json) -> None:
        """Create or update the object if it differs. Raises RetryLaterError and RejectedError."""
        metadata = desired["metadata"]
        resource, key = self._resource(desired), Key.of(desired)
        reflector = self._watches.of(desired["apiVersion"], desired["kind"])
        # Before the copy, and before the check for leadership: whoever leads afterwards makes this version outdated.
        version = reflector.version(*key) if reflector else ""
        live = reflector.get(*key) if reflector else None
        if live is None:
            if "resourceVersion" in metadata:
                raise RetryLaterError(f"{resource.kind} {key} was just deleted", STALE_COPY_RETRY.total_seconds())
            live = self._create(resource, desired)
            if live is None:
                return
            version = live["metadata"]["resourceVersion"]
        elif not version:
            # Between the two reads. Without a version, the write would replace what others write meanwhile.
            raise RetryLaterError(f"{resource.kind} {key} has just appeared", STALE_COPY_RETRY.total_seconds())
        check_owner(live, desired)
        if made_from(live, desired) and (covers(live, desired) or self._last.is_applied(desired, live)):
            _check_kept(live, desired)
            return
        preconditions = {"resourceVersion": version, **metadata, "uid": live["metadata"]["uid"]}
        identified = {**desired, "metadata": preconditions}
        if adopter(desired):
            self._turn(live, identified)
            return
        if resource is SERVICES:
            identified["spec"] = with_node_ports(live["spec"], desired["spec"])
        if resource in (DEPLOYMENTS, SERVICES) and created_fields(live["metadata"]):
            identified = self._own_created(resource, identified)
        self._apply(resource, identified)

    def delete(self, existing: Json) -> None:
        """Delete this object, as it was read, if it exists. Raises RetryLaterError and RejectedError.

        At first it loses its hash. A request may arrive late, when another process leads that needs the object again:
        that one would not write what it finds as desired, and this version would be deleted.
        """
        metadata, resource = existing["metadata"], self._resource(existing)
        where, what = (resource, metadata["namespace"], metadata["name"]), f"delete {resource.kind} {metadata['name']}"
        marked: Json | None = None
        reflector = self._watches.of(existing["apiVersion"], existing["kind"])
        # The copies of some kinds are without it.
        version = metadata.get("resourceVersion") or (reflector.version(*Key.of(existing)) if reflector else "")
        with self._request(what, may_be_gone=True):
            change = {"resourceVersion": version, "annotations": {HASH_ANNOTATION: None}}
            marked = self._client.merge_patch(*where, {"metadata": change})
        if marked:
            with self._request(what, may_be_gone=True):
                self._client.delete(*where, uid=metadata["uid"], version=marked["metadata"]["resourceVersion"])
        self._last.drop(existing)

    def give_back(self, adopted: Json) -> None:
        """Make an adopted Service what it was, at the version that was read. Raises RetryLaterError."""
        metadata, former = adopted["metadata"], given_back(adopted)["spec"]
        removed = dict.fromkeys(adopted["spec"].get("selector") or ())
        change = {
            "metadata": {"resourceVersion": metadata["resourceVersion"], **WITHOUT_MARKS},
            "spec": {"selector": {**removed, **former["selector"]}, "ports": former["ports"]},
        }
        with self._request(f"give back Service {metadata['name']}", may_be_gone=True):
            written = self._client.merge_patch(SERVICES, metadata["namespace"], metadata["name"], change)
            self._watches.services.remember(written)

    def set_finalizer(self, kanary: Json, finalizer: str, *, is_present: bool) -> Json:
        """Add or remove a finalizer at the version that was read; returns the Kanary. Raises RetryLaterError."""
        metadata, key = kanary["metadata"], Key.of(kanary)
        others = [each for each in metadata.get("finalizers") or () if each != finalizer]
        finalizers = [*others, finalizer] if is_present else others
        change = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": finalizers}}
        with self._request(f"change the finalizer of Kanary {key}", may_be_gone=not is_present):
            kanary = self._client.merge_patch(KANARIES, key.namespace, key.name, change)
            if is_present:
                # Without the last one, it may be gone.
                self._watches.kanaries.remember(kanary)
        return kanary

    def forget(self, namespace: str, name: str) -> None:
        """Forget what was written of a deleted Kanary."""
        self._last.drop_all(Key(namespace, name))

    def send(self, proxies: Sequence[Proxy], owner: Identity, written: Written) -> None:
        """Send the configuration to the agents of these proxies. Raises RetryLaterError."""
        applied, content = written.applied, written.latest.encode()
        if not self._may_write():
            raise RetryLaterError("cannot send a configuration: this process is not the leader")
        signature = self._key.sign(content)
        if applied and signature:
            self._agents.send(
                owner.namespace, proxies, Push(owner.uid, applied.serial, applied.digest, content, signature)
            )

    def write_status(self, kanary: Json, status: Json) -> Json:
        """Replace the status of the Kanary at the version that was read; returns the Kanary.

        Raises RetryLaterError and RejectedError.
        """
        metadata, key = kanary["metadata"], Key.of(kanary)
        with self._request(f"write the status of Kanary {key}"), self._watches.writing_status(key, status):
            # The stored managedFields are incomplete and must not be written.
            own = {key: value for key, value in metadata.items() if key != "managedFields"}
            body = {**kanary, "metadata": own, "status": status}
            written = self._client.replace(KANARIES, key.namespace, key.name, body, subresource="status")
            self._watches.kanaries.remember(written)
        return written

    def _create(self, resource: Resource, desired: Json) -> Json | None:
        """Create an object that the copy lacks; returns the one that exists, if it has no label of ours or is new."""
        metadata = desired["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        with self._request(f"create {resource.kind} {name}"):
            self._check_restored(desired)
            try:
                written = self._client.create(resource, namespace, desired)
            except AlreadyExists:
                with suppress(NotFound):
                    return self._client.get(resource, namespace, name)
                raise
        self._remember(desired, written)
        return None

    def _check_restored(self, desired: Json) -> None:
        """Before an object is restored, check that its Kanary exists: the copy of a deleted one may be stale.

        Otherwise, the garbage collector deletes what the operator creates, and each deletion leads to a reconcile.
        """
        if self._last.was_applied(desired):
            namespace, name = kanary_of(desired)
            kanary = self._client.get(KANARIES, namespace, name)
            if kanary["metadata"]["uid"] != owner_uid(desired):
                raise RetryLaterError(f"Kanary {namespace}/{name} was deleted: its objects are not restored")

    def _apply(self, resource: Resource, desired: Json) -> None:
        """Apply the object to the version that `desired` names; each further request is for that of the former one."""
        metadata = desired["metadata"]
        where = resource, metadata["namespace"], metadata["name"]
        with self._request(f"apply {resource.kind} {metadata['name']}"), self._watches.applying(desired):
            try:
                written = self._client.apply(*where, desired, force=True)
            except Invalid:
                # Additions of others may conflict with the applied fields, for example a port of the same name.
                live = self._client.get(*where)
                if live["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
                    raise RetryLaterError(f"{resource.kind} {metadata['name']} has just changed") from None
                replaced = self._overwrite(resource, live, desired)
                # What an earlier apply has set, and this one has not, is still there.
                identified = {**metadata, "resourceVersion": replaced["metadata"]["resourceVersion"]}
                written = self._client.apply(*where, {**desired, "metadata": identified}, force=True)
            if not covers(written, desired):
                # Apply reverts changes of others, but not their additions.
                written = self._overwrite(resource, written, desired)
            self._remember(desired, written)

    def _turn(self, live: Json, desired: Json) -> None:
        """Turn a Service of others, of the version that `desired` names, in one request.

        An apply would leave the former selector beside ours at first, and no pod has the labels of both.
        """
        metadata, spec = desired["metadata"], desired["spec"]
        removed = dict.fromkeys(live["spec"].get("selector") or ())
        turned = {**spec, "selector": {**removed, **spec["selector"]}}
        # Of a Service that was Kanary's own.
        ours = Identity(*kanary_of(desired), "").labels.items()
        labels = dict.fromkeys(key for key, text in ours if (live["metadata"].get("labels") or {}).get(key) == text)
        theirs = {**metadata, "labels": labels | metadata["labels"], "ownerReferences": None}
        change = {**desired, "metadata": theirs, "spec": turned}
        with self._request(f"switch Service {metadata['name']} to the proxies"), self._watches.applying(desired):
            written = self._client.merge_patch(SERVICES, metadata["namespace"], metadata["name"], change)
            self._remember(desired, written)

    def _own_created(self, resource: Resource, desired: Json) -> Json:
        """Have what the create has set count as applied: an apply removes only what an apply has set before.

        Returns `desired` for the resulting version.
        """
        metadata = desired["metadata"]
        where = resource, metadata["namespace"], metadata["name"]
        with self._request(f"apply {resource.kind} {metadata['name']}"):
            entries = self._client.get(*where)["metadata"].get("managedFields") or []
            change = {
                "resourceVersion": metadata["resourceVersion"],
                "managedFields": as_applied(entries, FIELD_MANAGER),
            }
            version = self._client.merge_patch(*where, {"metadata": change})["metadata"]["resourceVersion"]
        return {**desired, "metadata": {**metadata, "resourceVersion": version}}

    def _overwrite(self, resource: Resource, live: Json, desired: Json) -> Json:
        """Replace the fields of `desired` in the object at the version that was read."""
        metadata, body = desired["metadata"], replacing(live, desired)
        return self._client.replace(resource, metadata["namespace"], metadata["name"], body)

    def _remember(self, desired: Json, written: Json) -> None:
        self._last.remember(desired, written)
        reflector = self._watches.of(desired["apiVersion"], desired["kind"])
        if reflector:
            reflector.remember(written)
        _check_kept(written, desired)

    def _resource(self, desired: Json) -> Resource:
        reflector = self._watches.of(desired["apiVersion"], desired["kind"])
        if reflector is None:
            raise ValueError(f"{desired['kind']} of {desired['apiVersion']} is not a kind that Kanary writes")
        return reflector.resource

    @contextmanager
    def _request(self, what: str, *, may_be_gone: bool = False) -> Iterator[None]:
        if not self._may_write():
            raise RetryLaterError(f"cannot {what}: this process is not the leader")
        try:
            yield
        except ClusterError as error:
            if may_be_gone and isinstance(error, NotFound):
                _log.info("cannot %s: it is deleted already", what)
                return
            text = f"cannot {what}: {error}"
            match error.meaning:
                case Meaning.REJECTED:
                    raise rejected(text) from error
                case Meaning.ENDING:
                    raise EndingError(text, REJECTED_RECHECK.total_seconds()) from error
                case Meaning.STALE:
                    raise RetryLaterError(text, STALE_COPY_RETRY.total_seconds()) from error
                case Meaning.RETRY:
                    raise RetryLaterError(text, error.retry_after) from error


def _check_kept(written: Json, desired: Json) -> None:
    """Raise RejectedError if the API server has dropped fields of a Service: releases know different ones."""
    if desired["kind"] == "Service" and (dropped := [*dropped_fields(written, desired)]):
        raise not_kept(desired["metadata"]["name"], dropped)
