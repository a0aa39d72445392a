"""The kustomizations: the base is the one file, and each overlay changes what it says and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from kanary.operator.settings import Settings
from tests.manifests.programs import MANIFESTS, Json, by_name, environment_of, in_file, kustomized, operator_of

DIGEST = "sha256:" + "0123456789abcdef" * 4


def of_yours(folder: Path, **parts: object) -> list[Json]:
    """What a kustomization of a user's makes, beside a copy of manifests/."""
    (folder / "manifests").symlink_to(MANIFESTS)
    yours = folder / "yours"
    yours.mkdir()
    (yours / "kustomization.yaml").write_text(yaml.safe_dump(parts))
    return kustomized(yours)


def test_the_base_is_the_one_file() -> None:
    assert by_name(kustomized(MANIFESTS / "base")) == by_name(in_file("kanary.yml"))


def test_the_overlay_of_one_namespace_sets_it_everywhere_and_has_no_clusterrole(tmp_path: Path) -> None:
    """As a user would: the name is changed in the overlay."""
    text = (MANIFESTS / "one-namespace" / "kustomization.yaml").read_text(encoding="utf-8")
    shutil.copy(MANIFESTS / "one-namespace" / "kanary.yml", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(text.replace("namespace: YOUR-NAMESPACE", "namespace: shop"))
    made = kustomized(tmp_path)
    assert by_name(made) == {
        key: yaml.safe_load(yaml.safe_dump(each).replace("YOUR-NAMESPACE", "shop"))
        for key, each in by_name(in_file("one-namespace/kanary.yml")).items()
    }
    assert not any(each["kind"].startswith("Cluster") for each in made)


def test_two_replicas_have_no_volume_and_the_url_of_a_secret() -> None:
    base, made = by_name(in_file("kanary.yml")), kustomized(MANIFESTS / "ha")
    changed = by_name(made)
    assert base.keys() - changed.keys() == {("PersistentVolumeClaim", "kanary-history")}
    assert changed.keys() - base.keys() == {("PodDisruptionBudget", "kanary")}
    assert {key for key in base.keys() & changed.keys() if base[key] != changed[key]} == {("Deployment", "kanary")}
    deployment = changed["Deployment", "kanary"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (2, {"type": "RollingUpdate"})
    pod = operator_of(made)
    assert not pod.get("volumes")
    assert not pod["containers"][0].get("volumeMounts")
    assert environment_of(made)["KANARY_HISTORY_URL"] == {
        "name": "KANARY_HISTORY_URL",
        "valueFrom": {"secretKeyRef": {"name": "kanary-history", "key": "url"}},
    }
    unchanged = environment_of(made).keys()
    assert unchanged == environment_of(list(base.values())).keys()


def test_monitoring_goes_with_every_overlay(tmp_path: Path) -> None:
    resources = ["../manifests/ha", "../manifests/monitoring"]
    made = by_name(of_yours(tmp_path, resources=resources))
    assert {kind for kind, _ in made} >= {"ServiceMonitor", "PodMonitor", "PrometheusRule", "Deployment"}


def test_a_private_registry_needs_two_lines(tmp_path: Path) -> None:
    """The images of the operator and of its proxies, by digest, and the Secret to pull them."""
    made = of_yours(
        tmp_path,
        resources=["../manifests/base"],
        images=[
            {"name": "kanary", "newName": "registry.example/kanary", "digest": DIGEST},
            {"name": "kanary-haproxy", "newName": "registry.example/kanary-haproxy", "digest": DIGEST},
        ],
    )
    assert operator_of(made)["containers"][0]["image"] == f"registry.example/kanary@{DIGEST}"
    assert environment_of(made)["KANARY_PROXY_IMAGE"]["value"] == f"registry.example/kanary-haproxy@{DIGEST}"
    others = environment_of(in_file("kanary.yml"))
    del others["KANARY_PROXY_IMAGE"]
    assert {name: each for name, each in environment_of(made).items() if name in others} == others


def test_the_image_of_the_proxies_is_the_operators_default() -> None:
    assert environment_of(in_file("kanary.yml"))["KANARY_PROXY_IMAGE"]["value"] == Settings().proxy_image
