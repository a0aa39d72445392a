"""The steps of a rollout, and the evidence about its canaries."""

from __future__ import annotations

import re
from typing import Any

import pytest

from engine.evidence import judgement_of
from engine.model.course import RolloutStatus
from engine.model.rollout import RolloutSpec
from kanary.dashboard.evidence import Growth, chart, steps_of
from tests.dashboard.stage import GOAL, GOOD, STEPS, V2, rollout, tally
from tests.unit.kanaries import route

Json = dict[str, Any]

PLAN = RolloutSpec.model_validate({"steps": STEPS})
ONE = tally(1, 1, canary=(301, 0), others=(29_799, 4))
TWO = tally(2, 10, canary=(2_400, 3), others=(21_600, 5))
THREE = tally(3, 50, canary=(5_000, 2), others=(5_000, 1))
FOUR = tally(4, 100, canary=(9_000, 6), others=(0, 0))
RETURNED = {"state": "Completed", "reason": "RolloutCompleted", "rule": "last_good_weights_are_declared"}


def status(**changes: Any) -> RolloutStatus:
    return RolloutStatus.model_validate(rollout(**changes))


def completed(**changes: Any) -> RolloutStatus:
    """A rollout after its last step."""
    end: Json = {"state": "Completed", "reason": "RolloutCompleted", "step": 4, "to": 100, "good": GOAL}
    return status(**end | {"rule": "last_step_has_passed", "evidence": [ONE, TWO, THREE, FOUR]} | changes)


def states(found: RolloutStatus) -> list[str]:
    return [row.state for row in steps_of(found, PLAN)]


def counts(found: RolloutStatus) -> list[tuple[int | None, ...]]:
    return [(row.connections, row.failed, row.others, row.others_failed) for row in steps_of(found, PLAN)]


# Steps


def test_a_completed_rollout_keeps_the_counts_of_its_canary() -> None:
    assert counts(completed()) == [(301, 0, 29_799, 4), (2_400, 3, 21_600, 5), (5_000, 2, 5_000, 1), (9_000, 6, 0, 0)]
    assert counts(completed()) == counts(completed(state="Watching", good=GOOD))


def test_a_rollout_that_ended_without_a_known_canary_shows_no_counts() -> None:
    nothing = [(None,) * 4] * 4
    assert counts(completed(start=GOAL)) == nothing
    # Back from half of the way of another rollout: the weight of the good version has risen.
    half = [route("myapp-v1", 50), route("myapp-v2", 50, 9090)]
    assert counts(status(start=half, goal=GOOD, **RETURNED)) == nothing


def test_steps_have_passed_up_to_the_present_one() -> None:
    assert states(status()) == ["passed", "present", "next", "next"]
    assert states(completed()) == ["passed"] * 4


def test_a_return_to_the_last_good_weights_passes_no_step() -> None:
    assert states(status(goal=GOOD, **RETURNED)) == ["passed", "ended", "not reached", "not reached"]


@pytest.mark.parametrize("evidence", [[ONE], [ONE, FOUR], []])
def test_steps_that_a_promotion_has_passed_over_are_skipped(evidence: list[Json]) -> None:
    first = "passed" if evidence else "skipped"
    at_last: Json = {"step": 4, "to": 100, "evidence": evidence}
    assert states(status(**at_last)) == [first, "skipped", "skipped", "present"]
    assert states(completed(**at_last)) == [first, "skipped", "skipped", "passed"]


def test_steps_whose_counts_were_deleted_have_passed() -> None:
    assert states(completed(evidence=[THREE, FOUR])) == ["passed"] * 4


BACK = "rolled back to myapp-v1:http=100: "


@pytest.mark.parametrize(
    ("state", "reason", "message", "shown"),
    [
        ("RollingBack", "VerdictFailed", "", "failed"),
        ("RollingBack", "RolledBack", f"{BACK}step 2/4 failed: 30 of 31 failed connections", "failed"),
        ("RolledBack", "RolledBack", f"{BACK}step 2/4 failed: no pod of {V2} is usable", "failed"),
        ("RollingBack", "Aborted", f"{BACK}aborted in step 2/4, by jo", "ended"),
        ("RolledBack", "RolledBack", f"{BACK}aborted in step 2/4, by jo: it failed: badly", "ended"),
        ("RolledBack", "RolledBack", f"{BACK}step 2/4 is inconclusive after 1h: 3 of 9 failed; more needed", "ended"),
        ("RolledBack", "Of another version", "", "ended"),
    ],
)
def test_only_a_step_that_failed_is_called_failed(state: str, reason: str, message: str, shown: str) -> None:
    found = status(state=state, reason=reason, message=message)
    assert states(found) == ["passed", shown, "not reached", "not reached"]


# Evidence


class Chart:
    """The chart of a page that sees one status after the other."""

    def __init__(self) -> None:
        self._growth = Growth()

    def after(self, *seen: RolloutStatus, plan: RolloutSpec = PLAN) -> list[tuple[int, float]]:
        """The points, of which the last one has the circle."""
        for each in seen:
            found = self._growth.evidence("uid", each, plan)
        points = self._growth.points(found[0])
        picture = str(chart(found[0], points))
        last = re.findall(r"[\d.]+", re.findall(r' d="(M[^"]*L[^"]*)"', picture)[-1])[-2:]
        circle = re.search(r"<circle[^>]*>", picture)
        assert circle
        place = [re.findall(rf' {name}="([\d.]+)"', circle[0])[0] for name in ("cx", "cy")]
        assert [float(each) for each in place] == pytest.approx([float(each) for each in last], abs=0.1)
        assert points[-1] == (found[0].connections, found[0].level)
        return points


def second(connections: int, failed: int, others_failed: int = 5) -> RolloutStatus:
    """In the second step, with so many connections to the canary."""
    return status(evidence=[ONE, tally(2, 10, canary=(connections, failed), others=(21_600, others_failed))])


def test_evidence_that_falls_moves_the_present_point_down() -> None:
    points = Chart().after(second(2_400, 14), second(2_400, 14, 60))
    assert [connections for connections, _ in points] == [0, 301, 2_701, 2_701]
    assert points[-1][1] < points[-2][1]


def test_points_of_a_step_are_before_its_end_and_those_of_the_next_one() -> None:
    third = status(step=3, to=50, evidence=[ONE, TWO, THREE])
    assert [each for each, _ in Chart().after(second(900, 9), second(1_500, 9), third)] == [
        0,
        301,
        1_201,
        1_801,
        2_701,
        7_701,
    ]


def test_a_promotion_over_a_failed_verdict_begins_another_line() -> None:
    failed = second(2_400, 60)
    assert judgement_of(failed, PLAN.analysis, 4).verdict == "Failed"
    third = status(step=3, to=50, judgedFrom=3, evidence=[ONE, TWO, THREE])
    assert Chart().after(failed, third) == Chart().after(third)
    assert [connections for connections, _ in Chart().after(failed, third)] == [0, 5_000]


def test_other_limits_begin_another_line() -> None:
    strict = RolloutSpec.model_validate({"steps": STEPS, "analysis": {"falseAlarms": 0.05}})
    line = Chart()
    line.after(second(900, 9))
    assert line.after(second(2_400, 14), plan=strict) == Chart().after(second(2_400, 14), plan=strict)


def test_a_long_line_keeps_its_ends() -> None:
    points = Chart().after(*(second(connections, 9) for connections in range(900, 1_500)))
    assert len(points) < 310
    assert (points[0], points[1][0], points[-1][0]) == ((0, 0.0), 301, 301 + 1_499)
