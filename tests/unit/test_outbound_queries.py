"""What an answer of Prometheus says: only one number within the limits passes."""

import json
from typing import Any

import pytest

from engine.checks import CheckOutcome, QueryCheck
from engine.model.checks import PrometheusQuery
from kanary.outbound.exchange import Answer
from kanary.outbound.queries import judge_query, query_request

FAILED, PASSED, INCONCLUSIVE = CheckOutcome.FAILED, CheckOutcome.PASSED, CheckOutcome.INCONCLUSIVE


def check(address: str = "http://prometheus:9090", **limits: float) -> QueryCheck:
    query = PrometheusQuery(name="p99", address=address, query="x", **limits or {"max": 0.5})
    return QueryCheck("id", query, 'up{backend="web-v2:http"} > 0')


def vector(*values: Any) -> bytes:
    return success("vector", [{"metric": {}, "value": [1.5, value]} for value in values])


def success(kind: Any, result: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()


def judge(body: bytes, status: int = 200, **limits: float) -> tuple[CheckOutcome, str]:
    return judge_query(check(**limits), Answer(status, {}, body))


@pytest.mark.parametrize(
    ("value", "limits", "outcome", "message"),
    [
        ("0.5", {"max": 0.5}, PASSED, "0.5 is within max 0.5"),
        ("0.500001", {"max": 0.5}, FAILED, "0.500001 is above max 0.5"),
        ("-3", {"max": 0.5}, PASSED, "-3 is within max 0.5"),
        ("0.98", {"min": 0.99}, FAILED, "0.98 is below min 0.99"),
        ("0.99", {"min": 0.99}, PASSED, "0.99 is within min 0.99"),
        ("1.5", {"min": 1, "max": 2}, PASSED, "1.5 is within min 1 and max 2"),
        ("+Inf", {"max": 2}, FAILED, "inf is above max 2"),
        ("-Inf", {"max": 2}, INCONCLUSIVE, "the value is -inf"),
        ("+Inf", {"min": 2}, INCONCLUSIVE, "the value is inf"),
        ("NaN", {"max": 2}, INCONCLUSIVE, "the value is NaN"),
    ],
)
def test_a_value_is_compared_with_the_limits(
    value: str, limits: dict[str, float], outcome: CheckOutcome, message: str
) -> None:
    assert judge(vector(value), **limits) == (outcome, message)
    assert judge(success("scalar", [1.5, value]), **limits) == (outcome, message)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (vector(), 200, "the query gave no values instead of one"),
        (vector("0.1", "0.2"), 200, "the query gave 2 values instead of one"),
        (success("matrix", []), 200, "the query gave a matrix instead of one value"),
        (success("string", [1, "0.1"]), 200, "the query gave a string instead of one value"),
        (success(None, None), 200, "the query gave a None instead of one value"),
        (success("vector", {}), 200, "the query gave a vector instead of one value"),
        (success("vector", ["0.1"]), 200, "the answer has no value"),
        (success("vector", [{}]), 200, "the answer has no value"),
        (success("scalar", [1, 0.1]), 200, "the answer has no value"),
        (vector("much"), 200, "could not convert string to float: 'much'"),
        (b'{"status": "success", "data": []}', 200, "the query gave a None instead of one value"),
        (b'{"status": "error", "error": "parse error"}', 400, "the server answered 400: parse error"),
        (b'{"status": "error", "error": "parse error"}', 200, "the server answered 200: parse error"),
        (vector("0.1"), 500, "the server answered 500: no error text"),
        (b'{"error": "' + b"x" * 1000 + b'"}', 503, "the server answered 503: " + "x" * 200),
        (b"<html>0.1</html>", 200, "the server answered 200 without JSON"),
        (b"", 204, "the server answered 204 without JSON"),
        (b"[0.1]", 200, "the server answered 200 without a JSON object"),
        (b"\xff\xfe", 200, "the server answered 200 without JSON"),
        (b"[" * 60_000, 200, "the server answered 200 without JSON"),
        (b"", 302, "the server answered 302 without JSON"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_anything_else_is_inconclusive_and_says_why(body: bytes, status: int, message: str) -> None:
    assert judge(body, status) == (INCONCLUSIVE, message)


def test_the_request_has_the_expression_and_the_prefix_of_the_address() -> None:
    request = query_request(check("https://mimir:8080/prometheus/"))
    expression = "up%7Bbackend%3D%22web-v2%3Ahttp%22%7D+%3E+0"
    assert (request.method, request.path) == ("GET", f"/prometheus/api/v1/query?query={expression}&timeout=10s")
    assert query_request(check()).path.startswith("/api/v1/query?")
