"""The generated files of manifests/."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.manifests import generated
from tests.manifests.programs import MANIFESTS, in_file, objects

GENERATED = generated(MANIFESTS)


@pytest.mark.parametrize("path", GENERATED, ids=str)
def test_it_is_what_the_models_and_the_base_say(path: Path) -> None:
    """If not: `make manifests`."""
    assert (MANIFESTS / path).read_text(encoding="utf-8") == GENERATED[path], f"{path}: run make manifests"


def test_no_other_file_is_in_the_chart_for_copies() -> None:
    copies = {path.relative_to(MANIFESTS) for path in (MANIFESTS / "chart" / "files").iterdir()}
    assert copies == {path for path in GENERATED if path.is_relative_to("chart/files")}


def test_one_file_holds_everything_in_an_order_that_a_cluster_can_take() -> None:
    documents = in_file("kanary.yml")
    parts = [each for part in ("crd", "rbac", "operator") for each in in_file(f"base/{part}.yaml")]
    assert documents == parts
    kinds = [document["kind"] for document in documents]
    assert kinds[0] == "CustomResourceDefinition"
    assert kinds.index("Namespace") < kinds.index("ServiceAccount") < kinds.index("Deployment")


def test_helm_deletes_no_kanary_with_the_chart() -> None:
    (crd,) = objects(GENERATED[Path("chart/files/crd.yaml")])
    assert crd["metadata"]["annotations"].pop("helm.sh/resource-policy") == "keep"
    if not crd["metadata"]["annotations"]:
        del crd["metadata"]["annotations"]
    assert [crd] == in_file("base/crd.yaml")
