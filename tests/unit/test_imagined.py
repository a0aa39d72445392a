"""The cluster of `kanary plan` refuses what the API server or the operator would."""

from datetime import UTC, datetime
from typing import Any

import pytest

from engine.ports import RejectedError, RetryLaterError
from engine.render.objects import BUDGET, Identity, hashed, owned_object
from kanary.cli.imagined import ImaginedCluster, NoCluster
from kanary.kube.resources import CONFIG_MAPS, DEPLOYMENTS, PDBS, SERVICES, Resource

KINDS = [("v1", "ConfigMap"), ("apps/v1", "Deployment"), BUDGET, ("v1", "Service")]
RESOURCES: dict[str, Resource] = {each.kind: each for each in (CONFIG_MAPS, DEPLOYMENTS, PDBS, SERVICES)}
NEW, FORMER = Identity("shop", "rule", "new"), Identity("shop", "rule", "former")


def made(owner: Identity, kind: tuple[str, str]) -> dict[str, Any]:
    return hashed(owned_object(owner, *kind, "rule-haproxy"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("owner", "error", "text"),
    [
        (FORMER, RetryLaterError, "rule-haproxy of a deleted Kanary with this name is being deleted"),
        (Identity("shop", "other", "other"), RejectedError, "exists and does not belong to this Kanary"),
    ],
)
def test_an_object_of_another_owner_is_not_taken_over(
    kind: tuple[str, str], owner: Identity, error: type[Exception], text: str
) -> None:
    cluster = ImaginedCluster(NoCluster(), datetime(2026, 1, 1, tzinfo=UTC))
    found = made(owner, kind)
    cluster.put(RESOURCES[kind[1]], found)
    with pytest.raises(error, match=text):
        cluster.apply(made(NEW, kind))
    assert cluster.live(found) is found
