"""One run of `haproxy -c`, in the background."""

import os
import signal
from typing import NamedTuple

from kanary_agent import files, texts

SECONDS = 20
"""Time-out. 5,000 servers take 0.1 s of a core; the CPU limit of a container may be far lower."""


class Verdict(NamedTuple):
    """The result of a check. `rejected` is true only if HAProxy itself rejected the text, not if the check failed."""

    accepted: bool
    rejected: bool
    message: str


ACCEPTED = Verdict(accepted=True, rejected=False, message="")


class Check:
    """Starts a check of `text`, on a copy of it in `folder`."""

    def __init__(self, program: str, text: str, folder: str, now: float) -> None:
        self.text = text
        self._folder = folder
        self._log = os.path.join(folder, "log")
        self._end = now + SECONDS
        os.makedirs(folder, exist_ok=True)
        copy = os.path.join(folder, "haproxy.cfg")
        files.write(copy, text)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        output = [(os.POSIX_SPAWN_OPEN, 1, self._log, flags, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
        self._process = os.posix_spawnp(program, [program, "-c", "-f", copy], os.environ, file_actions=output)

    def verdict(self, now: float) -> Verdict | None:
        """The result, or None while the check runs."""
        process, status = os.waitpid(self._process, os.WNOHANG)
        if process:
            return self._verdict_of(os.waitstatus_to_exitcode(status))
        if now < self._end:
            return None
        self.stop()
        return Verdict(accepted=False, rejected=False, message=f"haproxy -c did not end within {SECONDS} s")

    def stop(self) -> None:
        """Kill the process."""
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)

    def _verdict_of(self, code: int) -> Verdict:
        if code == 0:
            return ACCEPTED
        if code < 0:
            message = f"signal {-code} ended haproxy -c, perhaps because memory ran out"
            return Verdict(accepted=False, rejected=False, message=message)
        log = files.Watched(self._log).text() or ""
        return Verdict(accepted=False, rejected=True, message=texts.alerts(log, self._folder))
