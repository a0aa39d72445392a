"""An event loop in a thread of its own, and calls that block beside it."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class BackgroundLoop:
    """The thread runs between `start` and `stop`; neither of them raises if it is called again."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._lock = threading.Lock()
        self._has_stopped = False

    def start(self) -> None:
        """Start the thread."""
        with self._lock:
            if not self._has_stopped and not self._thread.is_alive():
                self._thread.start()

    def run(self, function: Callable[[], object]) -> None:
        """Call this function in the thread of the loop, soon; not at all if the thread does not run."""
        with self._lock:
            if self._thread.is_alive() and not self._has_stopped:
                self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """Cancel all tasks of the loop and wait for their end."""
        with self._lock:
            if self._has_stopped:
                return
            self._has_stopped = True
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        else:
            self._loop.close()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(_cancel_all())
            self._loop.close()


async def in_thread(function: Callable[[], T]) -> T:
    """Call a function that may block, in a thread of its own.

    The thread does not delay the end of the process, as one of an executor would.
    """
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def call() -> None:
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=call, name="blocking", daemon=True).start()
    # A cancelled future has no result to set.
    return await asyncio.shield(asyncio.wrap_future(future))


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
