"""Finds the endpoints from which connections return to the Kanary that sends them there.

Its own proxies are never its endpoints, whatever Service selects them. Through other Kanaries, it follows the endpoints
that were written for their proxies: that is where connections go, whatever the Services are named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.memo import Memo
from engine.model.states import Applied, Endpoint, applied_in
from engine.ports import ClusterView
from engine.render.objects import Identity, owner_uid

_Name = tuple[str, str]
"""Of a Kanary: its namespace and name."""


@dataclass(frozen=True, slots=True)
class Loop:
    """Why an endpoint receives no connections."""

    kanary: str
    """The Kanary of the endpoint, which is a proxy; empty if it is the Kanary itself."""


class Loops:
    """The endpoints of one Kanary that lead back to it, as the view has them now."""

    def __init__(self, view: ClusterView, owner: Identity, memo: Memo) -> None:
        self._view = view
        self._own = owner.namespace, owner.name
        self._memo = memo

    def among(self, endpoints: Sequence[Endpoint]) -> dict[Endpoint, Loop]:
        """Those of these endpoints of the Kanary that lead back to it.

        If another Kanary does not lead back, connections to its proxies are legitimate.
        """
        proxies = self._view.proxies_among(self._own[0], endpoints)
        lead_back = {name for name in set(proxies.values()) if name == self._own or self._has_to_yield(name)}
        return {
            endpoint: Loop("" if name == self._own else name[1])
            for endpoint, name in proxies.items()
            if name in lead_back
        }

    def _has_to_yield(self, first: _Name) -> bool:
        """Whether connections to this Kanary would return, so that this one must not send any.

        The Kanary that would close a loop yields. If two have closed it at the same moment, the oldest one keeps its
        connections.
        """
        path = self._path_back(first)
        if not path:
            return False
        is_sending = first in self._next(self._own)
        return not is_sending or self._age(self._own) > min(map(self._age, path))

    def _path_back(self, first: _Name) -> list[_Name]:
        """The Kanaries through which connections return, the first one included; none if they do not."""
        came_from: dict[_Name, _Name | None] = {first: None}
        found = [first]
        for name in found:
            for following in self._next(name):
                if following == self._own:
                    return list(self._back(name, came_from))
                if following not in came_from:
                    came_from[following] = name
                    found.append(following)
        return []

    def _back(self, name: _Name | None, came_from: dict[_Name, _Name | None]) -> Iterator[_Name]:
        while name is not None:
            yield name
            name = came_from[name]

    def _next(self, name: _Name) -> set[_Name]:
        """The Kanaries to whose proxies this one sends connections."""
        applied = self._applied(name)
        routes = applied.spec.routes if applied else ()
        endpoints = [e for route in routes if applied and route.weight for e in applied.endpoints_of(route.backend)]
        return set(self._view.proxies_among(name[0], endpoints).values())

    def _applied(self, name: _Name) -> Applied | None:
        namespace, kanary = name
        metadata = {"namespace": namespace, "name": Identity(namespace, kanary, "").proxy_name}
        found = self._view.live({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        owner = self._view.kanary(namespace, kanary)
        if not found or not owner or owner_uid(found) != owner["metadata"]["uid"]:
            return None
        return self._memo(applied_in, found)

    def _age(self, name: _Name) -> tuple[str, str]:
        metadata = (self._view.kanary(*name) or {"metadata": {}})["metadata"]
        return metadata.get("creationTimestamp", ""), metadata.get("uid", "")
