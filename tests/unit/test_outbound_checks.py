"""Checks in the background, with real servers: what answers lead to, what is repeated, and what waits."""

import base64
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.checks import Check, CheckOutcome, CheckResult, QueryCheck, WebhookCheck
from engine.model.checks import HttpUrl, PrometheusQuery, Webhook
from engine.ports import RetryLaterError
from kanary.kube.backoff import Backoff
from kanary.kube.resources import Key
from kanary.outbound import checks as module
from kanary.outbound.checks import OutboundChecks
from kanary.outbound.peers import Peer, PeerError
from kanary.outbound.webhooks import public_key_text
from tests.unit.receiver import Behaviour, Receiver, hang, raw, receiving, reply
from tests.waiting import PATIENCE, await_that

PENDING, PASSED = CheckOutcome.PENDING, CheckOutcome.PASSED
FAILED, INCONCLUSIVE = CheckOutcome.FAILED, CheckOutcome.INCONCLUSIVE
NOW = datetime(2026, 11, 26, 12, 0, 0, 700_000, tzinfo=UTC)
PRIVATE = Ed25519PrivateKey.generate()
PUBLIC = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class Checks:
    """The checks of Kanaries in any namespace, whose URLs all lead to this host: the port is that of the URL."""

    def __init__(self) -> None:
        self.news: queue.SimpleQueue[Key] = queue.SimpleQueue()
        self.leads = True
        self.sign: Callable[[bytes], bytes | None] = PRIVATE.sign
        self.port = OutboundChecks(self.find, self._signed, self.news.put, now=lambda: NOW, may_run=lambda: self.leads)

    def _signed(self, content: bytes) -> bytes | None:
        return self.sign(content)

    def find(self, namespace: str, text: str) -> Peer:
        url = HttpUrl.parse(text)
        if url.host == "refused":
            raise PeerError("refused is not a Service of namespace shop")
        return Peer(url, ("127.0.0.1",), url.port)

    def results(self, *wanted: Check, namespace: str = "shop") -> Mapping[str, CheckResult]:
        return self.port.results(namespace, "web", wanted)

    def until(self, outcome: CheckOutcome, check: Check, namespace: str = "shop", text: str = "") -> CheckResult:
        """The result of a check, once it has this outcome and this text."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            result = self.results(check, namespace=namespace)[check.id]
            if result.outcome is outcome and text in result.message:
                return result
            time.sleep(0.01)
        raise AssertionError(f"{result} is not {outcome} with {text!r}")


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Checks]:
    monkeypatch.setattr(module, "_BACKOFF", Backoff(base=0.01, cap=0.02))
    monkeypatch.setattr(module, "HELD_WEBHOOK_PAUSE", timedelta(seconds=0.05))
    monkeypatch.setattr(module, "LEADERSHIP_RECHECK", timedelta(seconds=0.02))
    found = Checks()
    yield found
    found.port.stop()


def query(receiver: Receiver, name: str = "p99", host: str = "prometheus", **fields: Any) -> QueryCheck:
    declared = PrometheusQuery(name=name, address=f"http://{host}:{receiver.port}", query="x", max=0.5)
    return QueryCheck(f"id-{name}", declared.model_copy(update=fields), "up")


def webhook(receiver: Receiver, name: str = "gate", host: str = "gate", **fields: Any) -> WebhookCheck:
    declared = Webhook.model_validate({"name": name, "url": f"http://{host}:{receiver.port}/hook?a=b", **fields})
    return WebhookCheck(f"kanary_u-1_7_2_BeforeStep_{name}", declared, json.dumps({"kanary": "web"}))


def vector(value: str) -> Behaviour:
    result = [{"metric": {}, "value": [1, value]}]
    return reply(200, {"status": "success", "data": {"resultType": "vector", "result": result}})


# Queries


def test_a_new_check_is_pending_and_its_result_reconciles_the_kanary(checks: Checks) -> None:
    with receiving(vector("0.7")) as receiver:
        check = query(receiver)
        assert checks.results(check) == {"id-p99": CheckResult(PENDING)}
        assert checks.news.get(timeout=PATIENCE) == Key("shop", "web")
        assert checks.results(check) == {"id-p99": CheckResult(FAILED, "query p99: 0.7 is above max 0.5", NOW)}


def test_a_query_is_repeated_and_only_another_result_reconciles_the_kanary(checks: Checks) -> None:
    with receiving(vector("0.1"), vector("0.1"), vector("0.1"), vector("0.7")) as receiver:
        check = query(receiver, interval_seconds=0.02)
        checks.until(FAILED, check)
        assert len(receiver.requests) >= 4
        assert [checks.news.get(timeout=PATIENCE) for _ in range(2)] == [Key("shop", "web")] * 2
        assert checks.news.empty()


def test_a_query_without_an_answer_is_inconclusive_and_recovers(checks: Checks) -> None:
    with receiving(raw(b"nonsense")) as receiver:
        check = query(receiver, interval_seconds=0.01, timeout_seconds=0.2)
        for behaviour, text in (
            (raw(b"nonsense"), "did not answer with HTTP"),
            (hang, f"prometheus:{receiver.port} did not answer within 0.2 s"),
            (reply(500, b"x"), "answered 500"),
        ):
            receiver.behaviours = [behaviour]
            checks.until(INCONCLUSIVE, check, text=text)
        receiver.behaviours = [vector("0.1")]
        checks.until(PASSED, check, text="0.1 is within max 0.5")


def test_a_forbidden_address_is_inconclusive_and_nothing_is_sent(checks: Checks) -> None:
    with receiving(vector("0.1")) as receiver:
        result = checks.until(INCONCLUSIVE, query(receiver, host="refused"))
        assert result.message == "query p99: refused is not a Service of namespace shop"
        assert receiver.requests == []


# Which checks are wanted


def test_what_is_not_wanted_any_more_ends_and_is_forgotten(checks: Checks) -> None:
    with receiving(hang) as receiver:
        check = webhook(receiver)
        checks.results(check)
        await_that(lambda: receiver.open == 1)
        assert checks.results() == {}
        await_that(lambda: receiver.open == 0)
        assert checks.news.empty()
        receiver.behaviours = [reply(200)]
        assert checks.results(check)[check.id].outcome is PENDING
        checks.until(PASSED, check)


def test_a_check_whose_declaration_has_changed_starts_again(checks: Checks) -> None:
    with receiving(reply(200)) as receiver:
        wrong = webhook(receiver, host="refused", retries=0)
        checks.until(INCONCLUSIVE, wrong)
        checks.until(PASSED, webhook(receiver, retries=0))


def test_the_checks_of_another_kanary_are_not_touched(checks: Checks) -> None:
    with receiving(reply(200)) as receiver:
        check = webhook(receiver)
        checks.until(PASSED, check, "shop")
        checks.results(namespace="other")
        checks.until(PASSED, check, "shop")
        assert len(receiver.requests) == 1


def test_a_process_that_does_not_lead_sends_nothing(checks: Checks) -> None:
    checks.leads = False
    with receiving(reply(200)) as receiver:
        check = webhook(receiver)
        checks.results(check)
        time.sleep(0.2)
        assert receiver.requests == []
        checks.leads = True
        checks.until(PASSED, check)


def test_stopping_ends_everything_and_starts_nothing(checks: Checks) -> None:
    others = threading.enumerate()
    with receiving(hang) as receiver:
        checks.results(query(receiver), webhook(receiver))
        await_that(lambda: receiver.open == 2)
        checks.port.stop()
        await_that(lambda: receiver.open == 0)
        assert checks.results(query(receiver, "other"))["id-other"].outcome is PENDING
        assert not any(thread.name == "checks" for thread in threading.enumerate() if thread not in others)


def test_a_defect_is_inconclusive_and_stops_no_other_check(checks: Checks) -> None:
    with receiving(reply(200)) as receiver:
        checks.sign = lambda _content: 1 / 0  # type: ignore[assignment,return-value]
        checks.until(INCONCLUSIVE, webhook(receiver), text="the operator has a defect; see its log")
        checks.sign = PRIVATE.sign
        checks.until(PASSED, webhook(receiver, "other"))


# Webhooks


def test_a_webhook_is_called_once_with_a_signature_that_only_the_operator_can_make(checks: Checks) -> None:
    with receiving(reply(204)) as receiver:
        check = webhook(receiver)
        assert checks.until(PASSED, check).message == "webhook gate: answered 204"
        time.sleep(0.1)
        checks.until(PASSED, check)
        (request,) = receiver.requests
    assert (request.line, request.body) == ("POST /hook?a=b HTTP/1.1", b'{"kanary": "web"}')
    headers = request.headers
    assert headers["webhook-id"] == check.id
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    version, _, signature = headers["webhook-signature"].partition(",")
    key = public_key_text(PUBLIC)
    assert (version, key[:5]) == ("v1a", "whpk_")
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key[5:]))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode()
    public.verify(base64.b64decode(signature), signed + request.body)
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(signature), signed + request.body + b" ")


@pytest.mark.parametrize(
    ("behaviour", "outcome", "message"),
    [
        (reply(200), PASSED, "answered 200"),
        (reply(200, {"message": "all\n  fine"}), PASSED, "all fine"),
        (reply(202, b"nonsense"), PASSED, "answered 202"),
        (reply(403, {"message": "tests failed"}), FAILED, "refused: tests failed"),
        (reply(422, {"message": "x" * 1000}), FAILED, "refused: " + "x" * 200),
        (reply(409, {"message": "tests run"}), PENDING, "not now: tests run"),
        (reply(409), PENDING, "not now: no message"),
    ],
)
def test_an_answer_decides(checks: Checks, behaviour: Behaviour, outcome: CheckOutcome, message: str) -> None:
    with receiving(behaviour) as receiver:
        assert checks.until(outcome, webhook(receiver), text=":").message == f"webhook gate: {message}"
        assert len(receiver.requests) == 1


UNUSABLE: Sequence[tuple[Behaviour, str]] = [
    (reply(500, b"oops"), "answered 500"),
    (reply(503, {"message": "restarting"}), "answered 503: restarting"),
    (reply(403, b"<html>denied</html>"), 'answered 403 without a JSON object with a "message"'),
    (reply(403, {"message": ["no"]}), 'answered 403 without a JSON object with a "message"'),
    (reply(404, {"message": "Not Found"}), "answered 404: Not Found"),
    (reply(429), "answered 429"),
    (reply(302, Location="http://other/"), "answered 302: redirects are not followed; declare the URL of the receiver"),
    (raw(b"nonsense"), "did not answer with HTTP"),
    (reply(200, b"x" * 70_000), "has more than 65536 bytes"),
    (hang, "did not answer within 1 s"),
]


@pytest.mark.parametrize(("behaviour", "message"), UNUSABLE, ids=[message for _, message in UNUSABLE])
def test_no_usable_answer_is_retried_and_then_holds_the_rollout(
    checks: Checks, behaviour: Behaviour, message: str
) -> None:
    with receiving(behaviour) as receiver:
        check = webhook(receiver, retries=1, timeoutSeconds=1)
        result = checks.until(INCONCLUSIVE, check, text=message)
        assert result.message.endswith("(onError: Hold)")
        await_that(lambda: len(receiver.requests) >= 2)
        # It holds until there is an answer.
        receiver.behaviours = [reply(200)]
        checks.until(PASSED, check)


@pytest.mark.parametrize(("on_error", "outcome"), [("Ignore", PASSED), ("Fail", FAILED)])
def test_the_policy_for_errors_decides_after_the_retries(checks: Checks, on_error: str, outcome: CheckOutcome) -> None:
    with receiving(reply(500)) as receiver:
        check = webhook(receiver, retries=2, onError=on_error)
        result = checks.until(outcome, check)
        assert result.message == f"webhook gate: answered 500 (onError: {on_error})"
        time.sleep(0.1)
        assert len(receiver.requests) == 3


def test_all_attempts_have_the_same_id_so_that_receivers_can_drop_repetitions(checks: Checks) -> None:
    with receiving(reply(500), reply(409, Retry_After="1"), reply(200)) as receiver:
        checks.until(PASSED, webhook(receiver))
        assert len(receiver.requests) == 3
        assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def test_slack_is_notified_and_decides_nothing(checks: Checks) -> None:
    with receiving(reply(403, {"message": "invalid_token"})) as receiver:
        result = checks.until(INCONCLUSIVE, webhook(receiver, retries=0, template="Slack"))
        assert result.message == "webhook gate: answered 403: invalid_token (onError: Hold)"


@pytest.mark.parametrize("reason", ["no key", "no API server"])
def test_nothing_is_sent_without_a_signature(checks: Checks, reason: str) -> None:
    def sign(_content: bytes) -> bytes | None:
        if reason == "no API server":
            raise RetryLaterError("cannot read or create Secret: no answer")
        return None

    checks.sign = sign
    with receiving(reply(200)) as receiver:
        checks.until(INCONCLUSIVE, webhook(receiver, retries=0))
        assert receiver.requests == []


# Fairness


def test_receivers_that_hang_delay_their_own_namespace_only(checks: Checks) -> None:
    with receiving(hang) as bad, receiving(reply(200)) as good:
        hanging = [webhook(bad, f"bad-{number}", timeoutSeconds=60) for number in range(40)]
        checks.results(*hanging)
        await_that(lambda: bad.open == module._REQUESTS_OF_NAMESPACE)
        checks.until(PASSED, webhook(good), "other")
        assert bad.open == bad.most_open == module._REQUESTS_OF_NAMESPACE


def test_there_are_never_more_requests_than_allowed(checks: Checks) -> None:
    with receiving(hang) as receiver:
        for number in range(20):
            wanted = [webhook(receiver, f"gate-{each}", timeoutSeconds=60) for each in range(5)]
            checks.results(*wanted, namespace=f"ns-{number}")
        await_that(lambda: receiver.open == module._REQUESTS)
        time.sleep(0.2)
        assert receiver.most_open == module._REQUESTS
