"""One run of `haproxy -c`, beside everything else that the agent does."""

import os
import signal
from typing import NamedTuple

from kanary_agent import files, texts

SECONDS = 20
"""5,000 servers take 0.1 s of a core; a container may have a small part of one."""


class Verdict(NamedTuple):
    """What came of a check. Not to be accepted is to be refused only where HAProxy itself said so."""

    accepted: bool
    refused: bool
    message: str


ACCEPTED = Verdict(accepted=True, refused=False, message="")


class Check:
    """A check of `text` that runs from now on, on a copy of it in `folder`."""

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
        """None as long as it runs."""
        process, status = os.waitpid(self._process, os.WNOHANG)
        if process:
            return self._verdict_of(os.waitstatus_to_exitcode(status))
        if now < self._end:
            return None
        self.stop()
        return Verdict(accepted=False, refused=False, message=f"haproxy -c did not end within {SECONDS} s")

    def stop(self) -> None:
        """Ends it, wherever it is."""
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)

    def _verdict_of(self, code: int) -> Verdict:
        if code == 0:
            return ACCEPTED
        if code < 0:
            message = f"haproxy -c was ended by signal {-code}, perhaps for want of memory"
            return Verdict(accepted=False, refused=False, message=message)
        log = files.Watched(self._log).text() or ""
        return Verdict(accepted=False, refused=True, message=texts.alerts(log, self._folder))
