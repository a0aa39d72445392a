"""A fresh server for each test of what only this server does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.api import Api
from tests.conformance.collection import Collection

from . import ApiServer


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def configmaps(server: ApiServer) -> Collection:
    return Collection(Api(server.url), "default", "v1", "ConfigMap", "configmaps")
