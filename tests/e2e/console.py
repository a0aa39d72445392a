"""Runs the ```console blocks of a page, and compares what the commands print with what the page shows.

In the page, `...` stands for any text. Times and durations may differ, and numbers from 100 on by 2 %: two proxies
split their own connections exactly, and the sum may differ by a few.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tests.e2e.kind import ROOT
from tests.e2e.waiting import PATIENCE_SECONDS

SECONDS_PER_COMMAND = 240
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"([A-Z]+)=")
_READS = re.compile(r"(kubectl (get|exec client)|kanary (get|history)) ")
_TOLERANCE = 0.02
_FROM = 100
_TOKEN = re.compile(
    r"(?P<any>\.\.\.)"
    r"|(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)"
    r"|(?P<duration>\b\d+(?:\.\d+)?[smhd](?:\d+[sm])?\b)"
    r"|(?P<number>(?<![\w.:/-])\d+(?![\w.:/-]))"
    r"|(?P<space>\s+)"
)
_PATTERNS = {
    "any": r"[\s\S]*?",
    "time": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    "duration": r"\d+(?:\.\d+)?[smhd](?:\d+[sm])?",
    "number": r"(\d+)",
    "space": r"\s+",
}


@dataclass(frozen=True)
class Command:
    """A command of a page, and what the page says that it prints."""

    text: str
    expected: str = ""


def commands(page: str) -> list[Command]:
    """Every command of the page's blocks, in order."""
    found: list[Command] = []
    for block in _BLOCK.findall(page):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Command(line[2:]))
            elif line.startswith("> "):
                found[-1] = replace(found[-1], text=f"{found[-1].text}\n{line[2:]}")
            else:
                found[-1] = replace(found[-1], expected=f"{found[-1].expected}{line}\n")
    return found


def is_as_shown(printed: str, expected: str) -> bool:
    """Whether a command has printed what the page shows."""
    pattern, numbers, at = "", [], 0
    for token in _TOKEN.finditer(expected.strip()):
        kind = token.lastgroup or ""
        pattern += re.escape(expected.strip()[at : token.start()]) + _PATTERNS[kind]
        at = token.end()
        if kind == "number":
            numbers.append(int(token.group()))
    match = re.fullmatch(pattern + re.escape(expected.strip()[at:]), printed.strip())
    return match is not None and all(
        abs(int(actual) - shown) <= (_TOLERANCE * shown if shown >= _FROM else 0)
        for actual, shown in zip(match.groups(), numbers, strict=True)
    )


class Console:
    """Runs commands in bash, one after the other; variables that they assign stay."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)

    def run(self, command: Command) -> None:
        """Run a command. One that only reads is repeated until it prints what the page shows.

        Raises AssertionError if it fails or prints something else.
        """
        if assignment := _ASSIGNMENT.match(command.text):
            name = assignment[1]
            self._environment[name] = self._printed(f'{command.text}\necho "${name}"').strip()
            return
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            printed = self._printed(command.text)
            if is_as_shown(printed, command.expected):
                return
            is_late = time.monotonic() > end or not _READS.match(command.text)
            assert not is_late, f"$ {command.text}\n{printed}\nThe page shows:\n{command.expected}"
            time.sleep(1)

    def _printed(self, text: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_PER_COMMAND,
            check=False,
        )
        assert done.returncode == 0, f"$ {text}\n{done.stdout}"
        return done.stdout
