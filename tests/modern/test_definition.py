"""A current Kubernetes takes the definition of Kanaries, and serves it to people."""

import pytest
import yaml

from engine.model.spec import KanarySpec
from tests.e2e.kubectl import Kubectl
from tests.modern.conftest import CRD

NAME = "kanaries.kanary.k8s.io"


def test_the_definition_is_accepted_as_it_stands(kubectl: Kubectl) -> None:
    """Its rules compile and are not estimated as too expensive, and nothing of it is dropped or changed."""
    kubectl("apply", "-f", str(CRD))
    stored = kubectl.get("crd", NAME)
    conditions = {condition["type"]: condition["status"] for condition in stored["status"]["conditions"]}
    assert conditions["NamesAccepted"] == conditions["Established"] == "True"
    assert "NonStructuralSchema" not in conditions
    (written,), (kept,) = (definition["spec"]["versions"] for definition in (yaml.safe_load(CRD.read_text()), stored))
    assert kept["schema"] == written["schema"]


@pytest.mark.parametrize("field", [info.alias for info in KanarySpec.model_fields.values()])
def test_kubectl_explains_every_field_of_the_spec(kubectl: Kubectl, field: str) -> None:
    explained = kubectl("explain", f"kanary.spec.{field}")
    assert "<empty>" not in explained
    assert f"FIELD: {field} " in explained


@pytest.mark.parametrize("name", ["ky", "kanary", "kanaries"])
def test_kanaries_go_by_three_names(kubectl: Kubectl, name: str) -> None:
    assert kubectl("get", name, "-o", "name").split() == []
