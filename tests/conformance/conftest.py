"""The clusters that the suite compares: the in-process server, and a real one when it is named.

KANARY_CONFORMANCE_KUBECONFIG names the kubeconfig of a real cluster of which the suite may make and remove
namespaces and definitions. Without it, there are no tests for a real cluster.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.apiserver import ApiServer

from .api import Api, eventually, from_kubeconfig
from .collection import Collection
from .definitions import DEFINITIONS, GADGETS, GROUP, WIDGETS

_KUBECONFIG = os.environ.get("KANARY_CONFORMANCE_KUBECONFIG", "")
_CLUSTERS = [
    pytest.param("in-process", id="in-process"),
    *([pytest.param("real", id="real", marks=pytest.mark.cluster)] if _KUBECONFIG else []),
]


@pytest.fixture(scope="session")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of an in-process server."""
    with ApiServer() as server:
        yield server.kubeconfig(tmp_path_factory.mktemp("in-process") / "kubeconfig")


@pytest.fixture(scope="session", params=_CLUSTERS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A cluster that serves the suite's definitions."""
    kubeconfig = Path(_KUBECONFIG) if request.param == "real" else request.getfixturevalue("in_process")
    api = from_kubeconfig(kubeconfig, tmp_path_factory.mktemp("certificates"))
    for definition in (WIDGETS, GADGETS):
        _remove_definition(api, definition["metadata"]["name"])
        api.request("POST", DEFINITIONS, definition).ok()
    for plural in ("widgets", "gadgets"):
        eventually(partial(_is_served, api, plural), f"{plural} are served")
    yield api
    for definition in (WIDGETS, GADGETS):
        _remove_definition(api, definition["metadata"]["name"])


def _is_served(api: Api, plural: str) -> bool:
    """Whether it can be written: a definition is established a little before its resource is served in full."""
    return api.get(f"/apis/{GROUP}/v1/{plural}").status == 200


def _remove_definition(api: Api, name: str) -> None:
    """Removes what this or an earlier run left, and waits until it is gone."""
    api.request("DELETE", f"{DEFINITIONS}/{name}")
    eventually(lambda: api.get(f"{DEFINITIONS}/{name}").status == 404, f"{name} is gone")


@pytest.fixture
def namespace(cluster: Api) -> Iterator[str]:
    """A namespace of the test's own; it is removed without waiting for it."""
    name = f"conformance-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    cluster.request("POST", "/api/v1/namespaces", body).ok()
    yield name
    cluster.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def widgets(cluster: Api, namespace: str) -> Collection:
    """Custom resources with a status subresource and a schema with everything."""
    return Collection(cluster, namespace, f"{GROUP}/v1", "Widget", "widgets")


@pytest.fixture
def gadgets(cluster: Api, namespace: str) -> Collection:
    """Custom resources with no status subresource."""
    return Collection(cluster, namespace, f"{GROUP}/v1", "Gadget", "gadgets")


@pytest.fixture
def configmaps(cluster: Api, namespace: str) -> Collection:
    return Collection(cluster, namespace, "v1", "ConfigMap", "configmaps")


@pytest.fixture
def services(cluster: Api, namespace: str) -> Collection:
    return Collection(cluster, namespace, "v1", "Service", "services")


@pytest.fixture
def deployments(cluster: Api, namespace: str) -> Collection:
    """Deployments. The tests ask for no replicas: no node has to run anything."""
    return Collection(cluster, namespace, "apps/v1", "Deployment", "deployments")


@pytest.fixture
def leases(cluster: Api, namespace: str) -> Collection:
    return Collection(cluster, namespace, "coordination.k8s.io/v1", "Lease", "leases")
