"""A Kubernetes API server for tests, in this process and over real HTTP. See README.md for what it promises."""

from .controllers import pod
from .errors import ApiError
from .faults import Fault
from .requestlog import LoggedRequest
from .resources import Resource
from .server import ApiServer

__all__ = ["ApiError", "ApiServer", "Fault", "LoggedRequest", "Resource", "pod"]
