"""What the proxies were last given: kept beside their configuration, so that the last good state survives anything."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from engine.model.api import KanarySpec, spec_json
from engine.render.haproxy import TOTAL_WEIGHT, Server
from engine.resolve.endpoints import Endpoint
from states import UpdateStrategy

CONFIG_KEY = "haproxy.cfg"
ACCEPTED_KEY = "accepted.cfg"
RECORD_KEY = "served.json"
MAX_SERIAL = 2**53
"""More than there will ever be, and the most that JSON tells exactly."""


@dataclass(frozen=True, slots=True)
class Record:
    """The spec that was rendered, the endpoints of each of its routes, and what came of it."""

    spec: KanarySpec
    endpoints: tuple[tuple[Endpoint, ...], ...]
    revision: int
    digest: str
    written_at: datetime
    strategy: UpdateStrategy = UpdateStrategy.ROLLING
    """How the proxies come by it: as the spec says, or Rolling where they did not take it as they ran."""
    serial: int = 0
    """Counts what proxies were given to take as they run."""
    ipv6: bool = False
    """The proxies were seen to be reached over IPv6. That stays so while none of them is there to be seen."""

    def to_json(self) -> str:
        """The record as the ConfigMap holds it."""
        endpoints = [[[e.address, e.port, e.pod] for e in route] for route in self.endpoints]
        return json.dumps(
            {
                "revision": self.revision,
                "digest": self.digest,
                "writtenAt": self.written_at.isoformat(),
                "strategy": self.strategy.value,
                "serial": self.serial,
                "ipv6": self.ipv6,
                "spec": spec_json(self.spec),
                "endpoints": endpoints,
            },
            separators=(",", ":"),
        )


@dataclass(frozen=True, slots=True)
class Texts:
    """The configurations in the ConfigMap: the latest, and one that a proxy was seen to serve before that."""

    latest: str = ""
    accepted: str = ""


def read_texts(config_map: Mapping[str, Any] | None) -> Texts:
    """The configurations in a ConfigMap, each empty where there is none."""
    data = (config_map or {}).get("data") or {}
    return Texts(data.get(CONFIG_KEY) or "", data.get(ACCEPTED_KEY) or "")


def read_record(config_map: Mapping[str, Any] | None) -> Record | None:
    """The record in a ConfigMap; None where there is none or somebody spoilt it, and then all is rendered anew."""
    text = ((config_map or {}).get("data") or {}).get(RECORD_KEY) or ""
    try:
        return _record(json.loads(text))
    except (TypeError, KeyError, ValueError, ValidationError, OverflowError, RecursionError):
        return None


def _record(raw: Any) -> Record:
    """Raises whatever there is to raise about something that is no record, or that no proxy could serve."""
    record = Record(
        spec=KanarySpec.model_validate(raw["spec"]),
        endpoints=tuple(tuple(_endpoint(*fields) for fields in route) for route in raw["endpoints"]),
        revision=int(raw["revision"]),
        digest=str(raw["digest"]),
        written_at=datetime.fromisoformat(raw["writtenAt"]),
        # A record from before there was a choice.
        strategy=UpdateStrategy(raw.get("strategy", UpdateStrategy.ROLLING)),
        serial=int(raw.get("serial", 0)),
        ipv6=raw.get("ipv6", False) is True,
    )
    if sum(weight for _, weight in record.spec.weights) != TOTAL_WEIGHT:
        raise ValueError(f"the weights do not sum to {TOTAL_WEIGHT}")
    if len(record.endpoints) != len(record.spec.routes):
        raise ValueError(f"endpoints of {len(record.endpoints)} routes for a spec of {len(record.spec.routes)}")
    if record.serial not in range(MAX_SERIAL):
        raise ValueError(f"serial {record.serial} is out of range")
    if record.written_at.tzinfo is None:
        raise ValueError("writtenAt has no time zone")
    return record


def _endpoint(address: object, port: object, pod: object) -> Endpoint:
    if not (isinstance(address, str) and isinstance(port, int) and isinstance(pod, str)):
        raise TypeError("an endpoint is an address, a port and the name of a pod")
    Server(address, port)
    return Endpoint(address, port, pod)
