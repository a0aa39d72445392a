"""The hand that writes to the cluster: fenced by leadership, never on what others own, and only where it differs."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from engine.model.spec import KIND
from engine.ports import RejectedError, RetryLaterError
from engine.reconcile import rejected
from engine.render.objects import covers, made_from, owner_uid
from kanary.kanaries import KANARIES
from kanary.kube.client import ApiError, ClusterClient, ClusterError, Conflict, Invalid, NotFound
from kanary.kube.resources import PODS, Resource
from kanary.operator.watches import Watches
from states import Problem, Reason
from states.timing import STALE_COPY_RETRY

Json = dict[str, Any]

_log = logging.getLogger(__name__)

_REJECTIONS = (400, 403, 405, 413, 415, 422)
"""Answers that the same request would get again."""

_UID_FIELD = "metadata.uid"
"""What an API server names when an object is not the one that was meant, which a fresh copy of it mends."""
_REMEMBERED = 20_000
"""Objects whose spelling is remembered; forgetting them costs one needless write each."""


class Writer:
    """Implements `engine.ports.ClusterWriter`. `may_write` tells whether this process is the leader still."""

    def __init__(self, client: ClusterClient, watches: Watches, may_write: Callable[[], bool]) -> None:
        self._client = client
        self._watches = watches
        self._may_write = may_write
        self._lock = threading.Lock()
        self._settled: dict[str, tuple[str, str]] = {}
        """By uid, the hash that was applied and the version that came of it: what the server stores may be spelt
        otherwise than what it was sent (a CPU quantity of 0.5 is kept as 500m), and is not to be sent again."""

    def apply(self, desired: Json) -> None:
        """Make the object so, unless it already is. Raises RetryLaterError and RejectedError."""
        metadata = desired["metadata"]
        resource = self._resource(desired)
        live = self._live(resource, desired)
        if live is None:
            # Not by force: should somebody have made one of that name just now, theirs stays.
            self._apply(resource, desired, force=False)
            return
        self._check_owner(resource, live, desired)
        if made_from(live, desired) and (covers(live, desired) or self._is_settled(live, desired)):
            return
        identified = {**desired, "metadata": {**metadata, "uid": live["metadata"]["uid"]}}
        self._apply(resource, identified, force=True)

    def delete(self, existing: Json) -> None:
        """Delete this very object; one that is gone is as good as deleted. Raises RetryLaterError and RejectedError."""
        metadata, resource = existing["metadata"], self._resource(existing)
        with self._request(f"delete {resource.kind} {metadata['name']}"):
            try:
                self._client.delete(resource, metadata["namespace"], metadata["name"], uid=metadata["uid"])
            except NotFound:
                _log.info("%s %s/%s is gone already", resource.kind, metadata["namespace"], metadata["name"])

    def annotate(self, pod: Mapping[str, Any], annotations: Mapping[str, str]) -> None:
        """Set annotations on this very pod; one that is gone needs none. Raises RetryLaterError and RejectedError."""
        metadata = pod["metadata"]
        with self._request(f"annotate pod {metadata['name']}"):
            body = {"metadata": {"uid": metadata["uid"], "annotations": dict(annotations)}}
            try:
                written = self._client.merge_patch(PODS, metadata["namespace"], metadata["name"], body)
            except NotFound:
                _log.info("pod %s/%s is gone already", metadata["namespace"], metadata["name"])
                return
        self._watches.pods.remember(written)

    def write_status(self, kanary: Json, status: Json) -> Json | None:
        """Replace the status of the Kanary as it was read; returns what it is then, or None where it is gone.

        Raises RetryLaterError and RejectedError.
        """
        metadata = kanary["metadata"]
        with self._request(f"write the status of Kanary {metadata['name']}"):
            # What is kept of managedFields is a part, and not to be written.
            own = {key: value for key, value in metadata.items() if key != "managedFields"}
            body = {**kanary, "metadata": own, "status": status}
            try:
                written = self._client.replace(
                    KANARIES, metadata["namespace"], metadata["name"], body, subresource="status"
                )
            except NotFound:
                _log.info("Kanary %s/%s is gone already", metadata["namespace"], metadata["name"])
                return None
        self._watches.kanaries.remember(written)
        return written

    def _live(self, resource: Resource, desired: Json) -> Json | None:
        """The object of that name, from the copy or else from the cluster: the copy has only what bears our label."""
        metadata = desired["metadata"]
        reflector = self._watches.of(desired["apiVersion"], desired["kind"])
        live = reflector.get(metadata["namespace"], metadata["name"]) if reflector else None
        if live is not None:
            return live
        with self._request(f"read {resource.kind} {metadata['name']}", is_write=False):
            try:
                return self._client.get(resource, metadata["namespace"], metadata["name"])
            except NotFound:
                return None

    def _check_owner(self, resource: Resource, live: Json, desired: Json) -> None:
        if owner_uid(live) == owner_uid(desired):
            return
        name, ours = live["metadata"]["name"], desired["metadata"]["ownerReferences"][0]
        for reference in live["metadata"].get("ownerReferences") or ():
            if (reference.get("kind"), reference.get("name")) == (KIND, ours["name"]):
                raise RetryLaterError(f"{resource.kind} {name} of the deleted Kanary of the same name is being removed")
        text = (
            f'{resource.kind} "{name}" exists, and Kanary did not make it and will not touch it: '
            "delete or rename it, or create the Kanary under another name"
        )
        raise RejectedError(Problem(Reason.OBJECT_EXISTS, text))

    def _apply(self, resource: Resource, desired: Json, *, force: bool) -> None:
        metadata = desired["metadata"]
        with self._request(f"apply {resource.kind} {metadata['name']}"):
            try:
                written = self._client.apply(resource, metadata["namespace"], metadata["name"], desired, force=force)
            except Invalid:
                # What others have added may be at odds with what is applied, such as a port of the same name.
                if not force:
                    raise
                live = self._client.get(resource, metadata["namespace"], metadata["name"])
                written = self._overwrite(resource, live, desired)
            if not covers(written, desired):
                # Applying takes back what others have changed, and leaves what they have added.
                written = self._overwrite(resource, written, desired)
        self._remember(desired, written)

    def _overwrite(self, resource: Resource, live: Json, desired: Json) -> Json:
        """Replace all that `desired` says in the object as it was read, provided that it is still that."""
        metadata = desired["metadata"]
        if owner_uid(live) != owner_uid(desired):
            raise RetryLaterError(f"{resource.kind} {metadata['name']} has just been made by somebody else")
        body = {**live, "metadata": {**live["metadata"], **_merged(live["metadata"], metadata)}}
        body |= {key: value for key, value in desired.items() if key not in ("metadata", "spec")}
        if "spec" in desired:
            body["spec"] = {**live["spec"], **desired["spec"]}
        return self._client.replace(resource, metadata["namespace"], metadata["name"], body)

    def _remember(self, desired: Json, written: Json) -> None:
        with self._lock:
            if len(self._settled) >= _REMEMBERED:
                self._settled.clear()
            self._settled[written["metadata"]["uid"]] = (_hash(desired), _version(written))
        reflector = self._watches.of(desired["apiVersion"], desired["kind"])
        if reflector:
            reflector.remember(written)

    def _is_settled(self, live: Json, desired: Json) -> bool:
        with self._lock:
            return self._settled.get(live["metadata"]["uid"]) == (_hash(desired), _version(live))

    def _resource(self, desired: Json) -> Resource:
        reflector = self._watches.of(desired["apiVersion"], desired["kind"])
        if reflector is None:
            raise ValueError(f"{desired['kind']} of {desired['apiVersion']} is not a kind that Kanary writes")
        return reflector.resource

    @contextmanager
    def _request(self, what: str, *, is_write: bool = True) -> Iterator[None]:
        if is_write and not self._may_write():
            raise RetryLaterError(f"cannot {what}: this process is not the leader")
        try:
            yield
        except Conflict as error:
            raise RetryLaterError(f"cannot {what}: {error}", STALE_COPY_RETRY.total_seconds()) from error
        except ApiError as error:
            if error.status in _REJECTIONS and _UID_FIELD not in error.message:
                raise rejected(f"cannot {what}: {error}") from error
            raise RetryLaterError(f"cannot {what}: {error}", error.retry_after) from error
        except ClusterError as error:
            raise RetryLaterError(f"cannot {what}: {error}") from error


def _merged(live: Json, desired: Json) -> Json:
    """Our labels and annotations among those that others have put there."""
    return {key: {**(live.get(key) or {}), **desired[key]} for key in ("labels", "annotations")}


def _hash(obj: Json) -> str:
    return str(sorted(obj["metadata"]["annotations"].items()))


def _version(obj: Json) -> str:
    """What changes when somebody changes the object; for one with a status that is its generation."""
    metadata = obj["metadata"]
    return str(metadata.get("generation") or metadata.get("resourceVersion"))
