"""Finds the endpoints from which connections return to the Kanary that sends them there.

Its own proxies are never its endpoints, whatever Service selects them. Through other Kanaries, it follows the endpoints
that were written for their proxies: that is where connections go, whatever the Services are named.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.memo import Memo
from engine.model.states import Applied, Endpoint, applied_in
from engine.ports import ClusterView, KanaryName
from engine.render.objects import Identity
from states.rollouts import UNDER_WAY


@dataclass(frozen=True, slots=True)
class ProxyEndpoint:
    """An endpoint that is a proxy, or leads to one."""

    kanary: str
    """The Kanary of the proxy; empty if it is the Kanary itself."""
    returns: bool
    """Connections would return, so that the endpoint receives none."""


class Loops:
    """The endpoints of one Kanary that lead back to it, as the view has them now."""

    def __init__(self, view: ClusterView, owner: Identity, memo: Memo) -> None:
        self._view = view
        self._own = owner.namespace, owner.name
        self._memo = memo

    def among(self, endpoints: Sequence[Endpoint]) -> dict[Endpoint, ProxyEndpoint]:
        """Those of these endpoints of the Kanary that are proxies.

        If another Kanary does not lead back, connections to its proxies are legitimate.
        """
        proxies = self._view.proxies_among(self._own[0], endpoints)
        returns = {name: self._has_to_yield(name) for name in frozenset[KanaryName]().union(*proxies.values())}
        # Of several Kanaries, one that leads back is named.
        shown = {e: max(names, key=lambda name: (returns[name], name)) for e, names in proxies.items()}
        return {endpoint: ProxyEndpoint(self._text(name), returns[name]) for endpoint, name in shown.items()}

    def without(self, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        """These endpoints without those that lead back."""
        found = self.among(endpoints)
        return tuple(each for each in endpoints if each not in found or not found[each].returns)

    def _text(self, name: KanaryName) -> str:
        if name == self._own:
            return ""
        return name[1] if name[0] == self._own[0] else "/".join(name)

    def _has_to_yield(self, first: KanaryName) -> bool:
        """Whether connections to this Kanary would return, so that this one must not send any.

        The Kanary that would close a loop yields. If several have closed it at the same moment, only the youngest one
        yields: if more did, all would find the loop open, and close it again.
        """
        if first == self._own:
            return True
        if first not in self._next(self._own):
            return self._leads_back(first, lambda _name: True)
        own = self._age(self._own)
        return self._leads_back(first, lambda name: self._age(name) < own)

    def _leads_back(self, first: KanaryName, is_passed: Callable[[KanaryName], bool]) -> bool:
        """Whether connections to this Kanary return through it and others that `is_passed` accepts."""
        found = [first] if is_passed(first) else []
        for name in found:
            following = self._next(name)
            if self._own in following:
                return True
            found += [each for each in sorted(following) if each not in found and is_passed(each)]
        return False

    def _next(self, name: KanaryName) -> frozenset[KanaryName]:
        """The Kanaries to whose proxies this one sends connections, or may send some without another configuration."""
        applied = self._applied(name)
        if applied is None:
            return frozenset()
        # Agents return to the last good weights by themselves.
        may_return = applied.rollout is not None and applied.rollout.state in UNDER_WAY
        routes = [route for route in applied.spec.all_routes if route.weight or may_return]
        endpoints = [endpoint for route in routes for endpoint in applied.endpoints_of(route.backend)]
        return frozenset[KanaryName]().union(*self._view.proxies_among(name[0], endpoints).values())

    def _applied(self, name: KanaryName) -> Applied | None:
        """What the proxies of a Kanary serve. They may outlive the Kanary."""
        namespace, kanary = name
        metadata = {"namespace": namespace, "name": Identity(namespace, kanary, "").proxy_name}
        found = self._view.live({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        return self._memo(applied_in, found) if found else None

    def _age(self, name: KanaryName) -> tuple[str, str]:
        """Orders by age. A deleted Kanary, whose proxies nobody changes any more, precedes all."""
        metadata = (self._view.kanary(*name) or {"metadata": {}})["metadata"]
        return metadata.get("creationTimestamp", ""), metadata.get("uid", "")
