"""Calls webhooks: the signed request, by the convention of Standard Webhooks, and what an answer says.

https://github.com/standard-webhooks/standard-webhooks has the convention. The signature is asymmetric (`v1a`), so that
the operator reads no Secret of a user, and a receiver cannot sign for others.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from engine.checks import WebhookCheck
from engine.model.checks import HttpUrl, WebhookTemplate
from kanary.outbound.exchange import Answer, HttpRequest
from states.timing import NOT_NOW_LIMIT, NOT_NOW_PAUSE

PUBLIC_KEY_PREFIX = "whpk_"

_DER_OF_ED25519 = bytes.fromhex("302a300506032b6570032100")
"""What precedes the 32 bytes of a key in its SubjectPublicKeyInfo (RFC 8410)."""
_CONFLICT = 409
_ERRORS = frozenset({401, 404, 405, 407, 408, 413, 415, 421, 429})
"""Statuses with which servers and gateways say that the request did not reach a receiver that could decide."""
_SHOWN = 200
"""Number of characters of a receiver's message that ours has."""


class ReplyKind(Enum):
    """What a receiver says."""

    CONTINUE = auto()
    REFUSED = auto()
    NOT_NOW = auto()
    """The receiver has not decided yet."""
    ERROR = auto()
    """Not an answer of a receiver."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of a receiver."""

    kind: ReplyKind
    message: str
    pause: timedelta = NOT_NOW_PAUSE
    """Time until the receiver is called again if it has not decided."""


def signed_content(check: WebhookCheck, at: datetime) -> bytes:
    """What the signature is for."""
    return f"{check.id}.{int(at.timestamp())}.{check.body}".encode()


def webhook_request(check: WebhookCheck, at: datetime, signature: bytes) -> HttpRequest:
    """The request with the signature of `signed_content`."""
    headers = {
        "Content-Type": "application/json",
        "webhook-id": check.id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": f"v1a,{base64.b64encode(signature).decode()}",
    }
    return HttpRequest("POST", HttpUrl.parse(check.webhook.url).path, headers, check.body.encode())


def read_reply(check: WebhookCheck, answer: Answer) -> Reply:
    """What the answer says. A refusal needs a message: a gateway's error page must not send a rollout back."""
    status, message = answer.status, _message(answer.body)
    if status in range(200, 300):
        return Reply(ReplyKind.CONTINUE, message or f"answered {status}")
    if status in range(300, 400):
        return Reply(ReplyKind.ERROR, f"answered {status}: redirects are not followed; declare the URL of the receiver")
    if status not in range(400, 500) or status in _ERRORS or check.webhook.template is WebhookTemplate.SLACK:
        return Reply(ReplyKind.ERROR, f"answered {status}{f': {message}' if message else ''}")
    if status == _CONFLICT:
        return Reply(ReplyKind.NOT_NOW, f"not now: {message or 'no message'}", _pause(answer.headers))
    if not message:
        return Reply(ReplyKind.ERROR, f'answered {status} without a JSON object with a "message"')
    return Reply(ReplyKind.REFUSED, f"refused: {message}")


def public_key_text(pem: str) -> str:
    """A public key, given as PEM, as `whpk_...`. Raises ValueError if it is not an Ed25519 key."""
    lines = [line for line in pem.splitlines() if line and not line.startswith("-----")]
    der = base64.b64decode("".join(lines), validate=True)
    if not der.startswith(_DER_OF_ED25519):
        raise ValueError("not an Ed25519 key")
    return PUBLIC_KEY_PREFIX + base64.b64encode(der.removeprefix(_DER_OF_ED25519)).decode()


def _message(body: bytes) -> str:
    """The message of the answer, in one line; empty if there is none."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    message = content.get("message") if isinstance(content, Mapping) else None
    return " ".join(message.split())[:_SHOWN] if isinstance(message, str) else ""


def _pause(headers: Mapping[str, str]) -> timedelta:
    """The time of the header Retry-After, if it has one in seconds, within reason."""
    text = headers.get("retry-after", "").strip()
    if not (text.isascii() and text.isdigit()):
        return NOT_NOW_PAUSE
    return min(max(timedelta(seconds=int(text[:6])), timedelta(seconds=1)), NOT_NOW_LIMIT)
