"""One run of `haproxy -c`, in the background."""

import os
from typing import NamedTuple

from kanary_agent import files, texts
from kanary_agent.program import Program

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
        os.makedirs(folder, exist_ok=True)
        copy = os.path.join(folder, "haproxy.cfg")
        files.write(copy, text)
        self._program = Program([program, "-c", "-f", copy], self._log, now + SECONDS)

    def verdict(self, now: float) -> Verdict | None:
        """The result, or None while the check runs."""
        try:
            code = self._program.code(now)
        except TimeoutError:
            return Verdict(accepted=False, rejected=False, message=f"haproxy -c did not end within {SECONDS} s")
        return None if code is None else self._verdict_of(code)

    def stop(self) -> None:
        """Kill the process."""
        self._program.stop()

    def _verdict_of(self, code: int) -> Verdict:
        if code == 0:
            return ACCEPTED
        if code < 0:
            message = f"signal {-code} ended haproxy -c, perhaps because memory ran out"
            return Verdict(accepted=False, rejected=False, message=message)
        log = files.Watched(self._log).text() or ""
        return Verdict(accepted=False, rejected=True, message=texts.alerts(log, self._folder))
