"""The errors of `kubectl apply` when the API server itself rejects a Kanary."""

import json
from typing import Any

import pytest
import yaml

from tests.e2e.kubectl import Kubectl, KubectlError
from tests.modern.kanaries import Manifest, kanary, route
from tests.modern.stage import Stage

NOT_A_LABEL = (
    "must be a DNS label (lower-case letters, digits and '-', starting with a letter) of at most 55 characters"
)


def dry_run(kubectl: Kubectl, manifest: Manifest) -> str:
    return kubectl("apply", "--dry-run=server", "-f", "-", given=yaml.safe_dump(manifest))


def refusal(kubectl: Kubectl, manifest: Manifest) -> str:
    with pytest.raises(KubectlError) as caught:
        dry_run(kubectl, manifest)
    return str(caught.value)


def routes(*weights: Any) -> Manifest:
    """A Kanary with these weights."""
    return kanary(routes=[route(f"web-v{number}", weight) for number, weight in enumerate(weights, 1)])


def steps(*to: Any, **analysis: Any) -> Manifest:
    """A Kanary whose rollout has these steps."""
    rollout = {"steps": [{"to": each} for each in to], "analysis": analysis}
    return kanary(updateStrategy="Live", rollout=rollout)


def port(value: Any) -> Manifest:
    """A Kanary whose only backend has this port."""
    return kanary(routes=[route("web-v1", 100, value)])


@pytest.mark.parametrize(
    ("manifest", "field", "message"),
    [
        pytest.param(routes(90, 20), "spec.routes", "weights sum to 110, and must sum to 100", id="sum-110"),
        pytest.param(routes(90), "spec.routes", "weights sum to 90, and must sum to 100", id="sum-90"),
        pytest.param(routes(0, 0), "spec.routes", "weights sum to 0, and must sum to 100", id="sum-0"),
        pytest.param(
            routes(33.3, 33.3, 33.3), "spec.routes", "weights sum to 99.9, and must sum to 100", id="sum-99.9"
        ),
        pytest.param(
            routes(12.34, 87.7),
            "spec.routes[0].weight",
            "must have at most one decimal, such as 12.5",
            id="two-decimals",
        ),
        pytest.param(
            kanary(routes=[route("web-v1", 50), route("web-v1", 50)]),
            "spec.routes",
            "duplicate backend web-v1: give it one route with the sum of the weights",
            id="same-backend-twice",
        ),
        pytest.param(
            kanary(destination="web-v2"),
            "spec.destination",
            "backend web-v2 is also the destination, which would create a loop: name the Service of a "
            "version, or another destination",
            id="backend-is-destination",
        ),
        pytest.param(
            steps(10, 50), "spec.rollout.steps", "the last step must be to 100; append {to: 100}", id="steps-end-early"
        ),
        pytest.param(steps(0, 100), "spec.rollout.steps", "the first step must be greater than 0", id="step-to-0"),
        pytest.param(
            steps(50, 10, 100), "spec.rollout.steps", "each step must be greater than the one before", id="steps-fall"
        ),
        pytest.param(
            steps(10, 10, 100), "spec.rollout.steps", "each step must be greater than the one before", id="steps-stay"
        ),
        pytest.param(
            steps(12.34, 100),
            "spec.rollout.steps[0].to",
            "must have at most one decimal, such as 12.5",
            id="step-with-two-decimals",
        ),
        pytest.param(
            steps(10, 100, tolerate={"percent": 2}),
            "spec.rollout.analysis",
            "detect.percent must be above tolerate.percent: raise it, or lower tolerate.percent",
            id="detect-below-tolerate",
        ),
        pytest.param(kanary("x" * 56), "metadata.name", NOT_A_LABEL, id="long-name"),
        pytest.param(kanary("web.shop"), "metadata.name", NOT_A_LABEL, id="name-with-dot"),
        pytest.param(kanary("1-web"), "metadata.name", NOT_A_LABEL, id="name-starts-with-digit"),
    ],
)
def test_a_broken_rule_is_reported_with_its_field_and_the_way_out(
    kubectl: Kubectl, manifest: Manifest, field: str, message: str
) -> None:
    reported = refusal(kubectl, manifest)
    assert f'The Kanary "{manifest["metadata"]["name"]}" is invalid: {field}: Invalid value: ' in reported
    assert reported.endswith(message)


def test_all_broken_rules_are_reported_at_once(kubectl: Kubectl) -> None:
    reported = refusal(kubectl, kanary(destination="a", routes=[route("a", 50), route("a", 60)]))
    assert "weights sum to 110" in reported
    assert "duplicate backend a" in reported
    assert "backend a is also the destination" in reported


@pytest.mark.parametrize(
    ("manifest", "field", "message"),
    [
        pytest.param(routes(-1, 100), "spec.routes[0].weight", "should be greater than or equal to 0", id="below-0"),
        pytest.param(routes(100.1), "spec.routes[0].weight", "should be less than or equal to 100", id="above-100"),
        pytest.param(routes("50", 50), "spec.routes[0].weight", "must be of type number", id="quoted-weight"),
        pytest.param(routes(), "spec.routes", "should have at least 1 items", id="no-routes"),
        pytest.param(routes(*[1] * 101), "spec.routes", "must have at most 100 items", id="too-many-routes"),
        pytest.param(port(0), "servicePort", "should be greater than or equal to 1", id="port-0"),
        pytest.param(port(65536), "servicePort", "should be less than or equal to 65535", id="port-too-high"),
        pytest.param(port(80.5), "servicePort", "must be of type integer,string", id="port-not-whole"),
        pytest.param(port("HTTP"), "servicePort", "should match", id="port-with-capitals"),
        pytest.param(port("h" * 64), "servicePort", "63", id="port-name-too-long"),
        pytest.param(kanary(destination="a.b"), "spec.destination", "should match", id="destination-with-dot"),
        pytest.param(kanary(destination=""), "spec.destination", "at least 1 chars", id="no-destination"),
        pytest.param(kanary(onEmptyRoute="Drop"), "spec.onEmptyRoute", '"Redistribute", "Hold", "Fail"', id="choice"),
        pytest.param(kanary(paused="yes"), "spec.paused", "must be of type boolean", id="not-a-boolean"),
        pytest.param(kanary(proxy={"replicas": 0}), "spec.proxy.replicas", "greater than or equal to 1", id="none"),
        pytest.param(kanary(proxy={"image": "a b"}), "spec.proxy.image", "should match", id="image-with-space"),
        pytest.param(kanary(weigth=100), 'unknown field "spec.weigth"', "strict decoding error", id="misspelt"),
    ],
)
def test_what_the_schema_forbids_is_reported_with_its_field(
    kubectl: Kubectl, manifest: Manifest, field: str, message: str
) -> None:
    reported = refusal(kubectl, manifest)
    assert field in reported
    assert message in reported


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(kanary("x" * 55), id="longest-name"),
        pytest.param(routes(*[1] * 100), id="most-routes"),
        pytest.param(routes(100, 0), id="weight-0"),
        pytest.param(routes(50.0, 50), id="whole-number-with-point"),
        pytest.param(routes(1e1, 90), id="whole-number-with-exponent"),
        pytest.param(routes(33.3, 33.3, 33.4), id="decimals"),
        # The floats of these do not sum to 100.
        pytest.param(routes(0.1, 66.6, 33.3), id="inexact-floats"),
        pytest.param(routes(*[0.1] * 99, 90.1), id="most-routes-with-decimals"),
        pytest.param(kanary(routes=[route("a", 50, "http"), route("a", 50, 8080)]), id="two-ports-of-a-service"),
        pytest.param(port("80"), id="port-named-80"),
    ],
)
def test_valid_kanaries_are_accepted(kubectl: Kubectl, manifest: Manifest) -> None:
    assert "created (server dry run)" in dry_run(kubectl, manifest)


def test_a_change_that_breaks_a_rule_is_rejected_and_nothing_changes(stage: Stage) -> None:
    stage.kubectl.apply(kanary())
    patch = [{"op": "replace", "path": "/spec/routes/0/weight", "value": 81}]
    with pytest.raises(KubectlError, match="weights sum to 101, and must sum to 100"):
        stage.kubectl("patch", "kanary", "web", "--type=json", "-p", json.dumps(patch))
    assert stage.kubectl.get("kanary", "web")["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    "manifest",
    [
        steps(100),
        steps(0.1, 12.5, 50, 100),
        steps(*range(51, 101)),
        steps(10, 100, detect={"percent": 0.2}),
        steps(10, 100, tolerate={"ratio": 2}, detect={}),
        steps(10, 100, tolerate={"percent": 1}, detect={"percent": 1.1}),
    ],
)
def test_a_good_rollout_is_accepted(kubectl: Kubectl, manifest: Manifest) -> None:
    assert "created (server dry run)" in dry_run(kubectl, manifest)
