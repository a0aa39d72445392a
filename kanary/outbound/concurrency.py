"""How many connections may be in use at a time, in all and for one namespace."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Concurrency:
    """Peers that do not answer delay those of their own namespace only. Used in the thread of one event loop."""

    def __init__(self, total: int, of_namespace: int) -> None:
        self._of_namespace = of_namespace
        self._all = asyncio.Semaphore(total)
        self._namespaces: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def slot(self, namespace: str) -> AsyncIterator[None]:
        """Wait for a turn.

        First among those of the namespace: so it never has more than its number in the queue for all.
        """
        own = self._namespaces.setdefault(namespace, asyncio.Semaphore(self._of_namespace))
        async with own, self._all:
            yield
