"""Configurations for the tests of the agent, and variants of them that HAProxy does not take."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kanary_agent.contact import Contact
from kanary_agent.inbox import Inbox
from kanary_agent.revisions import Revisions
from kanary_agent.rollback import Rollback
from kanary_agent.texts import Origin

from engine.model.weight import read_weight
from engine.render.config import Pool, ProxyConfig
from engine.render.haproxy import render
from engine.render.slots import Slots, assign, backends_by_slot


def no_rollback() -> Rollback:
    """Nothing is rolled back."""
    return Rollback("/nothing", Contact("pod"), Revisions(), lambda: None)


def no_inbox() -> Inbox:
    """Accepts no configuration, for servers of other pages."""
    return Inbox("/nothing", "/nothing", Origin)


def reweighted(config: ProxyConfig, *weights: float) -> ProxyConfig:
    routes = tuple(
        replace(route, weight=read_weight(weight)) for route, weight in zip(config.routes, weights, strict=True)
    )
    return replace(config, routes=routes)


class Rollouts:
    """Configurations for other routes, one after the other, with the slots that the operator assigns."""

    def __init__(self, config: ProxyConfig) -> None:
        self._slots: Slots = ()
        self._used: list[str] = []
        self.config = self._to(config)
        """The last one."""

    def to(self, *routes: Pool, **changes: Any) -> ProxyConfig:
        self.config = self._to(replace(self.config, routes=routes, slots=(), serial=self.config.serial + 1, **changes))
        return self.config

    def _to(self, config: ProxyConfig) -> ProxyConfig:
        backends = [route.backend for route in config.routes]
        self._slots, self._used = assign(self._slots, self._used, backends), backends
        return replace(config, slots=backends_by_slot(self._slots))


def changes_of(config: ProxyConfig) -> Iterator[ProxyConfig]:
    """Other configurations, without end, that split alike."""
    return (replace(config, idle_seconds=config.idle_seconds + more) for more in itertools.count(1))


def rejected(config: ProxyConfig) -> str:
    """A text that haproxy -c rejects."""
    return render(config).text.replace("timeout connect", "timeout konnect")


def rejected_at_start(config: ProxyConfig) -> str:
    """A text that passes the check, and does not start: the check binds no socket."""
    return f"{render(config).text}\nglobal\n  stats socket /nowhere/socket\n"


def listening_elsewhere(config: ProxyConfig) -> str:
    """A text that passes the check, with an address that no host has."""
    return render(config).text.replace("frontend split\n", "frontend split\n  bind 192.0.2.1:80\n")


def is_rejection_of(config: ProxyConfig, report: dict[str, object]) -> bool:
    found = report.get("rejected")
    return isinstance(found, dict) and found["digest"] == render(config).digest
