# mypy: ignore-errors
"""An operator without work, written with kopf, whose cost per event is compared: `kopf run kopf_operator.py`, in an
environment of its own.

The number of events that were handled is in the file KOPF_HANDLED: kopf renews its liveness page every 10 s only.
"""

from __future__ import annotations

import os
from typing import Any

import kopf

_handled = 0
_file = os.open(os.environ["KOPF_HANDLED"], os.O_WRONLY | os.O_CREAT)


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
    os.pwrite(_file, b"%d" % _handled, 0)
