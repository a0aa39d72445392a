"""What a reconcile observes of the Kanary of `kanaries.py`, as the engine's values."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from engine.fleet.fleet import Fleet
from engine.fleet.proxy import Proxy
from engine.memo import Memo
from engine.model.spec import Backend, KanarySpec
from engine.model.states import Applied, Endpoint, Endpoints, Intent, Split, Written, unpaused
from engine.model.status import KanaryStatus
from engine.observe import Defaults, Observed
from engine.plan import Target
from engine.render.slots import assign
from states import Action, UpdateStrategy
from tests.unit.kanaries import OWNER, Json, kanary, spec
from tests.unit.snapshots import NOW

DIGEST, OTHER = "a" * 24, "b" * 24
NEWER = "a" * 12 + "c" * 12
"""Splits connections as DIGEST does, among other pods."""
V1, V2 = Backend.parse("myapp-v1:http"), Backend.parse("myapp-v2:9090")
ENDPOINTS: Endpoints = {
    V1: (Endpoint("10.0.0.1", 8080, "v1-a"), Endpoint("10.0.0.2", 8080, "v1-b")),
    V2: (Endpoint("10.0.1.1", 9000),),
}


def applied(declared: KanarySpec | None = None, **changes: Any) -> Applied:
    """What was written of a spec for 80 to 20, as revision 1."""
    read = declared or spec()
    fields: dict[str, Any] = {
        "generation": 1,
        "revision": 1,
        "digest": DIGEST,
        "written_at": NOW,
        "strategy": UpdateStrategy.LIVE,
        "spec": read,
        "endpoints": {str(route.backend): ENDPOINTS.get(route.backend, ()) for route in read.all_routes},
        "slots": assign((), (), [str(route.backend) for route in read.all_routes]),
        "doors": assign((), (), [port.name for port in read.ports]),
    }
    return Applied(**(fields | changes))


def split(declared: KanarySpec | None = None, revision: int = 1, *, is_in_status: bool = True, **changes: Any) -> Split:
    """What is to be in force by a spec for 80 to 20."""
    read = declared or spec()
    read = unpaused(read) if read.paused else read
    endpoints = {route.backend: ENDPOINTS.get(route.backend, ()) for route in read.all_routes}
    return Split(
        **(
            {"spec": read, "generation": 1, "revision": revision, "endpoints": endpoints, "is_in_status": is_in_status}
            | changes
        )
    )


def observed(
    before: KanaryStatus | None = None,
    last: Applied | Written | None = None,
    *,
    now: datetime = NOW,
    generation: int = 1,
    proxies: Sequence[Proxy] = (),
    **changes: Any,
) -> Observed:
    """The Kanary with this status, of which this was written last."""
    obj = kanary()
    obj["metadata"] |= {"generation": generation, **changes.pop("metadata", {})}
    fields: dict[str, Any] = {
        "owner": OWNER,
        "kanary": obj,
        "stored": before or KanaryStatus(),
        "status": before or KanaryStatus(),
        "now": now,
        "defaults": Defaults("image:1"),
        "intent": Intent(generation, spec(), (), ENDPOINTS),
        "written": last if isinstance(last, Written) else Written(last),
        "fleet": Fleet(None, tuple(proxies), now),
        "destinations": {},
        "backends": {},
        "memo": Memo(),
    }
    return Observed(**(fields | changes))


def objects_of(target: Target, *actions: Action) -> list[Json]:
    """What the target's actions apply: these, or all."""
    return [each.rendered for action in actions or target.planned for each in target.planned[action]]
