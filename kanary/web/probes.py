"""The operator's probes and metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


def probes(problems: Callable[[], Sequence[str]], metrics: Callable[[], bytes], metrics_type: str) -> Starlette:
    """Serve /healthz, /readyz and /metrics.

    `problems` returns why the operator is not ready (empty if it is), `metrics` the metrics with the content type
    `metrics_type`.
    """
    page = SharedPage(metrics)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        found = problems()
        return PlainTextResponse("\n".join([*found, ""]) or "ok\n", 503 if found else 200)

    async def exposed(_: Request) -> Response:
        return Response(await page.read(), media_type=metrics_type)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", exposed)])


class SharedPage:
    """A page that is rendered once for all requests that wait for it, and dropped after the last of them."""

    def __init__(self, render: Callable[[], bytes]) -> None:
        self._render = render
        self._lock = asyncio.Lock()
        self._page = b""
        self._began = float("-inf")
        self._waiting = 0

    async def read(self) -> bytes:
        """The page, rendered after this call."""
        called = time.monotonic()
        self._waiting += 1
        try:
            async with self._lock:
                if self._began < called:
                    began = time.monotonic()
                    self._page = await run_in_threadpool(self._render)
                    self._began = began
                return self._page
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._page, self._began = b"", float("-inf")
