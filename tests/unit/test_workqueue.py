"""The work queue's promises, on a clock that the test moves."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from itertools import pairwise

import pytest

from kanary.kube.backoff import Backoff
from kanary.kube.workqueue import WorkQueue
from tests.waiting import PATIENCE, await_that


class FakeClock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(clock: FakeClock) -> Iterator[WorkQueue[str]]:
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    yield queue
    queue.shutdown()


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], str | None]], Future[str | None]]]:
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def drain(queue: WorkQueue[str]) -> list[str]:
    """Handle all that is ready and return it."""
    handled = []
    while queue.depth():
        key = queue.get()
        assert key is not None
        handled.append(key)
        queue.done(key)
    return handled


def test_keys_come_out_in_the_order_in_which_they_were_added(queue: WorkQueue[str]) -> None:
    for key in ("b", "a", "c"):
        queue.add(key)
    assert drain(queue) == ["b", "a", "c"]


def test_a_key_added_twice_before_it_is_handled_is_handled_once(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.add("a")
    assert queue.depth() == 1
    assert drain(queue) == ["a"]


def test_a_key_added_while_it_is_handled_is_handled_again(queue: WorkQueue[str]) -> None:
    queue.add("a")
    assert queue.get() == "a"
    queue.add("a")
    queue.add("a")
    queue.done("a")
    assert drain(queue) == ["a"]


def test_a_key_is_never_with_two_workers(queue: WorkQueue[str]) -> None:
    queue.add("a")
    assert queue.get() == "a"
    queue.add("a")
    queue.add("b")
    assert queue.get() == "b"
    queue.done("a")
    assert queue.get() == "a"


def test_many_workers_handle_every_key_and_none_twice_at_once() -> None:
    queue: WorkQueue[int] = WorkQueue()
    keys, rounds = range(5), 200
    added = dict.fromkeys(keys, 0)
    last_seen = dict.fromkeys(keys, 0)
    busy: set[int] = set()
    clashes: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        while (key := queue.get()) is not None:
            with lock:
                if key in busy:
                    clashes.append(key)
                busy.add(key)
                last_seen[key] = added[key]
            with lock:
                busy.discard(key)
            queue.done(key)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for worker in workers:
        worker.start()
    for _ in range(rounds):
        for key in keys:
            with lock:
                added[key] += 1
            queue.add(key)
    while queue.depth() or busy:
        threading.Event().wait(0.01)
    queue.shutdown()
    for worker in workers:
        worker.join(60)
    assert clashes == []
    assert last_seen == dict.fromkeys(keys, rounds)


def test_a_delayed_key_is_returned_after_its_delay(queue: WorkQueue[str], clock: FakeClock) -> None:
    queue.add_after("a", 5.0)
    clock.advance(4.9)
    assert queue.depth() == 0
    clock.advance(0.1)
    assert drain(queue) == ["a"]
    clock.advance(100)
    assert queue.depth() == 0


def test_a_delay_of_0_adds_the_key_at_once(queue: WorkQueue[str]) -> None:
    queue.add_after("a", 0)
    queue.add_after("b", -1)
    assert drain(queue) == ["a", "b"]


def test_the_earliest_of_several_delays_of_one_key_counts(queue: WorkQueue[str], clock: FakeClock) -> None:
    queue.add_after("a", 10)
    queue.add_after("a", 5)
    queue.add_after("a", 20)
    clock.advance(5)
    assert drain(queue) == ["a"]
    clock.advance(100)
    assert queue.depth() == 0


def test_a_delay_replaced_by_an_earlier_one_has_no_effect(queue: WorkQueue[str], clock: FakeClock) -> None:
    queue.add_after("a", 10)
    queue.add_after("a", 5)
    queue.add_after("b", 7)
    clock.advance(5)
    assert drain(queue) == ["a"]
    clock.advance(2)
    assert drain(queue) == ["b"]
    clock.advance(10)
    assert drain(queue) == []


def test_a_delay_does_not_hold_up_an_immediate_add_of_the_same_key(queue: WorkQueue[str], clock: FakeClock) -> None:
    queue.add_after("a", 60)
    queue.add("a")
    assert drain(queue) == ["a"]
    clock.advance(60)
    assert drain(queue) == ["a"]


def test_a_delayed_key_that_is_waiting_already_is_not_queued_twice(queue: WorkQueue[str], clock: FakeClock) -> None:
    queue.add_after("a", 1)
    queue.add("a")
    clock.advance(1)
    assert drain(queue) == ["a"]


def test_a_key_that_comes_due_while_it_is_processed_is_processed_again(queue: WorkQueue[str], clock: FakeClock) -> None:
    queue.add("a")
    assert queue.get() == "a"
    queue.add_after("a", 1)
    clock.advance(1)
    assert queue.depth() == 1
    queue.done("a")
    assert drain(queue) == ["a"]


def test_a_failing_key_waits_longer_each_time_up_to_a_limit(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    delays = [queue.retry("a") for _ in range(12)]
    assert delays[0] == 0.2
    assert all(earlier <= later for earlier, later in pairwise(delays[:8]))
    assert all(45 <= delay <= 60 for delay in delays[-3:])


def test_success_is_forgotten_failure(queue: WorkQueue[str]) -> None:
    for _ in range(5):
        queue.retry("a")
    queue.forget("a")
    assert queue.retry("a") == 0.2


def test_a_key_is_failing_until_its_next_success(queue: WorkQueue[str]) -> None:
    queue.retry("a")
    assert (queue.is_failing("a"), queue.is_failing("b")) == (True, False)
    queue.forget("a")
    assert not queue.is_failing("a")


def test_the_failures_of_one_key_do_not_slow_another_one_down(queue: WorkQueue[str]) -> None:
    for _ in range(5):
        queue.retry("a")
    assert queue.retry("b") == 0.2


def test_a_retry_has_a_minimum_delay(queue: WorkQueue[str], clock: FakeClock) -> None:
    assert queue.retry("a", at_least=7) == 7
    clock.advance(6.9)
    assert queue.depth() == 0
    clock.advance(0.1)
    assert drain(queue) == ["a"]


def test_failed_keys_can_be_retried_soon_and_then_not_after_their_delay_again(
    queue: WorkQueue[str], clock: FakeClock
) -> None:
    queue.add_after("waiting", 5)
    queue.retry("failed", at_least=60)
    queue.retry_failed()
    clock.advance(0.01)
    assert drain(queue) == ["failed"]
    queue.forget("failed")
    clock.advance(60)
    queue.add("last")
    assert drain(queue) == ["last", "waiting"]


def test_failed_keys_are_spread_when_all_are_retried(queue: WorkQueue[str], clock: FakeClock) -> None:
    for number in range(1000):
        queue.retry(str(number), at_least=3600)
    queue.retry_failed()
    found = []
    for _ in range(10):
        clock.advance(1)
        found.append(len(drain(queue)))
    assert sum(found) == 1000
    assert max(found) < 200


def test_a_retry_comes_back_after_its_delay(queue: WorkQueue[str], clock: FakeClock) -> None:
    clock.advance(queue.retry("a"))
    assert drain(queue) == ["a"]


def test_failures_without_end_do_not_overflow() -> None:
    assert Backoff(base=0.2, cap=60).delay(100_000) <= 60


def test_backoff_spreads_keys_that_failed_together() -> None:
    assert len({Backoff(base=0.2, cap=60).delay(5) for _ in range(20)}) > 1


def test_a_waiting_worker_gets_a_key_that_is_added(
    queue: WorkQueue[str], in_thread: Callable[[Callable[[], str | None]], Future[str | None]]
) -> None:
    got = in_thread(queue.get)
    queue.add("a")
    assert got.result(PATIENCE) == "a"


def test_waiting_workers_share_ready_and_due_keys(
    in_thread: Callable[[Callable[[], str | None]], Future[str | None]],
) -> None:
    queue: WorkQueue[str] = WorkQueue()
    workers = [in_thread(queue.get) for _ in range(3)]
    queue.add_after("late", 0.2)
    queue.add("early")
    queue.add("too")
    assert {worker.result(PATIENCE) for worker in workers} == {"late", "early", "too"}
    queue.shutdown()


class CountedClock:
    """Remembers the threads that read it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.readers: list[int] = []

    def __call__(self) -> float:
        self.readers.append(threading.get_ident())
        return self.now


def all_wait(queue: WorkQueue[str], workers: int) -> bool:
    return len(queue._changed._waiters) == workers  # type: ignore[attr-defined]


def test_no_waiting_worker_wakes_up_for_a_later_delay() -> None:
    clock = CountedClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    with ThreadPoolExecutor(4) as pool:
        queue.add_after("early", 60)
        workers = [pool.submit(queue.get) for _ in range(4)]
        await_that(lambda: all_wait(queue, 4))
        clock.readers.clear()
        queue.add_after("late", 120)
        time.sleep(0.1)
        assert {*clock.readers} == {threading.get_ident()}
        queue.shutdown()
        assert [worker.result(PATIENCE) for worker in workers] == [None] * 4


def test_one_waiting_worker_takes_a_delayed_key_and_another_one_waits_for_the_next_delay() -> None:
    clock = CountedClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    with ThreadPoolExecutor(4) as pool:
        # The worker that waits for it looks again after this time.
        queue.add_after("early", 0.1)
        queue.add_after("late", 60)
        workers = [pool.submit(queue.get) for _ in range(4)]
        await_that(lambda: all_wait(queue, 4))
        clock.readers.clear()
        clock.now = 1.0
        first = next(as_completed(workers, timeout=PATIENCE))
        await_that(lambda: all_wait(queue, 3))
        assert first.result() == "early"
        assert len({*clock.readers}) == 2
        queue.shutdown()


def test_shutdown_ends_every_waiting_worker_and_every_later_one(
    in_thread: Callable[[Callable[[], str | None]], Future[str | None]],
) -> None:
    queue: WorkQueue[str] = WorkQueue()
    workers = [in_thread(queue.get) for _ in range(3)]
    queue.shutdown()
    assert [worker.result(PATIENCE) for worker in workers] == [None, None, None]
    queue.add("a")
    queue.add_after("a", 0.001)
    queue.retry("a")
    assert queue.get() is None


def test_shutdown_drops_queued_keys(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.shutdown()
    assert queue.get() is None


def test_changes_precede_routine_looks(queue: WorkQueue[str], clock: FakeClock) -> None:
    queue.add("look", routine=True)
    queue.add_after("later look", 1, routine=True)
    queue.add_after("change", 1)
    clock.advance(1)
    assert drain(queue) == ["change", "look", "later look"]


def test_a_change_of_a_key_that_waits_for_a_routine_look_precedes_others(queue: WorkQueue[str]) -> None:
    for key in ("a", "b"):
        queue.add(key, routine=True)
    queue.add("b")
    queue.add("b", routine=True)
    assert drain(queue) == ["b", "a"]


def test_a_change_during_a_routine_look_precedes_others(queue: WorkQueue[str]) -> None:
    queue.add("a", routine=True)
    assert queue.get() == "a"
    queue.add("b", routine=True)
    queue.add("a", routine=True)
    queue.add("a")
    queue.done("a")
    assert drain(queue) == ["a", "b"]


def test_a_delayed_change_makes_an_earlier_routine_look_a_change(queue: WorkQueue[str], clock: FakeClock) -> None:
    queue.add_after("a", 1, routine=True)
    queue.add_after("a", 2)
    clock.advance(1)
    queue.add("b", routine=True)
    assert drain(queue) == ["a", "b"]


def test_an_endless_flow_of_changes_does_not_stop_routine_looks(queue: WorkQueue[str]) -> None:
    queue.add("look", routine=True)
    for number in range(100):
        queue.add(f"change {number}")
    assert drain(queue).index("look") == 10


def test_a_group_at_its_limit_leaves_the_workers_to_others(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(group=lambda key: key[0], group_limit=2, clock=clock)
    for key in ("a1", "a2", "a3"):
        queue.add(key)
    queue.add("a4", routine=True)
    assert [queue.get(), queue.get()] == ["a1", "a2"]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(queue.get)
        queue.add("b1", routine=True)
        assert waiting.result(PATIENCE) == "b1"
        queue.done("b1")
        waiting = pool.submit(queue.get)
        queue.done("a1")
        assert waiting.result(PATIENCE) == "a3"
    queue.done("a2")
    assert queue.get() == "a4"


def test_a_group_begins_one_key_while_another_one_has_a_worker(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(group=lambda key: key[0], group_limit=2, clock=clock)
    for key in ("a1", "a2", "a3", "a4", "a5"):
        queue.add(key)
    assert [queue.get(), queue.get()] == ["a1", "a2"]
    queue.add("b1")
    assert queue.get() == "b1"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(queue.get)
        queue.done("a1")
        queue.add("c1")  # of a third group, although a2 to a4 have waited longer
        assert waiting.result(PATIENCE) == "c1"
        queue.done("a2")
        assert queue.get() == "a3"
        waiting = pool.submit(queue.get)
        queue.done("b1")
        assert not waiting.done()
        queue.done("c1")
        assert waiting.result(PATIENCE) == "a4"
        waiting = pool.submit(queue.get)
        queue.done("a3")
        assert waiting.result(PATIENCE) == "a5"


def test_what_one_group_has_in_work_stops_no_other_one(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(group=lambda key: key[0], group_limit=2, clock=clock)
    for key in ("a1", "b1", "c1", "d1", "d2"):
        queue.add(key)
    assert [queue.get() for _ in range(4)] == ["a1", "b1", "c1", "d1"]


def test_a_key_that_hangs_leaves_the_other_groups_all_their_workers(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(group=lambda key: key[0], group_limit=2, clock=clock)
    for key in ("a1", "b1", "b2", "b3"):
        queue.add(key)
    assert [queue.get(), queue.get()] == ["a1", "b1"]
    clock.advance(5)
    queue.done("b1")
    with ThreadPoolExecutor() as pool:
        given = [pool.submit(queue.get) for _ in range(2)]
        done, _ = wait(given, PATIENCE)
        queue.shutdown()
        assert {each.result() for each in done} == {"b2", "b3"}


def test_a_key_begins_while_all_that_others_wait_for_hang(in_thread: Callable[..., Future[str | None]]) -> None:
    queue: WorkQueue[str] = WorkQueue(group=lambda key: key[0], group_limit=2)
    queue.add("a1")
    queue.add("b1")
    queue.add("b2")
    assert [queue.get(), queue.get()] == ["a1", "b1"]
    waiting = in_thread(queue.get)
    try:
        assert waiting.result(PATIENCE) == "b2"
    finally:
        queue.shutdown()


def test_groups_take_turns(clock: FakeClock) -> None:
    queue: WorkQueue[str] = WorkQueue(group=lambda key: key[0], clock=clock)
    for number in range(1000):
        queue.add(f"a{number}")
    assert queue.get() == "a0"
    queue.done("a0")
    queue.add("b0")
    queue.add("b1")
    queue.add("c0")
    assert drain(queue)[:6] == ["a1", "b0", "c0", "a2", "b1", "a3"]
