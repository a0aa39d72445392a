"""Makes the checks of rollouts in the background. Reconciles use the latest results and wait for nothing."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from engine.checks import Check, CheckOutcome, CheckResult, QueryCheck, WebhookCheck
from engine.model.checks import OnWebhookError
from engine.ports import RetryLaterError
from kanary.kube.backoff import Backoff
from kanary.kube.resources import Key
from kanary.outbound.background import BackgroundLoop, in_thread
from kanary.outbound.concurrency import Concurrency
from kanary.outbound.exchange import ExchangeError, exchange
from kanary.outbound.peers import Peer, PeerError
from kanary.outbound.queries import judge_query, query_request
from kanary.outbound.webhooks import Reply, ReplyKind, read_reply, signed_content, webhook_request
from states.texts import harmless
from states.timing import HELD_WEBHOOK_PAUSE, LEADERSHIP_RECHECK

_log = logging.getLogger(__name__)

_REQUESTS = 64
_REQUESTS_OF_NAMESPACE = 4
_BACKOFF = Backoff(base=1.0, cap=30.0)
_OUTCOMES = {
    ReplyKind.CONTINUE: CheckOutcome.PASSED,
    ReplyKind.REFUSED: CheckOutcome.FAILED,
    ReplyKind.NOT_NOW: CheckOutcome.PENDING,
}
_ON_ERROR = {
    OnWebhookError.HOLD: CheckOutcome.INCONCLUSIVE,
    OnWebhookError.IGNORE: CheckOutcome.PASSED,
    OnWebhookError.FAIL: CheckOutcome.FAILED,
}


@dataclass(slots=True)
class _Running:
    """A check that a Kanary needs."""

    check: Check
    result: CheckResult
    task: asyncio.Task[None] | None = None
    """None until the event loop has started it."""


class OutboundChecks:
    """Implements `engine.ports.Checks`. One thread with one event loop makes all checks; it starts with the first one.

    `find` returns the peer of a URL that a Kanary of a namespace declares, and raises PeerError. `sign`
    returns None if there is no usable key, and raises RetryLaterError. Both may block. `on_news` is called, in another
    thread, with the key of a Kanary when a result differs from the one before. `may_run` returns whether this process
    is the leader.
    """

    def __init__(
        self,
        find: Callable[[str, str], Peer],
        sign: Callable[[bytes], bytes | None],
        on_news: Callable[[Key], None],
        *,
        now: Callable[[], datetime],
        may_run: Callable[[], bool],
    ) -> None:
        self._find = find
        self._sign = sign
        self._on_news = on_news
        self._now = now
        self._may_run = may_run
        self._lock = threading.Lock()
        self._kanaries: dict[Key, dict[str, _Running]] = {}
        self._loop = BackgroundLoop("checks")
        self._concurrency = Concurrency(_REQUESTS, _REQUESTS_OF_NAMESPACE)

    def results(
        self, namespace: str, name: str, needed: Sequence[Check], *, are_all: bool = True
    ) -> Mapping[str, CheckResult]:
        """The latest result of each of these checks, by its id. If they are all, other checks of the Kanary end."""
        key = Key(namespace, name)
        with self._lock:
            former = self._kanaries.pop(key, {})
            present = {} if are_all else dict(former)
            present |= {check.id: self._kept(former, check) for check in needed}
            if present:
                self._kanaries[key] = present
            results = {check.id: present[check.id].result for check in needed}
            new = [running for check_id, running in present.items() if former.get(check_id) is not running]
            ended = [running for check_id, running in former.items() if present.get(check_id) is not running]
        if new or ended:
            self._loop.start()
            self._loop.run(partial(self._change, key, new, ended))
        return results

    def stop(self) -> None:
        """End all checks."""
        self._loop.stop()

    def _kept(self, former: Mapping[str, _Running], check: Check) -> _Running:
        known = former.get(check.id)
        return known if known and known.check == check else _Running(check, CheckResult(CheckOutcome.PENDING))

    def _change(self, key: Key, new: Sequence[_Running], ended: Sequence[_Running]) -> None:
        for running in ended:
            if running.task:
                running.task.cancel()
        for running in new:
            running.task = asyncio.get_running_loop().create_task(self._make(key, running))

    async def _make(self, key: Key, running: _Running) -> None:
        try:
            if isinstance(running.check, QueryCheck):
                await self._make_query(key, running, running.check)
            else:
                await self._make_webhook(key, running, running.check)
        except Exception:  # a defect must not end the others, and a check without a result holds its rollout
            _log.exception("%s: check %s failed", key, running.check.id)
            self._publish(key, running, CheckOutcome.INCONCLUSIVE, "the operator has a defect; see its log")

    async def _make_query(self, key: Key, running: _Running, check: QueryCheck) -> None:
        while True:
            try:
                outcome, message = await self._evaluate(key, check)
            except (PeerError, ExchangeError) as error:
                outcome, message = CheckOutcome.INCONCLUSIVE, str(error)
            self._publish(key, running, outcome, f"query {check.query.name}: {message}")
            await asyncio.sleep(check.query.interval_seconds)

    async def _evaluate(self, key: Key, check: QueryCheck) -> tuple[CheckOutcome, str]:
        async with self._concurrency.slot(key.namespace):
            await self._wait_for_leadership()
            peer = await in_thread(lambda: self._find(key.namespace, check.query.address))
            limit = timedelta(seconds=check.query.timeout_seconds)
            return judge_query(check, await exchange(peer, query_request(check), limit))

    async def _make_webhook(self, key: Key, running: _Running, check: WebhookCheck) -> None:
        webhook, failures = check.webhook, 0
        while True:
            try:
                reply = await self._call(key, check)
            except (PeerError, ExchangeError, RetryLaterError) as error:
                reply = Reply(ReplyKind.ERROR, str(error))
            failures = failures + 1 if reply.kind is ReplyKind.ERROR else 0
            message, pause = f"webhook {webhook.name}: {reply.message}", reply.pause.total_seconds()
            if reply.kind is not ReplyKind.ERROR:
                outcome = _OUTCOMES[reply.kind]
            elif failures <= webhook.retries:
                outcome, pause = CheckOutcome.PENDING, _BACKOFF.delay(failures)
            else:
                outcome, pause = _ON_ERROR[webhook.on_error], HELD_WEBHOOK_PAUSE.total_seconds()
                message = f"{message} (onError: {webhook.on_error})"
            self._publish(key, running, outcome, message)
            if outcome in (CheckOutcome.PASSED, CheckOutcome.FAILED):
                return
            await asyncio.sleep(pause)

    async def _call(self, key: Key, check: WebhookCheck) -> Reply:
        async with self._concurrency.slot(key.namespace):
            await self._wait_for_leadership()
            peer = await in_thread(lambda: self._find(key.namespace, check.webhook.url))
            now = self._now()
            signature = await in_thread(lambda: self._sign(signed_content(check, now)))
            if signature is None:
                raise ExchangeError("cannot be signed: the operator has no usable signing key; its /readyz says why")
            limit = timedelta(seconds=check.webhook.timeout_seconds)
            return read_reply(check, await exchange(peer, webhook_request(check, now, signature), limit))

    async def _wait_for_leadership(self) -> None:
        while not self._may_run():
            await asyncio.sleep(LEADERSHIP_RECHECK.total_seconds())

    def _publish(self, key: Key, running: _Running, outcome: CheckOutcome, message: str) -> None:
        message = harmless(message)
        result = CheckResult(outcome, message, self._now())
        with self._lock:
            if self._kanaries.get(key, {}).get(running.check.id) is not running:
                return
            is_news = (running.result.outcome, running.result.message) != (outcome, message)
            running.result = result
        if is_news:
            self._on_news(key)
