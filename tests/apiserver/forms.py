"""The forms of an object: as stored, as a version shows it, as its schema has it, as it merges."""

from __future__ import annotations

from functools import lru_cache

from .errors import Object, untyped
from .fieldsets import Path, readable
from .merging import fields_of
from .resources import Resource
from .schema import default, prune
from .shapes import FREE, Shape, built_in, from_schema
from .storage import Record, copy_of, same


def fitted(value: Object, resource: Resource) -> Object:
    """An own copy of the object, pruned and with defaults by its schema."""
    value = copy_of(value)
    if not resource.custom or resource.schema is None:
        return value
    fitting: Object = default(prune(value, resource.schema), resource.schema)
    return fitting


def encoded(record: Record, resource: Resource) -> Object:
    """A stored object as the resource's version shows it, free to be changed."""
    value = record.copy()
    if resource.codec:
        return resource.codec.encode(value)
    return value | {"apiVersion": resource.api_version}


def reset_by(resource: Resource, subresource: str = "") -> Path:
    """The part of an object that an endpoint leaves as it is, and so gives to nobody."""
    if subresource:
        return ("f:spec",)
    return ("f:status",) if resource.status else ()


def check_declared(config: Object, schema: Object, shape: Shape) -> None:
    """Raises ApiError 500 for an applied field that the schema does not know."""
    unknown = fields_of(config, shape) - fields_of(prune(config, schema), shape)
    if unknown:
        raise untyped(f"{readable(min(unknown))}: field not declared in schema")


@lru_cache(maxsize=256)
def shape_of(resource: Resource) -> Shape:
    """How the resource's objects merge."""
    if not resource.custom:
        return built_in(resource.kind)
    return from_schema(resource.schema) if resource.schema else FREE


def makes_new_generation(new: Object, old: Object, resource: Resource) -> bool:
    """Whether anything changed that a new generation stands for."""
    if resource.kind == "Deployment" and not same(*(value["metadata"].get("annotations") for value in (new, old))):
        return True
    ignored = {"metadata", "status"} if resource.status else {"metadata"}
    rest = [{key: item for key, item in value.items() if key not in ignored} for value in (new, old)]
    return not same(rest[0], rest[1])
