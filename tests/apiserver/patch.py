"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902)."""

from __future__ import annotations

from typing import Any

from .errors import ApiError, bad_request
from .storage import copy_of, same


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` with the patch merged in; null removes. Neither is changed."""
    if not isinstance(patch, dict):
        return copy_of(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def json_patch(target: Any, operations: Any) -> Any:
    """`target` with the operations done in order; it is not changed itself.

    Raises ApiError 422 when an operation cannot be done or a test fails, 400 when it is malformed.
    """
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    document = {"": copy_of(target)}
    for operation in operations:
        try:
            _perform(document, operation)
        except (KeyError, IndexError, ValueError, TypeError):
            message = "the server rejected our request due to an error in our request"
            raise ApiError(422, "Invalid", message, {}) from None
    return document[""]


def _perform(document: dict[str, Any], operation: dict[str, Any]) -> None:
    path = _tokens(operation["path"])
    match operation["op"]:
        case "add":
            _add(document, path, copy_of(operation["value"]))
        case "remove":
            _remove(document, path)
        case "replace":
            _get(document, path)
            _set(document, path, copy_of(operation["value"]))
        case "move":
            _add(document, path, _remove(document, _tokens(operation["from"])))
        case "copy":
            _add(document, path, copy_of(_get(document, _tokens(operation["from"]))))
        case "test":
            if not same(_get(document, path), operation["value"]):
                raise ValueError(f"test of {operation['path']} failed")
        case unknown:
            raise bad_request(f"Unexpected kind: {unknown}")


def _tokens(pointer: str) -> list[str]:
    """The pointer's steps below the document's holder, whose one key is the empty string."""
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")]


def _parent(document: Any, path: list[str]) -> Any:
    return _get(document, path[:-1]) if path[:-1] else document


def _get(document: Any, path: list[str]) -> Any:
    for token in path:
        document = document[_index(document, token)] if isinstance(document, list) else document[token]
    return document


def _index(items: list[Any], token: str, end: int = -1) -> int:
    position = int(token)
    if not 0 <= position <= len(items) + end:
        raise IndexError(token)
    return position


def _add(document: Any, path: list[str], value: Any) -> None:
    parent, token = _parent(document, path), path[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if token == "-" else _index(parent, token, end=0), value)
    else:
        parent[token] = value


def _set(document: Any, path: list[str], value: Any) -> None:
    parent, token = _parent(document, path), path[-1]
    parent[_index(parent, token) if isinstance(parent, list) else token] = value


def _remove(document: Any, path: list[str]) -> Any:
    parent, token = _parent(document, path), path[-1]
    return parent.pop(_index(parent, token)) if isinstance(parent, list) else parent.pop(token)
