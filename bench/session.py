"""The context of all figures: the lab, the peers that can run here, and how much to measure."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from bench.lab import POD_PORT, Lab, Service
from bench.mixes import HUNDRED, TEN, TWO, Mix
from bench.peers import Peer, UnavailableError

Sample = TypeVar("Sample")
Who = TypeVar("Who")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much to measure. The whole run is bounded by these."""

    load_mixes: tuple[Mix, ...]
    load_rounds: int
    load_rounds_more: int
    """Further rounds of the candidates between which some percent matter."""
    load_rounds_at_once: int
    """Rounds of the candidates that are under load at the same time."""
    load_seconds: int
    stream_rounds: int
    stream_seconds: int
    pace_rounds: int
    pace_seconds: float
    split_connections: int
    changes: int
    held_rounds: int
    held_connections: int
    start_rounds: int
    pod_counts: tuple[int, ...]
    check_seconds: float


FULL = Scale(
    load_mixes=(TWO, TEN, HUNDRED),
    load_rounds=6,
    load_rounds_more=12,
    load_rounds_at_once=120,
    load_seconds=1,
    stream_rounds=3,
    stream_seconds=1,
    pace_rounds=9,
    pace_seconds=1,
    split_connections=10_000,
    changes=1_000,
    held_rounds=3,
    held_connections=2_000,
    start_rounds=5,
    pod_counts=(10, 100, 1_000, 5_000),
    check_seconds=4,
)
QUICK = Scale(
    load_mixes=(TEN,),
    load_rounds=1,
    load_rounds_more=1,
    load_rounds_at_once=2,
    load_seconds=1,
    stream_rounds=1,
    stream_seconds=1,
    pace_rounds=1,
    pace_seconds=0.5,
    split_connections=200,
    changes=10,
    held_rounds=1,
    held_connections=200,
    start_rounds=1,
    pod_counts=(10, 100),
    check_seconds=0.5,
)


@dataclass(slots=True)
class Session:
    """One run. `missing` has the reason for each peer that cannot run here."""

    lab: Lab
    scale: Scale
    missing: dict[str, str] = field(default_factory=dict)

    def probe(self, peers: Sequence[Peer]) -> None:
        """Detect which peers can run."""
        for peer in peers:
            try:
                with peer.serve(self.lab, TWO):
                    pass
            except UnavailableError as error:
                self.missing[peer.name] = str(error)
                say(f"{peer.name}: not available here: {error}")

    def available(self, peers: Sequence[Peer]) -> list[Peer]:
        """Those of the peers that can run here."""
        return [peer for peer in peers if peer.name not in self.missing]

    def rows_of_missing(self, peers: Sequence[Peer], columns: int) -> list[list[str]]:
        """A row for each peer that cannot run here, with the reason in its first column after the name."""
        missing = [peer for peer in peers if peer.name in self.missing]
        return [[p.name, f"not available here: {self.missing[p.name]}", *[""] * (columns - 2)] for p in missing]

    @contextlib.contextmanager
    def serving(self, peers: Sequence[Peer], mix: Mix, pod_port: int = POD_PORT) -> Iterator[dict[str, Service]]:
        """All those peers that can run here, side by side, by name. The idle ones cost their health checks."""
        with contextlib.ExitStack() as stack:
            yield {
                peer.name: stack.enter_context(peer.serve(self.lab, mix, pod_port)) for peer in self.available(peers)
            }


def in_turns(whose: Sequence[Who], rounds: int, sample: Callable[[Who], Sample]) -> dict[Who, list[Sample]]:
    """A sample of each in every round, in a random order, so that no candidate always follows the same one."""
    found: dict[Who, list[Sample]] = {who: [] for who in whose}
    for number in range(rounds):
        order = list(whose)
        random.Random(number).shuffle(order)
        for who in order:
            found[who].append(sample(who))
    return found


def say(text: str) -> None:
    """Print the progress."""
    print(f"== {time.strftime('%T')}  {text}", file=sys.stderr, flush=True)
