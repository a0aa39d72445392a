"""A rollout by steps as text, for `kanary get`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from engine.fleet.tally import RouteTally
from engine.model.course import RolloutStatus
from kanary.cli.output import routes_text
from kanary.cli.text import one_line, write_table
from kanary.cli.times import local_text
from states.rollouts import RolloutState


def write_rollout(rollout: RolloutStatus, shown: str, stream: TextIO) -> None:
    """Write the rollout that is under way, or how the last one ended; nothing if there has been none.

    `shown` is the message of the Kanary, which is not repeated.
    """
    if not rollout.number:
        return
    stream.write("\n")
    stream.writelines(f"{one_line(line)}\n" for line in _lines(rollout, shown))
    evidence = rollout.evidence[-1] if rollout.evidence else None
    if rollout.state is RolloutState.COMPLETED or evidence is None or evidence.step != rollout.step:
        return
    routes = evidence.tally.routes.items()
    rows = [[rollout.place, backend, str(tally.weight), *_counts(tally)] for backend, tally in routes]
    write_table(["STEP", "BACKEND", "WEIGHT", "CONNECTIONS", "FAILED"], [rows], stream)


def _lines(rollout: RolloutStatus, shown: str) -> Iterator[str]:
    since = f" since {local_text(rollout.since)}" if rollout.since else ""
    until = f"; the time of the step ends at {local_text(rollout.until)}" if rollout.until else ""
    yield f"Rollout {rollout.number}, step {rollout.place}: {rollout.state} ({rollout.reason}){since}{until}"
    if rollout.message not in shown:
        yield rollout.message
    if rollout.verdict and rollout.verdict not in f"{shown} {rollout.message}":
        yield f"Last verdict: {rollout.verdict}"
    if rollout.state is RolloutState.COMPLETED:
        return
    yield f"Last good weights: {routes_text(rollout.good)}"
    left_out = rollout.evidence[-1].tally.left_out if rollout.evidence else 0
    if left_out:
        yield f"{left_out} connections of this step do not count: they were not split by its weights"


def _counts(tally: RouteTally) -> tuple[str, str]:
    share = f" ({100 * tally.failed / tally.connections:.2f} %)" if tally.failed and tally.connections else ""
    return str(tally.connections), f"{tally.failed}{share}"
