"""The report: what HAProxy serves, and why it does not serve the mounted text."""

import json
import time

from kanary_agent.counters import Load, Summary
from kanary_agent.fullness import Fullness
from kanary_agent.master import Figures, Master, SilentError, WorkerState
from kanary_agent.ports import Ports
from kanary_agent.rollback import Rollback
from kanary_agent.routes import Routes
from kanary_agent.updater import Updater

CHANGE_SECONDS = 0.05
"""The shortest interval between two news."""
SERVERS_SECONDS = 1
"""The same, of news that differ only in the states of servers, or in the counts of a watched revision.

The first failure of a route in a revision does not wait so long.
"""
COUNTS_SECONDS = 30
"""The same, of news that differ only in counts: they change with each connection.

After a change of the weights it grows to this, so that the first news are as old as what they report.
"""
BYTES_PER_SECOND = 4096
"""The most that news about servers and counts may use of a stream; the operator reads twice as much at most. The first
failures of routes in a revision, which are few, may use ten times as much."""

NOTHING = Figures(WorkerState("", ""), draining=0, former=None, current=Summary("", Load(0, 0), {}, {}))


class Reporter:
    """Reports about the proxy of one pod, and notices when the report changes."""

    def __init__(
        self,
        pod: str,
        master: Master,
        updater: Updater,
        fullness: Fullness,
        routes: Routes,
        *,
        ports: Ports,
        rollback: Rollback,
    ) -> None:
        self._pod = pod
        self._master = master
        self._updater = updater
        self._fullness = fullness
        self._ports = ports
        self._rollback = rollback
        self._routes = routes
        self._digest = ""
        """As the last report has it."""
        self._split, self._split_at = "", 0.0
        """The same, and since when."""
        self._state: object = None
        """Of the last report, which a stream may have begun with."""
        self._news_state: object = None
        self._news_at = 0.0
        self._news_size = 0
        self._news_serving: object = None
        self._news_failing: object = None
        self._news_counting: object = None
        """What the last news were made from, without the counts of routes."""

    def report(self) -> str:
        """The report of this moment, as JSON in one line."""
        try:
            figures, silence = self._master.figures(), ""
        except SilentError as error:
            figures, silence = NOTHING, str(error)
        self._routes.count(figures)
        if figures.split != self._split:
            self._split, self._split_at = figures.split, time.monotonic()
        rejected, self._digest = self._updater.rejected, self._updater.digest_of(figures.state)
        problem, load, is_full = self._updater.problem or silence, figures.current.load, self._fullness.is_full
        limits = load.max_connections, is_full, self._ports.short, self._rollback.revision
        revisions = self._routes.revisions()
        self._state = self._digest, rejected, figures.draining, *limits, problem, self._routes.state(), revisions
        return json.dumps(
            {
                "pod": self._pod,
                "time": int(time.time()),
                "digest": self._digest,
                "rejected": {"digest": rejected[0], "message": rejected[1]} if rejected else None,
                "draining": figures.draining,
                "lost": figures.lost,
                "connections": load.connections,
                "maxConnections": load.max_connections,
                "full": is_full,
                "shortOfPorts": self._ports.short,
                "problem": problem,
                "rolledBack": self._rollback.report(),
                "routes": self._routes.figures(),
                **revisions,
            }
        )

    def news(self) -> str:
        """The report, if it has changed since the last news or report and the interval has passed; otherwise ""."""
        now = time.monotonic()
        if now < self._news_at + self._interval():
            return ""
        known, report = (self._news_state, self._state), self.report()
        self._news_at, self._news_state, self._news_size = now, self._state, len(report)
        self._news_serving, self._news_counting = self._serving(self._digest), self._counting()
        self._news_failing = self._routes.failing
        return "" if known == (self._state, self._state) else report

    def _interval(self) -> float:
        """How long after the last news the next ones may follow, in seconds."""
        serving, pace = self._updater.serving, self._news_size / BYTES_PER_SECOND
        if serving != self._digest or self._serving(serving) != self._news_serving:
            return CHANGE_SECONDS
        if self._routes.failing != self._news_failing:
            return max(CHANGE_SECONDS, pace / 10)
        if self._counting() != self._news_counting:
            return max(SERVERS_SECONDS, pace)
        return max(min(COUNTS_SECONDS, self._news_at - self._split_at), SERVERS_SECONDS, pace)

    def _serving(self, digest: str) -> object:
        unreached = [name for name, servers in self._routes.servers.items() if servers.unreached_since is not None]
        limits = self._fullness.is_full, self._ports.short, self._rollback.revision
        return digest, self._updater.rejected, self._updater.problem, *limits, unreached

    def _counting(self) -> object:
        return self._routes.servers, self._routes.revisions()
