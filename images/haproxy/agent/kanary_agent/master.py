"""HAProxy's master process, asked over its socket.

One connection takes all commands of a question. Closing our half of it at once is what makes the master close the
other half after the last answer; otherwise it would wait for more.
"""

import re
import socket
from collections.abc import Iterator
from typing import NamedTuple

from kanary_agent import texts

ANSWER_SECONDS = 2
# A reload of 5,000 servers takes 0.2 s of a core. Where a port cannot be bound, HAProxy tries for 2 s.
RELOAD_SECONDS = 60
# Far more than HAProxy says about 5,000 servers that are down.
ANSWER_BYTES = 2**22

_GET_DIGEST = "@1 get var proc.digest"
_COUNT = ("@1 get var proc.start", "@1 show table counter")
# The frontend alone: the whole table of 5,000 servers is megabytes.
_FIGURES = (_GET_DIGEST, "@1 show info", "@1 show stat split 1 -1", "show proc")


class Figures(NamedTuple):
    """What HAProxy says of itself at one moment."""

    digest: str
    draining: int
    connections: int
    max_connections: int


class SilentError(Exception):
    """HAProxy does not answer: it is starting, or ended, or has no worker."""


class Master:
    """The master process whose socket is at `path`, and whose configuration is in `folder`.

    Every method raises SilentError where there is no answer.
    """

    def __init__(self, path: str, folder: str) -> None:
        self._path = path
        self._folder = folder

    def digest(self) -> str:
        """The digest of what the current worker serves; empty if it serves something without one."""
        return _digest(self.ask(_GET_DIGEST))

    def count(self) -> int | None:
        """Where the current worker is in its round; None if it has no such count."""
        answer = self.ask(*_COUNT)
        if "# table: counter," not in answer:
            return None
        start = re.search(r"^proc\.start: type=sint value=<(-?\d+)>", answer, re.MULTILINE)
        taken = re.search(r" key=1 .*\bgpc0=(\d+) gpc1=(\d+)", answer)
        count = int(taken[1]) + int(taken[2]) * 2**32 if taken else 0
        return count + int(start[1]) if start else count

    def reload(self) -> str:
        """Has the file on disk served by a new worker. What HAProxy says against it, or nothing."""
        answer = self.ask("reload", seconds=RELOAD_SECONDS)
        return "" if answer.startswith("Success=1") else texts.alerts(answer, self._folder)

    def say_digest(self, digest: str) -> None:
        """Has the current worker say that it serves the configuration of this digest, since it was changed to that."""
        self.ask("experimental-mode on", f"@1 set var proc.digest str({digest})")

    def figures(self) -> Figures:
        """What is served, and how much of what can be held is held."""
        answer = self.ask(*_FIGURES)
        held, limit = _frontend(answer)
        maximum = _number(r"^Maxconn: (\d+)", answer)
        return Figures(_digest(answer), self._draining(answer), held, min(limit, maximum))

    def _draining(self, processes: str) -> int:
        """How many former workers are still there.

        The master's list alone does not tell: one that ends while the master starts itself anew can stay in it.
        """
        _, _, former = processes.partition("# old workers\n")
        numbers = re.findall(r"^(\d+) +worker ", former, re.MULTILINE)
        try:
            answers = self.ask(*(f"@!{number} show info" for number in numbers)) if numbers else ""
        except SilentError:
            # One that hangs is there, and has no say in what the current worker serves.
            return len(numbers)
        return len(re.findall(r"^CurrConns: ", answers, re.MULTILINE))

    def ask(self, *commands: str, seconds: float = ANSWER_SECONDS) -> str:
        """All answers, one after the other."""
        try:
            return self._exchange("".join(f"{command}\n" for command in commands).encode(), seconds)
        except OSError as error:
            raise SilentError(f"HAProxy does not answer on its master socket: {error}") from error

    def lines(self, command: str) -> Iterator[str]:
        """One answer, line by line, which may be longer than what fits into memory as a whole."""
        try:
            with self._asked(f"{command}\n".encode(), ANSWER_SECONDS) as connection, connection.makefile() as answer:
                yield from answer
        except (OSError, ValueError) as error:
            raise SilentError(f"HAProxy does not answer on its master socket: {error}") from error

    def _exchange(self, question: bytes, seconds: float) -> str:
        with self._asked(question, seconds) as connection:
            answer = bytearray()
            while len(answer) < ANSWER_BYTES and (more := connection.recv(2**16)):
                answer += more
        return answer.decode(errors="replace")

    def _asked(self, question: bytes, seconds: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(seconds)
            connection.connect(self._path)
            connection.sendall(question)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            raise
        return connection


def _digest(answer: str) -> str:
    found = re.search(r"^(?:proc\.digest: type=str value=<(\w*)>|Variable not found)", answer, re.MULTILINE)
    if not found:
        raise SilentError("HAProxy has no worker that answers")
    return found[1] or ""


def _number(pattern: str, answer: str) -> int:
    found = re.search(pattern, answer, re.MULTILINE)
    return int(found[1]) if found else 0


def _frontend(answer: str) -> tuple[int, int]:
    """How many connections the split holds, and how many it may hold."""
    head = re.search(r"^# (pxname,.*)$", answer, re.MULTILINE)
    row = re.search(r"^split,FRONTEND,.*$", answer, re.MULTILINE)
    if not head or not row:
        return 0, 0
    cells = dict(zip(head[1].split(","), row[0].split(","), strict=False))
    return int(cells["scur"]), int(cells["slim"])
