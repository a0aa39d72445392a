"""Faults on request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import pytest
import urllib3

from tests.conformance.collection import Collection
from tests.waiting import PATIENCE

from . import ApiServer, Fault

Result = TypeVar("Result")


def in_background(call: Callable[[], Result]) -> Future[Result]:
    """Starts a call that is held up; its result is waited for with a deadline."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def test_a_dropped_request_was_not_carried_out(server: ApiServer, configmaps: Collection) -> None:
    server.faults.add(Fault.drop(method="POST", times=1))

    with pytest.raises(urllib3.exceptions.ProtocolError):
        configmaps.create("one")

    assert configmaps.is_gone("one")
    configmaps.make("one")


def test_a_lost_response_is_of_a_request_that_was_carried_out(server: ApiServer, configmaps: Collection) -> None:
    server.faults.add(Fault.drop(method="POST", times=1, after_write=True))

    with pytest.raises(urllib3.exceptions.ProtocolError):
        configmaps.create("one")

    configmaps.read("one")


def test_a_hanging_request_says_nothing_until_it_is_released(server: ApiServer, configmaps: Collection) -> None:
    fault = server.faults.add(Fault.hang(path="configmaps"))
    answer = in_background(lambda: configmaps.create("one"))
    fault.wait_for_hits()

    assert not answer.done()
    fault.release()

    assert isinstance(answer.exception(timeout=PATIENCE), urllib3.exceptions.ProtocolError)
    assert configmaps.is_gone("one")


def test_stopping_the_server_ends_what_hangs(configmaps: Collection, server: ApiServer) -> None:
    fault = server.faults.add(Fault.hang())
    answer = in_background(lambda: configmaps.get("one"))
    fault.wait_for_hits()

    server.stop()

    assert answer.exception(timeout=PATIENCE) is not None


def test_a_slow_request_may_have_a_time_after_which_it_is_carried_out(
    server: ApiServer, configmaps: Collection
) -> None:
    fault = server.faults.add(Fault.slow(method="POST", seconds=0.01))

    configmaps.create("one")

    assert fault.hits == 1
    assert not configmaps.is_gone("one")


def test_a_change_has_the_user_agent_of_its_request(server: ApiServer, configmaps: Collection) -> None:
    changes = server.cluster.storage.subscribe(None)
    configmaps.create("one")
    server.store.delete("configmaps", "one", configmaps.namespace)

    by_request, by_test = changes.next(timeout=0), changes.next(timeout=0)

    assert by_request and by_test
    assert (bool(by_request.writer), by_test.writer) == (True, "")


def test_a_slow_request_is_carried_out_when_it_is_released(server: ApiServer, configmaps: Collection) -> None:
    fault = server.faults.add(Fault.slow(method="POST"))
    answer = in_background(lambda: configmaps.create("one"))
    fault.wait_for_hits()

    assert server.store.get("configmaps", "one") is None
    fault.release()

    assert answer.result(timeout=PATIENCE).status == 201


def test_a_status_is_answered_in_place_of_the_request(server: ApiServer, configmaps: Collection) -> None:
    server.faults.add(Fault.status(503, times=1))

    configmaps.create("one").refused(503, "ServiceUnavailable")

    configmaps.make("one")


def test_a_throttled_client_is_told_when_to_try_again(server: ApiServer) -> None:
    server.faults.add(Fault.status(429, retry_after=3))

    response = urllib3.PoolManager(retries=False).request("GET", f"{server.url}/api/v1/configmaps")

    assert response.status == 429
    assert response.headers["Retry-After"] == "3"
    assert response.json()["details"]["retryAfterSeconds"] == 3


def test_a_cut_watch_ends_in_the_middle_of_a_line(server: ApiServer, configmaps: Collection) -> None:
    server.faults.add(Fault.cut(path="watch=1", times=1))
    url = f"{server.url}{configmaps.path}?watch=1&resourceVersion={configmaps.revision()}"
    response = urllib3.PoolManager(retries=False).request("GET", url, preload_content=False)
    configmaps.make("one")

    received = b""
    with pytest.raises(urllib3.exceptions.HTTPError):
        for chunk in response.stream():
            received += chunk

    assert received.startswith(b'{"type":"ADDED"')
    assert b"\n" not in received


def test_a_muted_watch_stays_open_and_shows_later_what_it_held_back(server: ApiServer, configmaps: Collection) -> None:
    fault = server.faults.add(Fault.mute(path="watch=1"))
    with configmaps.watch() as watch:
        configmaps.make("one")
        fault.wait_for_hits()
        configmaps.make("two")

        assert watch.events == []
        fault.release()

        assert watch.seen(2) == [("ADDED", "one"), ("ADDED", "two")]


def test_a_fault_hits_only_what_it_is_for(server: ApiServer, configmaps: Collection) -> None:
    server.faults.add(Fault.status(500, method="PUT"))
    server.faults.add(Fault.status(500, path=r"/services"))

    created = configmaps.make("one")

    configmaps.put(created).refused(500, "InternalError")


def test_a_fault_hits_only_so_many_requests(server: ApiServer, configmaps: Collection) -> None:
    fault = server.faults.add(Fault.status(500, times=2))

    assert [configmaps.get("one").status for _ in range(3)] == [500, 500, 404]
    assert fault.hits == 2


def test_an_emptied_list_has_its_version_and_no_objects(server: ApiServer, configmaps: Collection) -> None:
    configmaps.make("one")
    server.faults.add(Fault.empty("configmaps", times=1))

    emptied, right = configmaps.list(), configmaps.list()

    assert (emptied["items"], emptied["metadata"]) == ([], right["metadata"])
    assert [obj["metadata"]["name"] for obj in right["items"]] == ["one"]


def test_a_removed_fault_hits_nothing(server: ApiServer, configmaps: Collection) -> None:
    fault = server.faults.add(Fault.status(500))
    server.faults.remove(fault)

    configmaps.make("one")


def test_waiting_for_hits_that_do_not_come_says_so(server: ApiServer) -> None:
    fault = server.faults.add(Fault.status(500))

    with pytest.raises(TimeoutError, match="hit 0 requests"):
        fault.wait_for_hits(timeout=0.01)
