"""A program that runs in the background."""

import os
import signal


class Program:
    """Starts a command, with its output in the file `log`.

    `end` is the time of `time.monotonic` at which it has to have ended. Raises OSError if it cannot be started.
    """

    def __init__(self, command: list[str], log: str, end: float) -> None:
        self._end = end
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        output = [(os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
        self._process = os.posix_spawnp(command[0], command, os.environ, file_actions=output)

    def code(self, now: float) -> int | None:
        """Its exit code, or -N if signal N has ended it; None while it runs.

        Raises TimeoutError if it runs for too long, and kills it.
        """
        process, status = os.waitpid(self._process, os.WNOHANG)
        if process:
            return os.waitstatus_to_exitcode(status)
        if now < self._end:
            return None
        self.stop()
        raise TimeoutError

    def stop(self) -> None:
        """Kill it."""
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
