"""What an answer to a write means."""

from typing import Any

import pytest

from kanary.kube.errors import ClusterError, InvalidResponse, Meaning, Unreachable, from_response, from_status

Json = dict[str, Any]

RETRIED = (301, 307, 401, 402, 408, 410, 425, 429, 500, 501, 502, 503, 504, 507, 599)
MEANINGS = {
    **dict.fromkeys((400, 403, 405, 413, 415, 422), Meaning.REJECTED),
    **dict.fromkeys((404, 409), Meaning.STALE),
    **dict.fromkeys(RETRIED, Meaning.RETRY),
}


@pytest.mark.parametrize(("code", "meaning"), MEANINGS.items())
def test_a_status_code_has_one_meaning(code: int, meaning: Meaning) -> None:
    assert from_status({}, code).meaning is meaning
    assert from_response(b"<html>", code, "any").meaning is meaning


@pytest.mark.parametrize("error", [Unreachable("reset"), InvalidResponse("text"), ClusterError("any")])
def test_a_write_without_an_answer_is_retried(error: ClusterError) -> None:
    assert error.meaning is Meaning.RETRY


def test_another_object_of_that_name_is_no_rejection() -> None:
    error = from_status({"message": 'Deployment "x" is invalid: metadata.uid: field is immutable'}, 422)
    assert error.meaning is Meaning.STALE


@pytest.mark.parametrize(
    ("details", "meaning"),
    [
        ({"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}, Meaning.ENDING),
        ({"causes": [{"reason": "FieldValueInvalid"}]}, Meaning.REJECTED),
        ({"causes": ["NamespaceTerminating", None]}, Meaning.REJECTED),
        ({"causes": "NamespaceTerminating"}, Meaning.REJECTED),
        ("NamespaceTerminating", Meaning.REJECTED),
    ],
)
def test_a_namespace_that_is_being_deleted_is_found_by_the_cause(details: Any, meaning: Meaning) -> None:
    assert from_status({"reason": "Forbidden", "details": details}, 403).meaning is meaning


@pytest.mark.parametrize("asked", ["61", "86400", str(10**30), "9" * 5000])
def test_no_server_delays_a_retry_for_more_than_a_minute(asked: str) -> None:
    assert from_status({}, 429, asked).retry_after == 60
    assert from_status({"details": {"retryAfterSeconds": asked}}, 503).retry_after == 60
