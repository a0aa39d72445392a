"""A Kubernetes API server for tests, in this process and over real HTTP. See README.md for what it promises."""

from .faults import Fault
from .server import ApiServer

__all__ = ["ApiServer", "Fault"]
