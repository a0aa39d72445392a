"""A rollout by steps as text, for `kanary get`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from engine.model.course import RolloutStatus
from kanary.cli.output import routes_text
from kanary.cli.times import age_text, at_text, since_text
from states.rollouts import RolloutState


def title(rollout: RolloutStatus, now: datetime) -> str:
    """Its step and state."""
    since = f" {since_text(rollout.since, now)}" if rollout.since else ""
    return f"Rollout {rollout.number}, step {rollout.place}: {rollout.state} ({rollout.reason}){since}"


def details(rollout: RolloutStatus, shown: str, now: datetime) -> Iterator[str]:
    """What else to say about it, line by line. `shown` is the message of the Kanary, which is not repeated."""
    if rollout.message not in shown:
        yield rollout.message
    if rollout.open_verdict and rollout.open_verdict not in f"{shown} {rollout.message}":
        yield f"Last verdict: {rollout.open_verdict}"
    if rollout.state is RolloutState.COMPLETED:
        return
    if rollout.until:
        when = "now" if rollout.until <= now else f"in {age_text(now, rollout.until)}"
        then = f"; then: {rollout.then}" if rollout.then else ""
        yield f"Until {at_text(rollout.until, now)} at the latest ({when}){then}"
    yield f"Last good weights: {routes_text(rollout.good)}"
    left_out = rollout.evidence[-1].tally.left_out if rollout.evidence else 0
    if left_out:
        yield f"{left_out} connections of this step do not count: they were not split by its weights"


EVIDENCE = ("WEIGHT", "CONNECTIONS", "FAILED")
"""The headings of `evidence`, after the backend."""


def evidence(rollout: RolloutStatus) -> list[list[str]]:
    """What the proxies have counted in this step, by backend; empty if nothing or if the rollout is complete."""
    last = rollout.evidence[-1] if rollout.evidence else None
    if rollout.state is RolloutState.COMPLETED or last is None or last.step != rollout.step:
        return []
    rows = []
    for backend, tally in last.tally.routes.items():
        share = f" ({100 * tally.failed / tally.connections:.2f} %)" if tally.failed and tally.connections else ""
        rows.append([backend, str(tally.weight), str(tally.connections), f"{tally.failed}{share}"])
    return rows
