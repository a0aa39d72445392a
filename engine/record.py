"""What the proxies were last given: kept beside their configuration, so that the last good state survives anything."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from engine.api import KanarySpec, spec_json
from engine.endpoints import Endpoint

CONFIG_KEY = "haproxy.cfg"
RECORD_KEY = "served.json"


@dataclass(frozen=True, slots=True)
class Record:
    """The spec that was rendered, the endpoints of each of its routes, and what came of it."""

    spec: KanarySpec
    endpoints: tuple[tuple[Endpoint, ...], ...]
    revision: int
    digest: str
    written_at: datetime

    def to_json(self) -> str:
        """The record as the ConfigMap holds it."""
        endpoints = [[[e.address, e.port, e.pod] for e in route] for route in self.endpoints]
        return json.dumps(
            {
                "revision": self.revision,
                "digest": self.digest,
                "writtenAt": self.written_at.isoformat(),
                "spec": spec_json(self.spec),
                "endpoints": endpoints,
            },
            separators=(",", ":"),
        )


def read_record(config_map: Mapping[str, Any] | None) -> Record | None:
    """The record in a ConfigMap; None where there is none or somebody spoilt it, and then all is rendered anew."""
    text = ((config_map or {}).get("data") or {}).get(RECORD_KEY) or ""
    try:
        raw = json.loads(text)
        return Record(
            spec=KanarySpec.model_validate(raw["spec"]),
            endpoints=tuple(tuple(Endpoint(*fields) for fields in route) for route in raw["endpoints"]),
            revision=int(raw["revision"]),
            digest=str(raw["digest"]),
            written_at=datetime.fromisoformat(raw["writtenAt"]),
        )
    except (TypeError, KeyError, ValueError, ValidationError):
        return None
