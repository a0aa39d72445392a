"""Loads the newest text into the running proxy: with commands if only servers and weights differ, else with a reload.

Each step compares and acts on the first difference. Its decisions do not depend on former steps, except for the backoff
after a failure.
"""

import contextlib
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from kanary_agent import binding, counters, files, runtime, texts
from kanary_agent.check import Check, Verdict
from kanary_agent.master import Master, SilentError, WorkerState
from kanary_agent.reloader import Reloader

POLL_SECONDS = 1
"""The interval between two requests of what HAProxy serves while nothing changes."""
RELOAD_STEP_SECONDS = 0.2
"""The same, while a reload waits."""
CHECK_BACKOFF_SECONDS = 60
"""The longest time between two checks of the same text: one may have failed because memory ran out."""
RELOAD_BACKOFF_SECONDS = (30, 600)
"""The shortest and the longest time between two reloads with the same text: a failed one may lose connections."""


class Failure(NamedTuple):
    """A failed attempt to serve a text, with its reason, and the time of the next attempt."""

    rejected: bool
    message: str
    delay: int
    retry: float


class Updater:
    """Writes the validated file and reloads HAProxy.

    `mounted` is the path of the text to serve; the operator may `send` a newer one earlier. `accepted.cfg` in the same
    folder, if present, is the last text that other proxies of the Kanary have served: a new proxy serves it if its
    HAProxy rejects the mounted text. `folder` holds `haproxy.cfg`, the text that HAProxy starts with, and `served.cfg`,
    the last text that a worker has served. `count` reads the counters of all workers.
    `change` returns the text to serve in place of the newest one.
    """

    def __init__(
        self,
        mounted: str,
        folder: str,
        program: str,
        master: Master,
        *,
        count: Callable[[], None],
        change: Callable[[str], str],
    ) -> None:
        self._mounted = files.Watched(mounted)
        self._accepted = files.Watched(os.path.join(os.path.dirname(mounted), "accepted.cfg"))
        self._validated = files.Watched(os.path.join(folder, "haproxy.cfg"))
        self._served = files.Watched(os.path.join(folder, "served.cfg"))
        self._sent = ""
        self._folder = folder
        self._program = program
        self._master = master
        self._reloader = Reloader(master)
        self._to_reload = ""
        """A text for which commands were not enough, and whose reload waits."""
        self._count = count
        self._change = change
        self._check: Check | None = None
        self._failures: dict[str, Failure] = {}
        self._next_poll = 0.0
        self.changes = 0
        """The number of reloads and of changes without one."""
        self.serving = ""
        """The digest that HAProxy reported last; empty while it does not respond."""
        self.problem = ""
        """Why the newest text is not served, in one line, unless HAProxy rejected it."""
        self._logged: dict[str, str] = {}

    @property
    def is_checking(self) -> bool:
        """Whether a check runs."""
        return self._check is not None

    @property
    def rejected(self) -> tuple[str, str] | None:
        """The digest of the newest text and HAProxy's reason, if HAProxy rejected it."""
        text = self._newest_text()
        failure = self._failures.get(text)
        return (texts.digest_of(text), failure.message) if failure and failure.rejected else None

    def _problem(self) -> str:
        failed = [failure.message for failure in self._failures.values() if not failure.rejected]
        return self._mount_problem() or "; ".join(failed)

    @property
    def newest(self) -> texts.Origin:
        """The origin of the newest text."""
        return texts.origin_of(self.text)

    @property
    def text(self) -> str:
        """The text to serve."""
        return self._newest_text()

    def serves_newest(self) -> bool:
        """Whether HAProxy serves the newest text, as far as it has reported."""
        return self.serving != "" and self.serving == texts.digest_of(self.text)

    def send(self, text: str) -> None:
        """Serve this text if it is newer than all others. Its authenticity is proven."""
        if texts.is_newer(text, self._newest_text()):
            self._sent = text
            self._next_poll = 0.0

    def step(self) -> None:
        """Act on the first difference, if it is time."""
        now = time.monotonic()
        newest = self._newest_text()
        text = self._fallback() or newest
        self._forget_all_but(newest, text, self._validated_text())
        try:
            self._act(text, now)
        except OSError as error:
            # The disk is full, or there is no memory for a process.
            self._fail(text, f"{type(error).__name__}: {error}", (1, CHECK_BACKOFF_SECONDS))
        self.problem = self._problem()
        self._log("problem", self.problem)

    def digest_of(self, state: WorkerState) -> str:
        """The digest of the text that a worker serves; '' if it has none.

        An agent may have been killed after it set another split and before it set the digest.
        """
        text = self._text_with(state.digest)
        return "" if text and texts.split_of(text) != state.split else state.digest

    def stop(self) -> None:
        """Stop a check that runs."""
        if self._check:
            self._check.stop()

    def _act(self, text: str, now: float) -> None:
        if self._check:
            verdict = self._check.verdict(now)
            if verdict:
                text, self._check = self._check.text, None
                self._conclude(text, verdict, now)
        elif self._needs_check(text, now):
            self._check = Check(self._program, text, os.path.join(self._folder, "check"), now)
        elif now >= self._next_poll:
            self._converge(now)

    def _newest_text(self) -> str:
        """The text to serve: the kubelet mounts a text that was sent about a minute later, also in a new container."""
        newest = self._mounted.text() or ""
        for text in (self._validated_text(), self._sent):
            if texts.is_newer(text, newest):
                newest = text
        return self._change(newest)

    def _fallback(self) -> str:
        """The text to serve if HAProxy rejects the newest text and has no former one, or ''."""
        return self._accepted.text() or "" if self.rejected and not self._validated_text() else ""

    def _mount_problem(self) -> str:
        text = self._mounted.text()
        if text is None:
            return f"{self._mounted.path} cannot be read"
        return "" if texts.digest_of(text) else f"{self._mounted.path} has no digest"

    # From the mounted text to the validated one

    def _needs_check(self, text: str, now: float) -> bool:
        return texts.digest_of(text) != "" and text != self._validated_text() and self._may_try(text, now)

    def _validated_text(self) -> str:
        return texts.plain(self._validated.text() or "")

    def _conclude(self, text: str, verdict: Verdict, now: float) -> None:
        if not verdict.accepted:
            delays = (CHECK_BACKOFF_SECONDS if verdict.rejected else 1, CHECK_BACKOFF_SECONDS)
            self._fail(text, verdict.message, delays, rejected=verdict.rejected)
        elif problem := binding.bind_problem(text, self._validated_text() or text):
            self._fail(text, problem, (1, CHECK_BACKOFF_SECONDS))
        else:
            self._accept(text)
            self._converge(now)

    def _accept(self, text: str) -> None:
        self._logged.pop("rejected", None)
        # Last chance to save the former text as served, in case this one fails to start.
        with contextlib.suppress(SilentError):
            self._is_outdated()
        files.write(self._validated.path, text)

    # From the validated text to the served one

    def _converge(self, now: float) -> None:
        """Load the validated text, if the worker serves another one."""
        self._next_poll = now + POLL_SECONDS
        try:
            if self._is_outdated() and self._may_try(self._validated_text(), now):
                self._load(now)
            self._log("waiting", "")
        except SilentError as error:
            # Not a failure: HAProxy will start with the validated text.
            self.serving = ""
            self._log("waiting", str(error))

    def _load(self, now: float) -> None:
        text = self._validated_text()
        if text != self._to_reload and self._update_worker():
            return
        self._to_reload = text
        if self._reloader.has_to_wait(now):
            self._next_poll = now + RELOAD_STEP_SECONDS
            return
        self._to_reload = ""
        self._reload()

    def _is_outdated(self) -> bool:
        """Whether the worker serves another text than the validated one."""
        served, text = self._master.state(), self._validated_text()
        self.serving = self.digest_of(served)
        self._log("serving", self.serving)
        if served != (texts.digest_of(text), texts.split_of(text)):
            return True
        self._save_served()
        return False

    def _save_served(self) -> None:
        """Save the served text for the next start and the next failure.

        What `continued` has added is right for one reload only: every further start would begin with it.
        """
        text = self._validated_text()
        self._failures.pop(text, None)
        if text != self._validated.text():
            files.write(self._validated.path, text)
        if text != self._served.text():
            files.write(self._served.path, text)

    def _update_worker(self) -> bool:
        """Whether commands were enough for the worker to serve the validated text."""
        served = self._served_text()
        changed = runtime.update(self._master, served, self._validated_text(), self._count) if served else ""
        if not changed:
            return False
        self.changes += 1
        print(f"changed without a reload: {changed}", flush=True)
        return not self._is_outdated()

    def _reload(self) -> None:
        text = self._validated_text()
        # A worker without connections ends at once.
        self._count()
        counts = self._master.counts(texts.starts_of(text))
        states = os.path.join(self._folder, "servers.state")
        files.write(states, counters.state_file(self._master.stream(counters.STATES)))
        files.write(self._validated.path, texts.continued(text, counts, states))
        self.changes += 1
        try:
            message = self._reloader.reload(self._served_text())
        except SilentError:
            os.remove(states)
            raise
        # Later, it would mark pods down that are up.
        os.remove(states)
        if message:
            self._restore()
        elif self._is_outdated():
            message = "HAProxy has reloaded but does not serve the new configuration"
        if message:
            self._fail(text, f"the reload failed: {message}", RELOAD_BACKOFF_SECONDS)

    def _restore(self) -> None:
        """Restore the served text for the next start: the new one passed the check and failed to start."""
        if served := self._served_text():
            files.write(self._validated.path, served)

    def _served_text(self) -> str:
        """The text with the digest that the worker reports, or '' if it is not known."""
        return self._text_with(self._master.state().digest)

    def _text_with(self, digest: str) -> str:
        known = (self._served.text() or "", self._validated_text())
        return next((text for text in known if texts.digest_of(text) == digest), "") if digest else ""

    # Backoff and log

    def _may_try(self, text: str, now: float) -> bool:
        return text not in self._failures or now >= self._failures[text].retry

    def _fail(self, text: str, message: str, delays: tuple[int, int], rejected: bool = False) -> None:
        least, most = delays
        former = self._failures.get(text)
        delay = min(max(2 * former.delay if former else 0, least), most)
        # The delay starts now: the attempt may have taken longer than the delay.
        self._failures[text] = Failure(rejected, message, delay, time.monotonic() + delay)
        if rejected:
            self._log("rejected", f"{texts.digest_of(text)}: {message}")

    def _forget_all_but(self, *present: str) -> None:
        self._failures = {text: failure for text, failure in self._failures.items() if text in present}

    def _log(self, what: str, message: str) -> None:
        """Write one line for each change."""
        if self._logged.get(what, "") != message:
            self._logged[what] = message
            print(f"{what}: {message or 'none'}", flush=True)
