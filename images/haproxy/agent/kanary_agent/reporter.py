"""The report: what HAProxy serves, and why it does not serve the mounted text."""

import json
import time

from kanary_agent.ejector import Ejector
from kanary_agent.master import Figures, Master, SilentError, WorkerState
from kanary_agent.updater import Updater

CHANGE_SECONDS = 0.05
"""The shortest interval between two news."""
COUNTS_SECONDS = 10
"""The shortest interval between two news that differ in counts alone: HAProxy is asked for them."""

NOTHING = Figures(WorkerState("", ""), draining=0, connections=0, max_connections=0)


class Reporter:
    """Reports about the proxy of one pod, and notices when the report changes."""

    def __init__(self, pod: str, master: Master, updater: Updater, ejector: Ejector) -> None:
        self._pod = pod
        self._master = master
        self._updater = updater
        self._ejector = ejector
        self._digest = ""
        """As the last report has it."""
        self._report = ""
        """The last report, which a stream may have begun with."""
        self._news = ""
        self._news_state: object = None
        """What the last news were made from, without counts."""
        self._news_at = 0.0

    def report(self) -> str:
        """The report of this moment, as JSON in one line."""
        try:
            figures, silence = self._master.figures(), ""
        except SilentError as error:
            figures, silence = NOTHING, str(error)
        rejected, self._digest = self._updater.rejected, self._updater.digest_of(figures.state)
        self._report = json.dumps(
            {
                "pod": self._pod,
                "digest": self._digest,
                "rejected": {"digest": rejected[0], "message": rejected[1]} if rejected else None,
                "draining": figures.draining,
                "connections": figures.connections,
                "maxConnections": figures.max_connections,
                "problem": self._updater.problem or silence,
                "ejected": self._ejector.ejected,
            }
        )
        return self._report

    def news(self) -> str:
        """The report, if it has changed since the last news or report and the interval has passed; otherwise ""."""
        now, serving = time.monotonic(), self._updater.serving
        has_changed = self._state(serving) != self._news_state or serving != self._digest
        if now < self._news_at + (CHANGE_SECONDS if has_changed else COUNTS_SECONDS):
            return ""
        known, self._news = {self._news, self._report}, self.report()
        self._news_at, self._news_state = now, self._state(self._digest)
        return "" if known == {self._news} else self._news

    def _state(self, digest: str) -> object:
        return digest, self._updater.rejected, self._updater.problem, self._ejector.ejected
