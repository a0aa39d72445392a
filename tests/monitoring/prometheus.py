"""Prometheus's programs, for the tests."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import pytest
import yaml

from tests.haproxy.proxies import free_port

Json = dict[str, Any]

TOOL = Path(__file__).parents[1] / "tools" / "prometheus"
MISSING = 3


@cache
def _folder() -> Path | None:
    tool = subprocess.run([TOOL], stdout=subprocess.PIPE, text=True, check=False)
    if tool.returncode == MISSING:
        return None
    assert tool.returncode == 0, "Prometheus could not be unpacked: see above"
    return Path(tool.stdout.strip())


def program(name: str) -> Path:
    """The path of a program; skips the test if there is none and the tests may not unpack it."""
    folder = _folder()
    if folder is None:
        pytest.skip("there is no Prometheus here, and only on Debian, as root, do the tests unpack it")
    return folder / name


def promtool(*arguments: str | Path, text: str | None = None) -> str:
    """What promtool prints; fails if it finds a problem."""
    command = [program("promtool"), *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    """A Prometheus that runs as long as the context, with this configuration; it evaluates these rules every second."""

    def __init__(self, folder: Path, jobs: list[Json], rules: Path) -> None:
        self._folder = folder
        self._port = free_port()
        intervals = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
        config = {"global": intervals, "rule_files": [str(rules)], "scrape_configs": jobs}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> Self:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer; raises ValueError for an error, and OSError while it starts."""
        assert self._process.poll() is None, (self._folder / "log").read_text()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as connection:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            response = connection.getresponse()
            if response.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
                raise ConnectionError("it has not read its data yet")
            answer = json.loads(response.read())
        if answer["status"] != "success":
            raise ValueError(f"{parameters}: {answer['error']}")
        return answer["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The series of an expression now: their labels and values."""
        found = self.get("query", query=expression)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(each["metric"], float(each["value"][1])) for each in found["result"]]
