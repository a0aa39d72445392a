"""What the cluster reads of the operator: liveness, readiness and metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response


def probes(problems: Callable[[], Sequence[str]], metrics: Callable[[], bytes], metrics_type: str) -> FastAPI:
    """Serve /healthz, /readyz and /metrics.

    `problems` says what keeps the operator from being ready, `metrics` exposes the metrics in the content type
    `metrics_type`.
    """
    app = FastAPI(openapi_url=None)
    page = _SharedPage(metrics)
    reading = ["GET", "HEAD"]

    @app.api_route("/healthz", methods=reading)
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.api_route("/readyz", methods=reading)
    async def readyz() -> Response:
        found = problems()
        return PlainTextResponse("\n".join([*found, ""]) or "ok\n", 503 if found else 200)

    @app.api_route("/metrics", methods=reading)
    async def exposed() -> Response:
        return Response(await page.read(), media_type=metrics_type)

    return app


class _SharedPage:
    """A page that is made once for all those who wait for it, so that many readers cost no more than one."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make
        self._lock = asyncio.Lock()
        self._page = b""
        self._began = float("-inf")

    async def read(self) -> bytes:
        """The page, as it was made after this was called."""
        called = time.monotonic()
        async with self._lock:
            if self._began < called:
                began = time.monotonic()
                self._page = await run_in_threadpool(self._make)
                self._began = began
            return self._page
