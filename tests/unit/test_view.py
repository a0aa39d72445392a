"""The engine's view of the cluster: requests that fail."""

from collections.abc import Callable
from typing import cast

import pytest

from engine.ports import RetryLaterError
from kanary.kube.client import ClusterClient
from kanary.kube.errors import Throttled
from kanary.operator.agents import Agents
from kanary.operator.signing import SigningKey
from kanary.operator.view import View
from kanary.operator.watches import Watches

KANARY = {"metadata": {"namespace": "shop", "name": "rule", "uid": "u-1", "generation": 1}}


class ThrottlingClient:
    """Every read fails with Retry-After: 7."""

    def get(self, *_: object) -> None:
        raise Throttled(429, "TooManyRequests", "slower", 7.0)

    list = get


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda view: view.is_stale(KANARY), id="the Kanary"),
        pytest.param(lambda view: view.adopted_by("shop", "u-1"), id="adopted Services"),
        pytest.param(lambda view: view.pod_templates("shop", "rule"), id="pod templates"),
        pytest.param(lambda view: view.pod_addresses("shop", frozenset({"a"})), id="addresses of pods"),
    ],
)
def test_a_read_that_is_throttled_is_repeated_when_the_api_server_says(read: Callable[[View], object]) -> None:
    client = cast(ClusterClient, ThrottlingClient())
    view = View(client, cast(Watches, None), cast(Agents, None), cast(SigningKey, None))
    with pytest.raises(RetryLaterError) as raised:
        read(view)
    assert raised.value.delay == 7
