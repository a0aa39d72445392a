from __future__ import annotations

from tests.haproxy.conftest import _haproxy, pods

__all__ = ["_haproxy", "pods"]
