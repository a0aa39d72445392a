"""What a rollout checks over HTTP, beside the counters of its proxies: Prometheus queries and webhooks."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, NamedTuple, Self

from pydantic import Field

from engine.model.shape import Shape

MAX_CHECKS = 10
"""Maximum number of queries, and of webhooks, of one Kanary."""
PLACEHOLDERS = ("backend", "service", "port", "namespace", "kanary")
"""Words that a query may have in double braces; they stand for the canary."""

_HOST = r"^https?://([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
_URL = _HOST + r'(/[!"$-~]*)?$'
"""Stricter than RFC 3986: without a user, a fragment and anything that two parsers might read differently."""
_ADDRESS = _HOST + r'(/[!"$->@-~]*)?$'
"""A URL without a query."""
_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PORTS = range(1, 65_536)

CheckName = Annotated[str, Field(min_length=1, max_length=63, pattern=_NAME)]
Limit = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class WebhookEvent(StrEnum):
    """When a webhook is called."""

    BEFORE_STEP = "BeforeStep"
    AFTER_STEP = "AfterStep"
    RESULT = "Result"


class OnWebhookError(StrEnum):
    """What a webhook without a usable answer means."""

    HOLD = "Hold"
    IGNORE = "Ignore"
    FAIL = "Fail"


class WebhookTemplate(StrEnum):
    """The form of a webhook's body."""

    GENERIC = "Generic"
    SLACK = "Slack"


class PrometheusQuery(Shape):
    """A query whose value has limits."""

    name: CheckName = Field(description="Name of the query in messages.")
    address: Annotated[str, Field(max_length=1_024, pattern=_ADDRESS)] = Field(
        description="URL of the Prometheus server, such as http://prometheus:9090. The host is a Service of the "
        "Kanary's namespace, or one that the operator's KANARY_ALLOWED_HOSTS has."
    )
    query: Annotated[str, Field(min_length=1, max_length=2_000)] = Field(
        description="Expression with exactly one value. {{ backend }}, {{ service }}, {{ port }}, {{ namespace }} and "
        "{{ kanary }} are replaced by those of the canary."
    )
    max: Limit | None = Field(default=None, description="A higher value fails.")
    min: Limit | None = Field(default=None, description="A lower value fails.")
    interval_seconds: Annotated[int, Field(ge=5, le=3_600, strict=True)] = Field(
        default=30, description="Time between two evaluations."
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=60, strict=True)] = Field(
        default=10, description="Maximum time to connect and to receive the answer."
    )

    def text(self, values: Mapping[str, str]) -> str:
        """The expression with these values in place of its placeholders. Raises KeyError for an unknown one."""
        return _PLACEHOLDER.sub(lambda found: values[found[1].strip()], self.query)


class Webhook(Shape):
    """A receiver that is called before and after steps, and with the result, and may stop the rollout."""

    name: CheckName = Field(description="Name of the webhook in messages.")
    url: Annotated[str, Field(max_length=1_024, pattern=_URL)] = Field(
        description="URL of the receiver. The host is a Service of the Kanary's namespace, or one that the operator's "
        "KANARY_ALLOWED_HOSTS has."
    )
    # Not "on", which YAML reads as true.
    events: Annotated[tuple[WebhookEvent, ...], Field(min_length=1, max_length=len(WebhookEvent))] = Field(
        default=tuple(WebhookEvent), description="When it is called: BeforeStep, AfterStep, Result."
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=60, strict=True)] = Field(
        default=10, description="Maximum time to connect and to receive the answer."
    )
    retries: Annotated[int, Field(ge=0, le=10, strict=True)] = Field(
        default=3, description="Number of further attempts before onError applies."
    )
    on_error: OnWebhookError = Field(
        default=OnWebhookError.HOLD,
        description="What happens if the receiver gives no usable answer. Hold: the rollout waits, and the webhook is "
        "called once a minute. Ignore: the rollout continues. Fail: as if the receiver had refused.",
    )
    template: WebhookTemplate = Field(
        default=WebhookTemplate.GENERIC,
        description="Form of the body. Generic: all fields as JSON. Slack: a text for an incoming webhook of Slack.",
    )


EXPECTED: Mapping[str, str] = {
    "name": "lower-case letters, digits and '-', at most 63 characters",
    "address": "a URL such as http://prometheus:9090, without a user, a query and a fragment",
    "query": "an expression of 1 to 2000 characters",
    "max": "a number",
    "min": "a number",
    "intervalSeconds": "a whole number from 5 to 3600",
    "timeoutSeconds": "a whole number from 1 to 60",
    "url": "a URL such as http://gate:8080/check, without a user and a fragment",
    "events": f"a list of {', '.join(WebhookEvent)}",
    "retries": "a whole number from 0 to 10",
    "onError": f"one of {', '.join(OnWebhookError)}",
    "template": f"one of {', '.join(WebhookTemplate)}",
}
"""The valid values of each field, for messages."""


class HttpUrl(NamedTuple):
    """The parts of a URL."""

    scheme: str
    host: str
    """In lower case; an IPv6 address without brackets."""
    port: int
    path: str
    """With the query; at least `/`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        match = re.fullmatch(_URL, text)
        if not match:
            raise ValueError(f"must be {EXPECTED['url']}")
        scheme = text.partition(":")[0]
        port = int(match[3][1:]) if match[3] else {"http": 80, "https": 443}[scheme]
        if port not in _PORTS:
            raise ValueError(f"port {port} is not from 1 to 65535")
        return cls(scheme, match[1].strip("[]").lower(), port, match[4] or "/")

    @property
    def authority(self) -> str:
        """Host and port, such as `gate:8080`; for messages as well, since a path may contain a secret."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def query_problems(where: str, queries: Sequence[PrometheusQuery]) -> Iterator[str]:
    """What the schema cannot say. `where` is the path of the list, such as `spec.rollout.analysis.prometheus`."""
    yield from _duplicate_names(where, [query.name for query in queries])
    for index, query in enumerate(queries):
        path = f"{where}[{index}]"
        yield from _url_problem(f"{path}.address", query.address)
        if query.max is None and query.min is None:
            yield f"{path} has neither max nor min: add the limit of the value of query {query.name}"
        elif query.max is not None and query.min is not None and query.min > query.max:
            yield f"{path}.min is {query.min:g}, above max {query.max:g}: no value would pass; exchange them"
        for word in sorted({found.strip() for found in _PLACEHOLDER.findall(query.query)} - {*PLACEHOLDERS}):
            allowed = ", ".join(f"{{{{ {name} }}}}" for name in PLACEHOLDERS)
            yield f"{path}.query has the unknown placeholder {{{{ {word[:60]} }}}}: use {allowed}"


def webhook_problems(where: str, webhooks: Sequence[Webhook]) -> Iterator[str]:
    """What the schema cannot say. `where` is the path of the list, such as `spec.rollout.webhooks`."""
    yield from _duplicate_names(where, [webhook.name for webhook in webhooks])
    for index, webhook in enumerate(webhooks):
        yield from _url_problem(f"{where}[{index}].url", webhook.url)
        for event, count in Counter(webhook.events).items():
            if count > 1:
                yield f"{where}[{index}].events has {event} {count} times: name it once"


def _duplicate_names(where: str, names: Iterable[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f'{where} has {count} entries with the name "{name}": give each its own'


def _url_problem(where: str, url: str) -> Iterator[str]:
    try:
        HttpUrl.parse(url)
    except ValueError as error:
        yield f'{where} is "{url}": {error}'
