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
        return json.dumps(
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

    def news(self) -> str:
        """The report, if it has changed since the last news and the interval has passed; otherwise ""."""
        now = time.monotonic()
        interval = CHANGE_SECONDS if self._state(self._updater.serving) != self._news_state else COUNTS_SECONDS
        if now < self._news_at + interval:
            return ""
        former, self._news = self._news, self.report()
        self._news_at, self._news_state = now, self._state(self._digest)
        return "" if self._news == former else self._news

    def _state(self, digest: str) -> object:
        return digest, self._updater.rejected, self._updater.problem, self._ejector.ejected
