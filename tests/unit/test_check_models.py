"""Queries and webhooks as users declare them: valid values, and messages for those that are not."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from engine.checks import Occasion, RolloutStep, query_check, webhook_checks
from engine.model.checks import (
    EXPECTED,
    HttpUrl,
    PrometheusQuery,
    Webhook,
    WebhookEvent,
    query_problems,
    webhook_problems,
)
from engine.model.entries import Share
from engine.model.spec import Backend
from engine.model.weight import read_weight
from engine.render.objects import Identity
from kanary.crd import structural

QUERY = {"name": "p99", "address": "http://prometheus:9090", "query": "up", "max": 0.5}
WEBHOOK = {"name": "gate", "url": "http://gate:8080/check"}
STEP = RolloutStep(Identity("shop", "web", "u-1"), rollout=7, step=2, of=4)
WEIGHTS = (
    Share(backend="web-v1:http", weight=read_weight(87.5)),
    Share(backend="web-v2:http", weight=read_weight(12.5)),
)


def query(**fields: Any) -> PrometheusQuery:
    return PrometheusQuery.model_validate({**QUERY, **fields}, by_alias=True, by_name=False)


def webhook(**fields: Any) -> Webhook:
    return Webhook.model_validate({**WEBHOOK, **fields}, by_alias=True, by_name=False)


def test_the_defaults() -> None:
    assert (query().interval_seconds, query().timeout_seconds, query().min) == (30, 10, None)
    hook = webhook()
    assert (hook.events, hook.timeout_seconds, hook.retries) == (tuple(WebhookEvent), 10, 3)
    assert (hook.on_error, hook.template) == ("Hold", "Generic")


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "P 99"},
        {"name": ""},
        {"address": "prometheus:9090"},
        {"address": "ftp://prometheus"},
        {"address": "http://user:secret@prometheus"},
        {"address": "http://prometheus/?x=1"},
        {"address": "http://prometheus/#x"},
        {"address": "http://prom etheus"},
        {"address": "http://prometheus\\@other"},
        {"address": "http://"},
        {"query": ""},
        {"query": "x" * 2001},
        {"max": "0.5"},
        {"max": float("nan")},
        {"max": float("inf")},
        {"max": True},
        {"min": []},
        {"intervalSeconds": 4},
        {"intervalSeconds": 30.5},
        {"timeoutSeconds": 0},
        {"timeoutSeconds": 61},
    ],
    ids=str,
)
def test_the_schema_refuses_a_query(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        query(**fields)
    (field,) = fields
    assert error.value.errors()[0]["loc"] == (field,)
    assert EXPECTED[field]


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "gate"},
        {"url": "http://gate/#x"},
        {"url": "http://a:b@gate/"},
        {"events": []},
        {"events": ["BeforeStep"] * 4},
        {"events": ["Sometimes"]},
        {"retries": -1},
        {"retries": 11},
        {"onError": "Shrug"},
        {"template": "Teams"},
        {"timeoutSeconds": "10"},
    ],
    ids=str,
)
def test_the_schema_refuses_a_webhook(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        webhook(**fields)
    (field,) = fields
    assert error.value.errors()[0]["loc"][0] == field
    assert EXPECTED[field]


def test_every_field_has_its_valid_values_for_messages_and_a_schema_that_a_crd_can_express() -> None:
    for model in (PrometheusQuery, Webhook):
        schema = structural(model.model_json_schema())
        assert all(EXPECTED[name] and field["description"] for name, field in schema["properties"].items())
        assert "on" not in schema["properties"], "YAML reads it as true"


@pytest.mark.parametrize(
    ("queries", "expected"),
    [
        ([query()], []),
        ([query(min=0)], []),
        ([query(query="rate(x{backend='{{ backend }}', ns='{{namespace}}'}[1m])")], []),
        (
            [query(), query()],
            ['spec.prometheus has 2 entries with the name "p99": give each its own'],
        ),
        (
            [query(max=None)],
            ["spec.prometheus[0] has neither max nor min: add the limit of the value of query p99"],
        ),
        (
            [query(min=0.6)],
            ["spec.prometheus[0].min is 0.6, above max 0.5: no value would pass; exchange them"],
        ),
        (
            [query(query="{{ backend }} {{ pod }} {{ }}")],
            [
                f"spec.prometheus[0].query has the unknown placeholder {found}: use "
                "{{ backend }}, {{ service }}, {{ port }}, {{ namespace }}, {{ kanary }}"
                for found in ("{{  }}", "{{ pod }}")
            ],
        ),
        (
            [query(address="http://prometheus:70000")],
            ['spec.prometheus[0].address is "http://prometheus:70000": port 70000 is not from 1 to 65535'],
        ),
    ],
)
def test_problems_of_queries_name_field_value_and_way_out(queries: list[PrometheusQuery], expected: list[str]) -> None:
    assert list(query_problems("spec.prometheus", queries)) == expected


def test_problems_of_webhooks_name_field_value_and_way_out() -> None:
    hooks = [webhook(), webhook(url="http://gate:0"), webhook(name="other", events=["Result", "Result"])]
    assert list(webhook_problems("spec.webhooks", hooks)) == [
        'spec.webhooks has 2 entries with the name "gate": give each its own',
        'spec.webhooks[1].url is "http://gate:0": port 0 is not from 1 to 65535',
        "spec.webhooks[2].events has Result 2 times: name it once",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://Gate", HttpUrl("http", "gate", 80, "/")),
        ("https://gate.shop.svc/a?b=c", HttpUrl("https", "gate.shop.svc", 443, "/a?b=c")),
        ("http://[fd00::1]:8080/x", HttpUrl("http", "fd00::1", 8080, "/x")),
    ],
)
def test_a_url_has_its_default_port_and_path(text: str, expected: HttpUrl) -> None:
    assert HttpUrl.parse(text) == expected


def test_a_query_is_about_the_canary_and_its_id_is_the_same_after_a_restart() -> None:
    declared = query(query="{{ backend }} {{service}} {{ port }} {{ namespace }}/{{ kanary }}")
    check = query_check(STEP, declared, Backend(service_name="web-v2", service_port=8080))
    assert check.text == "web-v2:8080 web-v2 8080 shop/web"
    assert check.id == "kanary_u-1_7_2_p99_web-v2:8080"


def test_a_webhook_is_called_for_its_events_only() -> None:
    hooks = [webhook(), webhook(name="end", events=["Result"])]
    for event, names in {WebhookEvent.AFTER_STEP: ["gate"], WebhookEvent.RESULT: ["gate", "end"]}.items():
        assert [check.webhook.name for check in webhook_checks(Occasion(event, STEP, WEIGHTS), hooks)] == names


def test_the_generic_body_has_every_fact_and_the_id_none_that_changes() -> None:
    first, second = (
        webhook_checks(
            Occasion(WebhookEvent.AFTER_STEP, STEP, WEIGHTS, evidence, "Watching", "step 1/4 is watched for 5m"),
            [webhook()],
        )[0]
        for evidence in ("1 of 2 failed", "2 of 3 failed")
    )
    assert json.loads(first.body) == {
        "kanary": "web",
        "namespace": "shop",
        "rollout": 7,
        "step": 2,
        "of": 4,
        "event": "AfterStep",
        "weights": {"web-v1:http": 87.5, "web-v2:http": 12.5},
        "evidence": "1 of 2 failed",
        "state": "Watching",
        "message": "step 1/4 is watched for 5m",
    }
    assert first.id == "kanary_u-1_7_2_AfterStep_gate"
    assert first == second


@pytest.mark.parametrize(
    ("occasion", "expected"),
    [
        (
            Occasion(WebhookEvent.BEFORE_STEP, STEP, WEIGHTS),
            "Rollout 7 of Kanary shop/web is about to start step 2 of 4. Weights: web-v1:http=87.5 web-v2:http=12.5.",
        ),
        (
            Occasion(WebhookEvent.RESULT, STEP, WEIGHTS, "7 > 2 & <!channel>.", "RolledBack", "rolled back"),
            "Rollout 7 of Kanary shop/web has ended at step 2 of 4: RolledBack, rolled back. Weights: web-v1:http=87.5 "
            "web-v2:http=12.5. 7 &gt; 2 &amp; &lt;!channel&gt;.",
        ),
    ],
)
def test_slack_gets_sentences_in_which_nothing_is_markup(occasion: Occasion, expected: str) -> None:
    (check,) = webhook_checks(occasion, [webhook(template="Slack")])
    assert json.loads(check.body) == {"text": expected}
