"""What a resource makes of an object that is written."""

from __future__ import annotations

from .errors import Object
from .fieldsets import Path
from .resources import Resource
from .schema import default, prune
from .storage import copy_of, same


def fitted(value: Object, resource: Resource) -> Object:
    """An own copy of the object, pruned and with defaults by its schema."""
    value = copy_of(value)
    if resource.schema is None:
        return value
    fitting: Object = default(prune(value, resource.schema), resource.schema)
    return fitting


def reset_by(resource: Resource, subresource: str = "") -> Path:
    """The part of an object that an endpoint leaves as it is, and so gives to nobody."""
    if subresource == "status":
        return ("f:spec",)
    return ("f:status",) if resource.status else ()


def makes_new_generation(new: Object, old: Object, resource: Resource) -> bool:
    """Whether anything changed that a new generation stands for."""
    if resource.kind == "Deployment" and not same(*(value["metadata"].get("annotations") for value in (new, old))):
        return True
    ignored = {"metadata", "status"} if resource.status else {"metadata"}
    rest = [{key: item for key, item in value.items() if key not in ignored} for value in (new, old)]
    return not same(rest[0], rest[1])
