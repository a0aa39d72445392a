"""Pods as a kubelet would report them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ..errors import Object


def addresses() -> Iterator[str]:
    """Pod addresses, each once, and of this host: a test may serve there what pods serve."""
    for number in itertools.count(1):
        third, fourth = divmod(number, 254)
        yield f"127.244.{third}.{fourth + 1}"


def ready_status(spec: Object, address: str) -> Object:
    """The status of a pod that runs and is ready."""
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": kind, "status": "True"} for kind in ("Initialized", "PodScheduled", "Ready")],
        "containerStatuses": [_container(container) for container in spec["containers"]],
    }


def _container(container: Object) -> Object:
    about = {"name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0}
    return {**about, "ready": True, "started": True, "state": {"running": {}}}
