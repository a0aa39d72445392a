"""Brings the mounted text to the running proxy, one turn after the other: by a reload, or where only servers come and
go, by telling the worker that runs.

A turn compares, and acts on the first difference. Nothing that it decides depends on what happened before, but for
the patience with a text that was tried in vain.
"""

import contextlib
import os
import time
from typing import NamedTuple

from kanary_agent import binding, files, servers, texts
from kanary_agent.check import Check, Verdict
from kanary_agent.master import Master, SilentError

LOOK_SECONDS = 1
"""How often HAProxy is asked what it serves when nothing has changed."""
PATIENCE_SECONDS = 60
"""The longest time between two checks of the same text: one may have failed for want of memory."""
RELOAD_PATIENCE_SECONDS = (30, 600)
"""The shortest and the longest time between two reloads with the same text, since one that fails may have a price."""


class Setback(NamedTuple):
    """An attempt with a text that failed, with what HAProxy says against it, and the time of the next one."""

    refused: bool
    message: str
    delay: int
    retry: float


class Updater:
    """The one that writes the checked file and has HAProxy reloaded.

    `mounted` is the path of the text that is to be served; beside it may be `accepted.cfg`, which other proxies of the
    Kanary have served, for one that has nothing to serve while its HAProxy refuses the first. In `folder` are, when all
    is well, `haproxy.cfg`, the text that HAProxy starts with, and `served.cfg`, the last text that a worker was seen to
    serve.
    """

    def __init__(self, mounted: str, folder: str, program: str, master: Master) -> None:
        self._mounted = files.Watched(mounted)
        self._accepted = files.Watched(os.path.join(os.path.dirname(mounted), "accepted.cfg"))
        self._checked = files.Watched(os.path.join(folder, "haproxy.cfg"))
        self._served = files.Watched(os.path.join(folder, "served.cfg"))
        self._folder = folder
        self._program = program
        self._master = master
        self._check: Check | None = None
        self._setbacks: dict[str, Setback] = {}
        self._look = 0.0
        self.changes = 0
        """How often HAProxy was told to have a new worker, or other servers."""
        self._said: dict[str, str] = {}

    @property
    def is_checking(self) -> bool:
        """Whether a check runs."""
        return self._check is not None

    @property
    def refused(self) -> tuple[str, str] | None:
        """The digest of the mounted text, and what HAProxy says against it, if it refused it."""
        text = self._mounted.text() or ""
        setback = self._setbacks.get(text)
        return (texts.digest_of(text), setback.message) if setback and setback.refused else None

    @property
    def problem(self) -> str:
        """What else keeps the mounted text from being served, in one line."""
        failed = [setback.message for setback in self._setbacks.values() if not setback.refused]
        return self._mount_problem() or "; ".join(failed)

    def turn(self) -> None:
        """Does what is to be done now."""
        now = time.monotonic()
        mounted = self._mounted.text() or ""
        text = self._fallback() or mounted
        self._forget_all_but(mounted, text, self._checked_text())
        try:
            self._act(text, now)
        except OSError as error:
            # No room for a file, or no memory for a process.
            self._set_back(text, f"{type(error).__name__}: {error}", (1, PATIENCE_SECONDS))
        self._say("problem", self.problem)

    def stop(self) -> None:
        """Leaves nothing running."""
        if self._check:
            self._check.stop()

    def _act(self, text: str, now: float) -> None:
        if self._check:
            verdict = self._check.verdict(now)
            if verdict:
                text, self._check = self._check.text, None
                self._conclude(text, verdict, now)
        elif self._wants_check(text, now):
            self._check = Check(self._program, text, os.path.join(self._folder, "check"), now)
        elif now >= self._look:
            self._converge(now)

    def _fallback(self) -> str:
        """What is to be served where HAProxy refuses the mounted text, and has no former one to go on with."""
        return self._accepted.text() or "" if self.refused and not self._checked_text() else ""

    def _mount_problem(self) -> str:
        text = self._mounted.text()
        if text is None:
            return f"{self._mounted.path} cannot be read"
        return "" if texts.digest_of(text) else f"{self._mounted.path} carries no digest"

    # From the mounted text to the checked one

    def _wants_check(self, text: str, now: float) -> bool:
        return texts.digest_of(text) != "" and text != self._checked_text() and self._may_try(text, now)

    def _checked_text(self) -> str:
        return texts.plain(self._checked.text() or "")

    def _conclude(self, text: str, verdict: Verdict, now: float) -> None:
        if not verdict.accepted:
            delays = (PATIENCE_SECONDS if verdict.refused else 1, PATIENCE_SECONDS)
            self._set_back(text, verdict.message, delays, refused=verdict.refused)
        elif obstacle := binding.obstacle(text, self._checked_text() or text):
            self._set_back(text, obstacle, (1, PATIENCE_SECONDS))
        else:
            self._accept(text)
            self._converge(now)

    def _accept(self, text: str) -> None:
        self._said.pop("refused", None)
        # The last moment to see that the former text is served, for the case that this one fails to start.
        with contextlib.suppress(SilentError):
            self._serves_other()
        files.write(self._checked.path, text)

    # From the checked text to the served one

    def _converge(self, now: float) -> None:
        """Has the checked text served, if it is not."""
        self._look = now + LOOK_SECONDS
        try:
            if self._serves_other() and self._may_try(self._checked_text(), now) and not self._renew_servers():
                self._reload()
            self._say("waiting", "")
        except SilentError as error:
            # No setback: when HAProxy starts, it starts with the checked text.
            self._say("waiting", str(error))

    def _serves_other(self) -> bool:
        served = self._master.digest()
        self._say("serving", served)
        if served != texts.digest_of(self._checked_text()):
            return True
        self._settle()
        return False

    def _settle(self) -> None:
        """What is served stands where the next start, and the next failure, finds it.

        The count that the checked text may still carry was right for one reload: each start from it would begin at
        the same place of the round.
        """
        text = self._checked_text()
        self._setbacks.pop(text, None)
        if text != self._checked.text():
            files.write(self._checked.path, text)
        if text != self._served.text():
            files.write(self._served.path, text)

    def _renew_servers(self) -> bool:
        """Whether the worker that runs has come to serve the checked text."""
        served = self._served.text() or ""
        if texts.digest_of(served) != self._master.digest() != "":
            return False
        changed = servers.renew(self._master, served, self._checked_text())
        if not changed:
            return False
        self.changes += 1
        print(f"servers: {changed}", flush=True)
        return not self._serves_other()

    def _reload(self) -> None:
        text = self._checked_text()
        count = self._master.count()
        files.write(self._checked.path, text if count is None else texts.continued(text, count))
        self.changes += 1
        message = self._master.reload()
        if message:
            self._restore()
        elif self._serves_other():
            message = "HAProxy has reloaded, and does not serve the new configuration"
        if message:
            self._set_back(text, f"the reload failed: {message}", RELOAD_PATIENCE_SECONDS)

    def _restore(self) -> None:
        """A text that passes the check can still fail to start, and the next start of HAProxy is not to meet it."""
        text = self._served.text() or ""
        if texts.digest_of(text) == self._master.digest() != "":
            files.write(self._checked.path, text)

    # Patience, and what is said

    def _may_try(self, text: str, now: float) -> bool:
        return text not in self._setbacks or now >= self._setbacks[text].retry

    def _set_back(self, text: str, message: str, delays: tuple[int, int], refused: bool = False) -> None:
        least, most = delays
        former = self._setbacks.get(text)
        delay = min(max(2 * former.delay if former else 0, least), most)
        # From now on: the attempt itself may have taken longer than the delay.
        self._setbacks[text] = Setback(refused, message, delay, time.monotonic() + delay)
        if refused:
            self._say("refused", f"{texts.digest_of(text)}: {message}")

    def _forget_all_but(self, *present: str) -> None:
        self._setbacks = {text: setback for text, setback in self._setbacks.items() if text in present}

    def _say(self, what: str, message: str) -> None:
        """One line for each change, and none for what stays as it is."""
        if self._said.get(what, "") != message:
            self._said[what] = message
            print(f"{what}: {message or 'no longer'}", flush=True)
