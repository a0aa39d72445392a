"""What is measured in one network namespace."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Plan:
    """One measurement, as `python -m bench.scale.inside` gets it."""

    programs: str
    """Folder of the API server and etcd."""
    kopf: str
    """The program of kopf."""
    kanaries: int
    parts: list[str]
    seconds: float
    """How long to measure what takes any time."""
    changes: int
    """How many changes of weights memory is measured over."""
    stored: str
    """Folder of the Kanaries of an earlier run, or to store those of this one; empty for neither."""

    @property
    def is_stored(self) -> bool:
        """Whether an earlier run has stored its Kanaries."""
        return bool(self.stored) and Path(self.stored).exists()

    def to_json(self) -> str:
        """As an argument of a command."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError and TypeError."""
        return cls(**json.loads(text))
