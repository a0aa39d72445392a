"""Failures as the API server reports them: a Status object with a reason, details and an HTTP code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Cause:
    """One field at fault, as listed in a Status's `details.causes`."""

    reason: str
    message: str
    field: str

    def as_dict(self) -> Object:
        return {"reason": self.reason, "message": self.message, "field": self.field}

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class ApiError(Exception):
    """A request that fails with a Status."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> Object:
        """The Status object that goes over the wire."""
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return status | {"code": self.code}


@dataclass(frozen=True)
class Subject:
    """What a failure is about: its names go into the message and the details."""

    group: str
    plural: str
    kind: str
    name: str = ""

    @property
    def qualified_plural(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind

    def details(self, kind: str, causes: Sequence[Cause] = ()) -> Object:
        """The Status's `details`, with the names that are not empty."""
        named = {"name": self.name, "group": self.group, "kind": kind}
        details: Object = {key: value for key, value in named.items() if value}
        return details | ({"causes": [cause.as_dict() for cause in causes]} if causes else {})


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def not_served() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def not_found(subject: Subject) -> ApiError:
    message = f'{subject.qualified_plural} "{subject.name}" not found'
    return ApiError(404, "NotFound", message, subject.details(subject.plural))


def terminating(subject: Subject, namespace: str) -> ApiError:
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    cause = Cause("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace")
    message = f'{subject.qualified_plural} "{subject.name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, subject.details(subject.plural, [cause]))


def already_exists(subject: Subject) -> ApiError:
    message = f'{subject.qualified_plural} "{subject.name}" already exists'
    return ApiError(409, "AlreadyExists", message, subject.details(subject.plural))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(subject: Subject, why: str = MODIFIED) -> ApiError:
    message = f'Operation cannot be fulfilled on {subject.qualified_plural} "{subject.name}": {why}'
    return ApiError(409, "Conflict", message, subject.details(subject.plural))


def invalid(subject: Subject, causes: Sequence[Cause]) -> ApiError:
    listed = str(causes[0]) if len(causes) == 1 else f"[{', '.join(map(str, causes))}]"
    message = f'{subject.qualified_kind} "{subject.name}" is invalid: {listed}'
    return ApiError(422, "Invalid", message, subject.details(subject.kind, causes))


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def untyped(why: str) -> ApiError:
    """A configuration that server-side apply cannot read by the schema: an error of no particular kind."""
    return ApiError(500, "", f"failed to create typed patch object: {why}")


def unsupported_media_type(accepted: Sequence[str]) -> ApiError:
    accept = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {accept}"
    return ApiError(415, "UnsupportedMediaType", message)


def value_invalid(field: str, value: Any, why: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {json.dumps(value)}: {why}", field)


def value_forbidden(field: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def value_required(field: str) -> Cause:
    return Cause("FieldValueRequired", "Required value", field)


def value_not_supported(field: str, value: Any, supported: Sequence[Any]) -> Cause:
    choices = ", ".join(json.dumps(choice) for choice in supported)
    return Cause(
        "FieldValueNotSupported", f"Unsupported value: {json.dumps(value)}: supported values: {choices}", field
    )


def value_duplicate(field: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {json.dumps(value)}", field)
