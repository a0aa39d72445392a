"""`kanary adopt` with the API server for tests: its manifest, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.apiserver import ApiServer
from tests.cli.conftest import Kanary, Printed
from tests.integration.scene import CRD

Json = dict[str, Any]
Adopt = Callable[..., Printed]

PORT = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.install_crd(CRD)
        service(server)
        deployment(server, "shop", {"app": "shop"})
        yield server


@pytest.fixture
def adopt(server: ApiServer, tmp_path: Path, kanary: Kanary) -> Adopt:
    kubeconfig = str(server.kubeconfig(tmp_path / "kubeconfig"))
    return lambda *more: kanary("adopt", "shop", "-n", "shop", "--kubeconfig", kubeconfig, *more)


def put(server: ApiServer, api_version: str, kind: str, name: str, spec: Json, **metadata: Any) -> None:
    metadata = {"name": name, "namespace": "shop", **metadata}
    server.store.put({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})


def service(server: ApiServer, name: str = "shop", owner: Json | None = None, **spec: Any) -> None:
    body = {"type": "ClusterIP", "clusterIP": "10.96.0.7", "selector": {"app": "shop"}, "ports": [PORT], **spec}
    owners = {"ownerReferences": [owner]} if owner else {}
    put(server, "v1", "Service", name, {key: value for key, value in body.items() if value is not None}, **owners)


def deployment(server: ApiServer, name: str, labels: Json, selector: Json | None = None, replicas: int = 1) -> None:
    container = {"name": "app", "image": "app", "ports": [{"name": "web", "containerPort": 8080}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": selector or labels}, "template": template}
    put(server, "apps/v1", "Deployment", name, spec)
    if replicas:
        pod(server, f"{name}-1", labels)


def pod(server: ApiServer, name: str, labels: Json) -> None:
    put(server, "v1", "Pod", name, {"containers": [{"name": "app", "image": "app"}]}, labels=labels)


def kanary_of(destination: str) -> Json:
    backend = {"serviceName": "other", "servicePort": 80}
    return {"destination": destination, "port": 80, "routes": [{"backend": backend, "weight": 100}]}


def test_the_manifest_has_a_service_for_each_version_and_the_kanary(adopt: Adopt) -> None:
    printed = adopt("--as", "web")
    assert printed.code == 0, printed.err
    v1, v2, kanary = yaml.safe_load_all(printed.out)
    assert (v1["metadata"]["name"], v1["spec"]) == ("shop-v1", {"selector": {"app": "shop"}, "ports": [PORT]})
    assert (v2["metadata"]["name"], v2["spec"]) == ("shop-v2", {"selector": {"app": "shop-v2"}, "ports": [PORT]})
    assert kanary["metadata"] == {"name": "web", "namespace": "shop"}
    assert kanary["spec"] == {
        "destination": "shop",
        "adoptDestination": True,
        "port": 80,
        "routes": [
            {"backend": {"serviceName": "shop-v1", "servicePort": "http"}, "weight": 100},
            {"backend": {"serviceName": "shop-v2", "servicePort": "http"}, "weight": 0},
        ],
    }


def test_each_tcp_port_of_the_service_is_a_port_of_the_kanary_and_of_the_versions(
    server: ApiServer, adopt: Adopt
) -> None:
    others = [{**PORT, "name": "tcp", "port": 9090, "targetPort": 9091}, {**PORT, "name": "m", "port": 81}]
    service(server, ports=[PORT, *others])
    printed = adopt("--as", "web")
    assert printed.code == 0, printed.err
    v1, v2, kanary = yaml.safe_load_all(printed.out)
    assert v1["spec"]["ports"] == v2["spec"]["ports"] == [PORT, *others]
    assert kanary["spec"]["ports"] == [
        # `tcp` is the name of the first port.
        {"name": "port-9090", "port": 9090, "servicePort": "tcp"},
        {"name": "m", "port": 81, "servicePort": "m"},
    ]


def test_the_steps_are_numbered_and_name_the_label_of_the_new_version(adopt: Adopt) -> None:
    lines = adopt().err.splitlines()
    assert [line.partition(".")[0] for line in lines] == [f"kanary: {number}" for number in range(1, len(lines) + 1)]
    told = next(line for line in lines if "deploy the new version" in line)
    assert "need the label app: shop-v2 instead of app: shop, and a container port named web" in told
    assert "Deployment shop" in "".join(lines)


def test_it_writes_nothing(server: ApiServer, adopt: Adopt) -> None:
    adopt()
    assert {request.method for request in server.requests.find(path="/")} == {"GET"}


def test_lint_accepts_the_manifest(adopt: Adopt, kanary: Kanary, tmp_path: Path) -> None:
    manifest = tmp_path / "web.yaml"
    manifest.write_text(adopt().out)
    printed = kanary("lint", "--strict", "-f", str(manifest))
    assert printed.code == 0, printed.out


LABELS: dict[str, tuple[Json, Json, str, str]] = {
    "a version": ({"app": "shop", "version": "v1"}, {"app": "shop", "version": "v1"}, "version", "v2"),
    "a version that may change": ({"app": "shop", "version": "v1"}, {"app": "shop"}, "app", "shop-v2"),
    "a label of their own": ({"app": "shop", "tier": "x"}, {"tier": "x"}, "app", "shop-v2"),
    "Helm": (
        {"app": "shop", "app.kubernetes.io/instance": "a"},
        {"app": "shop", "app.kubernetes.io/instance": "a"},
        "app.kubernetes.io/instance",
        "a-v2",
    ),
    "a long value": ({"app": "shop", "track": "x" * 63}, {"track": "x" * 63}, "track", "x" * 60 + "-v2"),
}


@pytest.mark.parametrize("case", LABELS)
def test_no_pod_belongs_to_both_versions(server: ApiServer, adopt: Adopt, case: str) -> None:
    labels, selector, key, value = LABELS[case]
    server.store.delete("pods", "shop-1", "shop")
    deployment(server, "shop", labels, selector)
    first, second, _ = yaml.safe_load_all(adopt().out)
    now, after = first["spec"]["selector"], second["spec"]["selector"]
    assert now.items() <= labels.items()
    assert now.items() >= selector.items()
    assert after == {**now, key: value}
    assert len(value) <= 63


def test_pods_without_a_deployment_are_adopted_by_the_selector_alone(server: ApiServer, adopt: Adopt) -> None:
    server.store.delete("deployments", "shop", "shop")
    pod(server, "db-0", {"app": "shop", "statefulset.kubernetes.io/pod-name": "db-0"})
    assert next(yaml.safe_load_all(adopt().out))["spec"]["selector"] == {"app": "shop"}


REFUSED: dict[str, tuple[Callable[[ApiServer], None], str]] = {
    "no Service": (lambda s: s.store.delete("services", "shop", "shop"), "there is no Service shop in namespace shop"),
    "an external name": (
        lambda s: service(s, type="ExternalName", externalName="a.example", clusterIP=None, ports=None, selector=None),
        "has the type ExternalName",
    ),
    "headless": (lambda s: service(s, clusterIP="None"), "is headless"),
    "no selector": (lambda s: service(s, selector=None), "has no selector"),
    "a controller": (
        lambda s: service(s, owner={"apiVersion": "v1", "kind": "Shop", "name": "it", "uid": "u", "controller": True}),
        "belongs to Shop it",
    ),
    "six ports": (
        lambda s: service(s, ports=[{"name": f"p{number}", "port": number} for number in range(80, 86)]),
        "has 6 TCP ports, and a Kanary at most 5",
    ),
    "a UDP port as well": (
        lambda s: service(s, ports=[PORT, {"name": "dns", "port": 53, "protocol": "UDP"}]),
        "also has port 53/UDP",
    ),
    "UDP": (lambda s: service(s, ports=[{**PORT, "protocol": "UDP"}]), "has no TCP port"),
    "no pods": (lambda s: service(s, selector={"app": "none"}), "no pod has the labels of Service shop (app=none)"),
    "two Deployments": (
        lambda s: deployment(s, "other", {"app": "shop", "tier": "x"}),
        "selects pods of the Deployments other and shop: narrow its selector",
    ),
    "pods of others": (
        lambda s: (
            deployment(s, "shop", {"app": "shop", "tier": "x"}),
            pod(s, "stray", {"app": "shop"}),
        )[0],
        "selects pods that are not of Deployment shop (stray)",
    ),
    "a Kanary of it": (
        lambda s: put(s, "kanary.k8s.io/v1", "Kanary", "other", kanary_of("shop")),
        "is the destination of Kanary other already",
    ),
    "the name": (lambda s: put(s, "kanary.k8s.io/v1", "Kanary", "shop", kanary_of("other")), "another name with --as"),
    "the name of a version": (
        lambda s: service(s, "shop-v2", selector={"app": "x"}),
        "there is a Service shop-v2 with another selector than app=shop-v2",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_adopted_is_refused_with_the_way_out(server: ApiServer, adopt: Adopt, case: str) -> None:
    change, message = REFUSED[case]
    change(server)
    printed = adopt()
    assert (printed.code, printed.out) == (1, "")
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_a_deployment_without_replicas_is_not_behind_it(server: ApiServer, adopt: Adopt) -> None:
    deployment(server, "former", {"app": "shop", "version": "v0"}, replicas=0)
    assert adopt().code == 0


def test_what_was_applied_before_is_no_obstacle(server: ApiServer, adopt: Adopt) -> None:
    for version in list(yaml.safe_load_all(adopt().out))[:2]:
        server.store.put(version)
    assert adopt().code == 0
