"""Shells in a terminal of their own, in which the tests press the Tab key."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

TOOL = Path(__file__).parents[1] / "tools" / "shells"
MISSING = 3
_CLEAR, _TAB, _SHOW = "\x15", "\t", "\x0f"
_START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
# Ctrl-O writes the line that is edited into a file: what a terminal shows of it depends on the shell.
_PREPARE = {
    "bash": """bind -x '"\\C-o": printf "%s" "$READLINE_LINE" >"$SHOWN.part"; mv "$SHOWN.part" "$SHOWN"'""",
    "zsh": 'show() { print -rn -- "$BUFFER" >"$SHOWN.part"; mv "$SHOWN.part" "$SHOWN" }; '
    'zle -N show; bindkey "^O" show; '
    "autoload -U compinit && compinit -u -D",
}


def require_shells() -> None:
    """Skip the test if there is no zsh or fish and the tests may not install them."""
    tool = subprocess.run([TOOL], check=False)
    if tool.returncode == MISSING:
        pytest.skip("zsh or fish is missing here, and only on Debian, as root, do the tests install them")
    assert tool.returncode == 0, "zsh and fish could not be installed: see above"


class Terminal:
    """bash or zsh with the completion of `kanary`; close it afterwards."""

    def __init__(self, shell: str, folder: Path, environment: dict[str, str]) -> None:
        self._shown = folder / f"{shell}.line"
        environment = environment | {"SHOWN": str(self._shown), "TERM": "xterm", "HOME": str(folder), "PS1": "> "}
        self._process, self._file = pty.fork()
        if self._process == 0:
            os.execvpe(_START[shell][0], _START[shell], environment)
        ready = folder / f"{shell}.ready"
        self._type(f"{_PREPARE[shell]}; source <(kanary completion {shell}); touch {ready}\n")
        self._until(ready)

    def completed(self, line: str) -> str:
        """The line after it was typed, with the Tab key pressed at its end."""
        self._shown.unlink(missing_ok=True)
        self._type(_CLEAR + line + _TAB + _SHOW)
        self._until(self._shown)
        return self._shown.read_text()

    def close(self) -> None:
        """End the shell."""
        with suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._file)

    def _type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def _until(self, path: Path) -> None:
        output, end = b"", time.monotonic() + PATIENCE
        while not path.exists():
            assert time.monotonic() < end, output.decode(errors="replace")
            # A shell whose output nobody reads stops.
            if select.select([self._file], [], [], 0.05)[0]:
                output += os.read(self._file, 65536)


class Fish:
    """fish, which prints the completions of a line by itself, without a terminal."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._environment = environment | {"HOME": str(folder)}

    def completed(self, line: str) -> str:
        """The line with its last word completed, which must be the only completion."""
        script = "source (kanary completion fish | psub); complete -C $argv[1]"
        run = ["fish", "--no-config", "-c", script, line]
        printed = subprocess.run(
            run, env=self._environment, capture_output=True, text=True, timeout=PATIENCE, check=True
        ).stdout
        begun = line.rpartition(" ")[2]
        words = [each.partition("\t")[0] for each in printed.splitlines()]
        return line.removesuffix(begun) + " ".join(words) + " "

    def close(self) -> None:
        """Nothing runs."""
