"""Connections and failures count for the revision in which the connection began, each at most once, whatever ends."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from decimal import Decimal
from operator import ge
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kanary_agent import texts
from kanary_agent.counters import Counts, Load, SlotFigures, Summary, is_redistributing, summary
from kanary_agent.drops import LOST_SECONDS, MOMENT_SECONDS
from kanary_agent.records import Record
from kanary_agent.revisions import GRACE_SECONDS, KEPT, Counted
from kanary_agent.run import STEP_SECONDS
from kanary_agent.totals import Totals

from engine.render.config import Pool
from engine.render.selection import COUNTING_ALL, TURNS, split_data

A = "a:http"


class Worker:
    """A process of HAProxy; connections have numbers in the order in which they begin."""

    def __init__(self, process: int, revision: int, first: int = 0) -> None:
        self.name, self.process, self.revision = f"{process} 1700000000", process, revision
        self.first = self.number = first
        self.failed = 0
        self.open: list[tuple[int, int]] = []
        """Number and revision of each open connection."""

    def summary(self, *, is_redistributing: bool = False) -> Summary:
        counts = Counts(self.number - self.first, 0, self.failed, 0, 0)
        return Summary(
            self.name,
            Load(0, 0),
            {"a": SlotFigures(1, 0, 0, counts)},
            {"a": A},
            self.revision,
            is_redistributing,
            self.number % 2**32,
        )


class Course:
    """A proxy and its agent, and what really happens."""

    def __init__(self, folder: str, *, first: int = 0) -> None:
        self._path = str(Path(folder) / "counts.json")
        self.workers = [Worker(8, 7, first)]
        """The current one is the last."""
        self.pipe: list[Record] = []
        self.began: Counter[int] = Counter()
        self.failed: Counter[int] = Counter()
        self.agent = Totals(self._path)
        self.now = time.monotonic()
        self.poll()

    def begin(self, count: int = 1) -> None:
        worker = self.workers[-1]
        worker.open += [(worker.number + more, worker.revision) for more in range(count)]
        worker.number += count
        self.began[worker.revision] += count

    def fail(
        self, count: int = 1, *, of: int = -1, is_recorded: bool = True, seconds: float = 0.1, error: str = "ECONNRESET"
    ) -> None:
        """The oldest connections of a worker are reset by its only pod, after they have lasted for so long."""
        worker = self.workers[of % len(self.workers)]
        for _ in range(min(count, len(worker.open))):
            number, revision = worker.open.pop(0)
            worker.failed += 1
            self.failed[revision] += 1
            if is_recorded:
                end = ("SD", 1, round(seconds * 1000), 0, len(worker.open), error)
                self.pipe.append(Record(str(worker.process), number % 2**32, "10.0.0.1:1", "a", "10.0.0.2:9000", *end))

    def poll(self) -> None:
        self.agent.add(self.workers[-1].summary())

    def count(self) -> None:
        for worker in self.workers:
            self.agent.add(worker.summary())
        self.agent.forget_all_but(worker.name for worker in self.workers)
        self.agent.save()

    def drain(self, seconds: float = 0.0) -> None:
        """The agent reads all records."""
        self.now += seconds
        for record in self.pipe:
            self.agent.revisions.record(record, A, self.now)
        self.pipe.clear()
        self.agent.revisions.settle(self.now)

    def change(self, *, between: int = 0) -> None:
        """The next revision, with connections that begin between its readings."""
        self.count()
        self.begin(between)
        self.workers[-1].revision += 1
        self.begin(between)
        self.count()

    def reload(self) -> None:
        """A new worker has the next revision; the former one serves its open connections."""
        self.count()
        former = self.workers[-1]
        self.workers = [worker for worker in self.workers if worker.open]
        self.workers.append(Worker(former.process + 1, former.revision + 1))

    def restart_haproxy(self) -> None:
        former = self.workers[-1]
        self.workers = [Worker(former.process + 1, former.revision)]

    def restart_agent(self) -> None:
        self.agent = Totals(self._path)

    def conclude(self) -> None:
        """All that was written is read."""
        self.count()
        for _ in range(3):
            self.drain(GRACE_SECONDS)

    @property
    def counted(self) -> dict[int, Counted]:
        found = self.agent.revisions.of(self.workers[-1].revision)
        return {revision: routes.get(A, Counted()) for revision, routes in found.items()}


@pytest.fixture
def course(tmp_path: Path) -> Course:
    return Course(str(tmp_path))


def test_a_failure_counts_for_the_revision_in_which_its_connection_began(course: Course) -> None:
    course.begin(5)
    course.change()
    course.begin(3)
    course.fail(6)
    course.conclude()
    assert course.counted == {8: Counted(3, 1), 7: Counted(5, 5)}


def test_a_failure_counts_as_soon_as_its_record_is_read(course: Course) -> None:
    course.begin(2)
    course.poll()
    course.fail(1)
    course.drain()
    assert course.counted == {7: Counted(2, 1)}


def test_connections_of_a_former_worker_count_for_its_revision(course: Course) -> None:
    course.begin(5)
    course.reload()
    course.begin(2)
    course.fail(3, of=0)
    course.conclude()
    assert course.counted == {8: Counted(2, 0), 7: Counted(5, 3)}


def test_the_last_failures_of_a_worker_have_their_records(course: Course) -> None:
    course.begin(5)
    course.count()
    course.fail(5)
    course.restart_haproxy()
    course.conclude()
    assert course.counted == {7: Counted(5, 5)}


def test_connections_that_begin_between_the_readings_of_a_change_are_left_out(course: Course) -> None:
    course.begin(5)
    course.change(between=4)
    course.begin(2)
    course.fail(15)
    course.conclude()
    assert course.counted == {8: Counted(2, 2), 7: Counted(5, 5)}


def test_a_failure_without_a_record_counts_for_the_present_revision_after_a_while(course: Course) -> None:
    course.begin(3)
    course.change()
    course.begin(3)
    course.fail(1, is_recorded=False)
    course.count()
    course.drain(GRACE_SECONDS)
    assert course.counted == {8: Counted(3, 0), 7: Counted(3, 0)}
    course.drain(GRACE_SECONDS)
    assert course.counted == {8: Counted(3, 1), 7: Counted(3, 0)}


def test_a_record_that_comes_late_does_not_count_again(course: Course) -> None:
    course.begin(3)
    course.fail(1)
    late, course.pipe = course.pipe, []
    course.conclude()
    course.pipe = late
    course.conclude()
    assert course.counted == {7: Counted(3, 1)}


def test_a_restarted_agent_continues(course: Course) -> None:
    course.begin(5)
    course.change()
    course.begin(2)
    course.count()
    course.restart_agent()
    course.fail(6)
    course.begin(2)
    course.conclude()
    assert course.counted == {8: Counted(4, 1), 7: Counted(5, 5)}


def test_the_last_failures_of_a_worker_that_ended_without_an_agent_count(course: Course) -> None:
    course.begin(5)
    course.count()
    course.fail(5)
    course.restart_haproxy()
    course.restart_agent()
    course.conclude()
    assert course.counted == {7: Counted(5, 5)}


def test_an_agent_that_ends_in_the_middle_of_a_change_counts_nothing_for_a_wrong_revision(course: Course) -> None:
    course.begin(5)
    course.count()
    course.begin(2)
    course.workers[-1].revision = 0
    course.begin(2)
    course.restart_agent()
    course.poll()
    course.begin(2)
    course.workers[-1].revision = 8
    course.begin(2)
    course.restart_agent()
    course.poll()
    course.begin(1)
    course.fail(14)
    course.conclude()
    assert course.counted == {8: Counted(1, 1), 7: Counted(5, 5)}


def test_without_its_file_an_agent_has_another_ledger_and_counts_what_begins_from_then_on(course: Course) -> None:
    course.begin(5)
    course.count()
    ledger = course.agent.revisions.ledger
    course.restart_agent()
    assert course.agent.revisions.ledger == ledger
    Path(course._path).unlink()
    course.restart_agent()
    assert course.agent.revisions.ledger != ledger
    course.poll()
    course.begin(2)
    course.fail(6)
    course.conclude()
    assert course.counted == {7: Counted(2, 1)}


def test_nothing_counts_without_a_watched_revision(course: Course) -> None:
    course.workers[-1].revision = 0
    course.count()
    course.begin(5)
    course.fail(2)
    course.conclude()
    assert course.counted == {0: Counted()}
    course.workers[-1].revision = 8
    course.count()
    course.begin(2)
    course.fail(4)
    course.conclude()
    assert course.counted[8] == Counted(2, 1)


def test_connections_that_may_be_redistributed_are_left_out(course: Course) -> None:
    course.begin(5)
    course.poll()
    course.begin(3)
    course.agent.add(course.workers[-1].summary(is_redistributing=True))
    course.begin(3)
    course.poll()
    course.begin(2)
    course.fail(12)
    course.conclude()
    assert course.counted == {7: Counted(2 + 5, 1 + 5)}


def test_the_last_revisions_are_kept(course: Course) -> None:
    for _ in range(KEPT + 2):
        course.begin(1)
        course.change()
    assert list(course.counted) == [12, 11, 10]


def test_numbers_of_connections_wrap(tmp_path: Path) -> None:
    course = Course(str(tmp_path), first=2**32 - 4)
    course.begin(2)
    course.change()
    course.begin(6)
    course.fail(5)
    course.conclude()
    assert course.counted == {8: Counted(6, 3), 7: Counted(2, 2)}


@pytest.mark.parametrize(
    "damage",
    [
        "x",
        {},
        {"counts": {"7": {A: [1]}}},
        {"workers": {"8 1": [1]}},
        {"drops": [[[A, "x", {}, {}]], []]},
        {"counts": 7},
    ],
)
def test_damaged_counts_start_another_ledger(course: Course, damage: Any) -> None:
    course.begin(5)
    course.count()
    ledger, path = course.agent.revisions.ledger, Path(course._path)
    content = json.loads(path.read_text())
    content["revisions"] = {**content["revisions"], **damage} if isinstance(damage, dict) and damage else damage
    path.write_text(json.dumps(content))
    course.restart_agent()
    assert course.agent.revisions.ledger != ledger
    assert course.counted == {7: Counted()}


@pytest.mark.parametrize(
    ("weighted", "up", "turns", "expected"),
    [
        ("ab", (1, 0), COUNTING_ALL, True),
        ("ab", (1, 1), COUNTING_ALL, False),
        ("ab", (1, 0), TURNS, False),
        # All others are empty or have no weight: HAProxy does not redistribute.
        ("ab", (0, 0), COUNTING_ALL, False),
        ("b", (1, 0), COUNTING_ALL, False),
        ("a", (1, 0), COUNTING_ALL, False),
    ],
)
def test_connections_may_be_redistributed_from_an_empty_route_to_others_with_a_weight(
    weighted: str, up: tuple[int, int], turns: int, expected: bool
) -> None:
    assert str(COUNTING_ALL) == texts.COUNTING_ALL
    routes = [Pool(f"{name}:http", Decimal(100 // len(weighted) * (name in weighted)), ()) for name in "ab"]
    answer = f"""Pid: 8
Start_time_sec: 1700000000
CumReq: 5
proc.slots: type=str value=<a:http/b:http>
proc.revision: type=sint value=<7>
# pxname,svname,act,bck,lastchg,scur,stot,econ,eresp,wretr,wredis
a,BACKEND,{up[0]},0,1,0,4,0,0,0,0
b,BACKEND,0,{up[1]},1,0,4,0,0,0,0
"""
    found = summary(answer)
    assert (found.watched, found.revision, found.next_number, found.has_empty_slot) == (7, 7, 5, 0 in up)
    round_ = f"""proc.split: type=str value=<{split_data(routes, redistribute=True)}>
proc.turns: type=sint value=<{turns}>
"""
    assert is_redistributing(found, round_) is expected
    assert found._replace(is_redistributing=expected).revision == (0 if expected else 7)


# Connections that a pod drops together

LASTING = 5.0


def test_the_connections_of_a_pod_that_ends_are_one_failure(course: Course) -> None:
    course.begin(50)
    course.fail(50, seconds=LASTING)
    course.conclude()
    assert course.counted == {7: Counted(50, 1)}


def test_a_drop_counts_for_its_latest_revision(course: Course) -> None:
    course.begin(50)
    course.change()
    course.begin(5)
    course.fail(55, seconds=LASTING)
    course.conclude()
    assert course.counted == {8: Counted(5, 1), 7: Counted(50, 0)}


def test_the_connections_of_a_process_of_a_pod_are_one_failure(course: Course) -> None:
    course.begin(80)
    course.fail(20, seconds=LASTING)
    course.conclude()
    assert course.counted == {7: Counted(80, 1)}


def test_few_of_the_connections_of_a_pod_are_a_failure_each(course: Course) -> None:
    course.begin(80)
    course.fail(19, seconds=LASTING)
    course.conclude()
    assert course.counted == {7: Counted(80, 19)}


def test_connections_that_are_reset_soon_are_a_failure_each(course: Course) -> None:
    course.begin(50)
    course.fail(50, seconds=1.9)
    course.drain()
    assert course.counted == {7: Counted(0, 0)}
    course.poll()
    assert course.counted == {7: Counted(50, 50)}


@pytest.mark.parametrize("age", [0, 0.5, 1, 1.9, 2, 2.5, 4])
def test_a_version_that_resets_each_connection_at_an_age_fails_with_each(course: Course, age: float) -> None:
    steps = 40
    course.begin(round(age / STEP_SECONDS) * 10)
    for _ in range(steps):
        course.begin(10)
        course.fail(10, seconds=age)
        course.poll()
        course.drain(STEP_SECONDS)
    course.conclude()
    assert course.counted[7].failed == steps * 10


def test_each_end_of_a_pod_is_a_failure(course: Course) -> None:
    for _ in range(3):
        course.begin(50)
        course.fail(50, seconds=LASTING)
        course.poll()
        course.drain()
        course.drain(MOMENT_SECONDS)
    course.conclude()
    assert course.counted == {7: Counted(150, 3)}


def test_connections_to_a_pod_that_is_cut_off_are_one_failure_a_minute(course: Course) -> None:
    course.begin(50)
    for _ in range(50):
        course.fail(1, seconds=240, error="ETIMEDOUT returned by OS")
        course.drain(1)
    assert course.counted == {7: Counted()}
    course.poll()
    course.drain(LOST_SECONDS)
    assert course.counted == {7: Counted(50, 1)}


def test_failures_of_a_drop_without_a_record_are_part_of_it(course: Course) -> None:
    course.begin(20_000)
    course.fail(8_000, seconds=LASTING)
    course.fail(12_000, is_recorded=False)
    # The last record that was read, after the pipe was full.
    course.pipe[-1] = course.pipe[-1]._replace(open=3_000)
    course.poll()
    for _ in range(10):
        course.drain(GRACE_SECONDS / 2)
    assert course.counted == {7: Counted(20_000, 1)}
    # Later ones are not.
    course.begin(3)
    course.fail(3, is_recorded=False)
    course.conclude()
    assert course.counted == {7: Counted(20_003, 4)}


def test_an_agent_that_restarts_in_a_drop_continues_it(course: Course) -> None:
    course.begin(50)
    course.poll()
    course.fail(25, seconds=LASTING)
    course.drain()
    course.count()
    course.restart_agent()
    course.conclude()
    assert course.counted == {7: Counted(50, 1)}


# Any history


class Fate(Course):
    """A course of events that are drawn."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.unrecorded = 0
        """Failures whose records are lost, or were read by an agent that did not live to save their counts."""
        self.reported: dict[int, Counted] = {}
        self._unsaved = 0

    def happen(self, event: str, count: int, which: int) -> None:
        match event:
            case "fail":
                self.fail(count, of=which)
            case "lose":
                before = self.failed.total()
                self.fail(count, of=which, is_recorded=False)
                self.unrecorded += self.failed.total() - before
            case "drain":
                self._unsaved += len(self.pipe)
                self.drain(which * GRACE_SECONDS / 2)
            case "drop":
                self.fail(count, of=which, seconds=LASTING)
            case "kill agent":
                self.unrecorded += self._unsaved
                self.restart_agent()
            case "change":
                self.change(between=count)
            case "begin":
                self.begin(count)
            case _:
                {"poll": self.poll, "reload": self.reload, "restart": self.restart_haproxy, "report": self.report}[
                    event
                ]()

    def report(self) -> None:
        """What is reported is saved before, and never decreases."""
        self.count()
        self._unsaved = 0
        former, self.reported = self.reported, self.counted
        for revision, counted in self.reported.items():
            assert all(map(ge, counted, former.get(revision, Counted())))


EVENTS = ("begin", "fail", "drop", "lose", "poll", "report", "drain", "change", "reload", "restart", "kill agent")


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 4), st.integers(0, 3)), max_size=80))
def test_no_connection_counts_twice_or_for_a_revision_after_its_own(events: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fate = Fate(folder)
        for event in events:
            fate.happen(*event)
        fate.conclude()
        fate.report()
    for revision, counted in fate.reported.items():
        assert counted.connections <= fate.began[revision]
        assert counted.failed <= fate.failed[revision] + fate.unrecorded
    assert sum(counted.failed for counted in fate.reported.values()) <= fate.failed.total()
