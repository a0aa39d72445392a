# mypy: ignore-errors
"""An operator without work, written with kopf, whose cost per event is compared: `kopf run kopf_operator.py`, in an
environment of its own.

Its liveness page has the number of events that were handled.
"""

from __future__ import annotations

from typing import Any

import kopf

_handled = 0


@kopf.on.login()
def login(**arguments: Any) -> Any:
    return kopf.login_with_kubeconfig(**arguments)


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False


@kopf.on.event("kanary.k8s.io", "v1", "kanaries")
def handle(**_: Any) -> None:
    global _handled  # noqa: PLW0603  handlers are functions
    _handled += 1


@kopf.on.probe(id="handled")
def handled(**_: Any) -> int:
    return _handled
