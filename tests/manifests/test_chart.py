"""The Helm chart: by default what manifests/ installs, and each value does what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from engine.model.placement import BUILT_IN, ProxyDefaults
from kanary.operator.settings import read_proxies
from kanary.version import VERSION
from tests.manifests.programs import (
    CHART,
    Json,
    by_name,
    environment_of,
    in_file,
    operator_of,
    rendering,
    run,
    template,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4
KEEP = {"helm.sh/resource-policy": "keep"}


def annotations_of(found: Json) -> dict[str, str]:
    """Those of an object."""
    annotations: dict[str, str] = found["metadata"].get("annotations", {})
    return annotations


def without_policy(found: list[Json]) -> dict[tuple[str, str], Json]:
    """The objects without Helm's annotation of what it keeps."""
    named = by_name(found)
    for each in named.values():
        annotations = annotations_of(each)
        annotations.pop("helm.sh/resource-policy", None)
        if not annotations:
            each["metadata"].pop("annotations", None)
    return named


def test_by_default_it_installs_what_the_one_file_does() -> None:
    """Except for the namespace, which `helm install --create-namespace` makes."""
    expected = by_name(in_file("kanary.yml"))
    del expected["Namespace", "kanary-system"]
    assert without_policy(template()) == expected


def test_in_one_namespace_it_installs_what_that_file_does() -> None:
    made = without_policy(template("--set", "oneNamespace=true,crd.install=false", namespace="shop"))
    text = yaml.safe_dump_all(in_file("one-namespace/kanary.yml")).replace("YOUR-NAMESPACE", "shop")
    assert made == by_name([*yaml.safe_load_all(text)])


def test_what_has_data_stays_after_helm_uninstall() -> None:
    kept = {key for key, each in by_name(template()).items() if KEEP.items() <= annotations_of(each).items()}
    assert kept == {("CustomResourceDefinition", "kanaries.kanary.k8s.io"), ("PersistentVolumeClaim", "kanary-history")}


def test_nothing_names_another_namespace_than_that_of_the_release() -> None:
    made = template("--set", "monitoring.enabled=true,networkPolicy.enabled=true", namespace="elsewhere")
    assert "kanary-system" not in json.dumps(made)
    assert {each["metadata"].get("namespace", "elsewhere") for each in made} == {"elsewhere"}


def test_two_replicas_with_postgresql() -> None:
    made = template("--set", "replicas=2,history.urlFromSecret.name=db")
    assert ("PersistentVolumeClaim", "kanary-history") not in by_name(made)
    assert by_name(made)["Deployment", "kanary"]["spec"]["strategy"] == {"type": "RollingUpdate"}
    assert by_name(made)["PodDisruptionBudget", "kanary"]["spec"]["maxUnavailable"] == 1
    assert "volumes" not in operator_of(made)
    secret = {"secretKeyRef": {"name": "db", "key": "url"}}
    assert environment_of(made)["KANARY_HISTORY_URL"]["valueFrom"] == secret


def test_a_private_registry() -> None:
    values: dict[str, Any] = {
        "image": {"repository": "registry.example/kanary", "digest": DIGEST},
        "proxyImage": {"repository": "registry.example/haproxy", "tag": "1.2"},
        "imagePullSecrets": [{"name": "pull"}],
    }
    made = template(values=values)
    assert operator_of(made)["containers"][0]["image"] == f"registry.example/kanary@{DIGEST}"
    assert environment_of(made)["KANARY_PROXY_IMAGE"]["value"] == "registry.example/haproxy:1.2"
    assert operator_of(made)["imagePullSecrets"] == [{"name": "pull"}]


def test_users_and_groups_can_be_left_to_the_cluster() -> None:
    nothing = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    context = operator_of(template(values={"securityContext": nothing}))["securityContext"]
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_placement_and_settings() -> None:
    placement: dict[str, Any] = {
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "priorityClassName": "system-cluster-critical",
        "resources": {"limits": {"memory": "1Gi"}},
    }
    labels = {"podLabels": {"team": "net"}, "podAnnotations": {"sidecar.istio.io/inject": "false"}}
    made = template(values={**placement, **labels, "settings": {"KANARY_WORKERS": 8, "KANARY_POD_SYSCTLS": False}})
    pod = operator_of(made)
    assert pod["containers"][0]["resources"]["limits"] == {"memory": "1Gi"}
    assert {field: pod[field] for field in placement if field != "resources"} == {
        field: value for field, value in placement.items() if field != "resources"
    }
    metadata = by_name(made)["Deployment", "kanary"]["spec"]["template"]["metadata"]
    assert metadata == {
        "labels": {"app.kubernetes.io/name": "kanary", "team": "net"},
        "annotations": {"sidecar.istio.io/inject": "false"},
    }
    environment = environment_of(made)
    assert (environment["KANARY_WORKERS"]["value"], environment["KANARY_POD_SYSCTLS"]["value"]) == ("8", "false")


def test_defaults_of_all_proxies() -> None:
    defaults = {
        "template": {
            "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
            "spec": {"securityContext": {"runAsUser": 1_000_650_000}},
        },
        "resources": {"limits": {"cpu": "1"}},
    }
    for given in (defaults, yaml.safe_dump(defaults)):
        made = template(values={"settings": {"KANARY_PROXY_DEFAULTS": given}})
        text = environment_of(made)["KANARY_PROXY_DEFAULTS"]["value"]
        assert read_proxies(text) == ProxyDefaults.model_validate(defaults).over(BUILT_IN)


def test_monitors_have_the_labels_that_a_prometheus_selects_by() -> None:
    made = template(values={"monitoring": {"enabled": True, "labels": {"release": "prometheus"}}})
    monitoring = {
        (each["kind"], each["metadata"]["name"]): each
        for path in ("operator-monitors", "prometheus-rule")
        for each in in_file(f"monitoring/{path}.yaml")
    }
    for each in monitoring.values():
        each["metadata"]["labels"]["release"] = "prometheus"
    assert {key: each for key, each in by_name(made).items() if key in monitoring} == monitoring


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("replicas=2", "history.urlFromSecret"),
        ("replica=2", "replica"),
        ("image.digest=abc", "/image/digest"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("history.url=mysql://db", "/history/url"),
        ("settings.LOG_LEVEL=debug", "LOG_LEVEL"),
        ("settings.KANARY_NAMESPACE=shop", "KANARY_NAMESPACE"),
        ("settings.KANARY_WORKERS.many=8", "/settings/KANARY_WORKERS"),
        ("history.volume.size=much", "/history/volume/size"),
    ],
)
def test_a_bad_value_is_refused_by_name(value: str, named: str) -> None:
    done = rendering("--set", value)
    assert done.returncode != 0
    assert named in done.stderr


def test_the_schema_knows_every_value() -> None:
    def unknown(values: Json, schema: Json, path: str = "") -> list[str]:
        known = schema.get("properties", {})
        found = []
        for name, value in values.items():
            if name not in known:
                found.append(f"{path}{name}")
            elif isinstance(value, dict) and "properties" in known[name]:
                found += unknown(value, known[name], f"{path}{name}.")
        return found

    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert unknown(values, schema) == []


def test_helm_finds_nothing_wrong_with_it_and_its_version_is_ours() -> None:
    done = run("helm", "lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
