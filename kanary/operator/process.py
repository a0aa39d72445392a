"""The operator's process: connects to the cluster, watches it, and reconciles while it is the leader."""

import gc
import logging
import threading
import time

from engine.observe import Defaults
from engine.ports import EndingError, RejectedError, RetryLaterError
from engine.reconcile import Reconciler
from engine.render.sysctls import sysctls_for
from kanary.history.reader import Reader
from kanary.kanaries import FIELD_MANAGER, KANARIES
from kanary.kube.client import ClusterClient, ClusterError
from kanary.kube.events import Recorder
from kanary.kube.lease import Elector
from kanary.kube.resources import ENDPOINT_SLICES, PDBS, Key
from kanary.kube.workqueue import WorkQueue
from kanary.operator.agents import Agents
from kanary.operator.metrics import CONTENT_TYPE, Metrics
from kanary.operator.record_feed import RecordFeed
from kanary.operator.reporter import EventReporter
from kanary.operator.settings import Settings, read_proxies
from kanary.operator.signing import SigningKey
from kanary.operator.view import View
from kanary.operator.watches import Served, Watches
from kanary.operator.writer import Writer
from kanary.outbound.allowed import AllowedHosts
from kanary.outbound.checks import OutboundChecks
from kanary.outbound.peers import Peers
from kanary.version import VERSION
from kanary.web.history import history_api
from kanary.web.probes import probes
from kanary.web.server import HttpServer, listen, listen_on_loopback
from states import Phase
from states.timing import CONNECT_PAUSE, RECONCILE_STOP_LIMIT, REJECTED_RECHECK

_log = logging.getLogger(__name__)

_STEPS_IN_A_ROW = len(Phase)
"""A change takes fewer: a Kanary that changes all the time must not keep a worker."""
_SPARE_WORKERS = 1
"""Other namespaces have a worker while one has more to do than `workers` can."""


class Operator:
    """One replica of the operator; `run` returns after `stop`, or when leadership is lost."""

    def __init__(
        self, client: ClusterClient, settings: Settings, metrics: Metrics, agents: Agents | None = None
    ) -> None:
        self._client = client
        self._settings = settings
        self._metrics = metrics
        self._agents = agents or Agents(client.clock.now)
        self._history = RecordFeed(client, settings, metrics)
        self._stop = threading.Event()
        self._queue: WorkQueue[Key] = WorkQueue(group=lambda key: key.namespace, group_limit=settings.workers)
        self._watches: Watches | None = None
        self._checks: OutboundChecks | None = None
        self._threads: list[threading.Thread] = []
        self._has_lost = False
        self._starting = threading.Lock()
        namespace = settings.lease_namespace or client.namespace
        self._elector = Elector(
            client,
            namespace,
            settings.lease_name,
            f"{settings.pod_name}_{settings.pod_uid}" if settings.pod_uid else settings.pod_name,
            is_exclusive=bool(settings.pod_uid),
            is_first=self._is_first,
        )
        self._key = SigningKey(client, namespace, f"{settings.lease_name}-signing-key", self._may_write)
        self._recorder = Recorder(client, "kanary.k8s.io/operator", settings.pod_name, on_dropped=metrics.event_dropped)
        self._http = HttpServer(probes(self._problems, metrics.expose, CONTENT_TYPE), listen(settings.http_port))
        # Every replica serves the history, leader or not: it reads the configured database.
        source = Reader(settings.history_url) if settings.history_url else None
        self._history_http = HttpServer(
            history_api(source, self._history.fault), listen_on_loopback(settings.history_port)
        )
        metrics.observe_queue(self._queue.depth)
        metrics.observe_leadership(self._may_write)

    @property
    def http_port(self) -> int:
        """The port of /healthz, /readyz and /metrics."""
        return self._http.port

    @property
    def history_port(self) -> int:
        """The port of the history, on loopback."""
        return self._history_http.port

    def stop(self) -> None:
        """Stop `run`: it finishes reconciles in progress and releases the Lease."""
        self._stop.set()

    def run(self) -> int:
        """Run until stopped; returns the process's exit code, 1 if leadership was lost."""
        self._http.start()
        self._history_http.start()
        self._recorder.start()
        try:
            served = self._discover()
            if served:
                self._follow(served)
        finally:
            self._queue.shutdown()
            if self._watches:
                self._watches.stop()
            self._agents.stop()
            if self._checks:
                self._checks.stop()
            self._recorder.stop()
            self._history_http.stop()
            self._http.stop()
        return 1 if self._has_lost else 0

    def _discover(self) -> Served | None:
        """Wait until the cluster responds and has the CRD; returns None if stopped before."""
        while not self._stop.is_set():
            try:
                if self._client.serves(KANARIES):
                    version = self._client.server_version()
                    _log.info("connected to %s, Kubernetes %s", self._client.host, version)
                    return Served(self._client.serves(ENDPOINT_SLICES), self._client.serves(PDBS), version)
                _log.error("the CRD %s is not installed: kubectl apply -f manifests/kanary.yml", KANARIES)
            except ClusterError as error:
                _log.error("cannot discover the API: %s", error)
            self._stop.wait(CONNECT_PAUSE.total_seconds())
        return None

    def _follow(self, served: Served) -> None:
        watches = Watches(
            self._client,
            served,
            self._queue,
            on_pod=self._agents.changed,
            namespace=self._settings.namespace,
            on_restart=self._metrics.watch_restarted,
        )
        for reflector in watches.all:
            self._metrics.observe_watch(str(reflector.resource), reflector.age)
        self._watches = watches
        watches.start()
        while not self._stop.is_set() and not watches.can_report():
            self._stop.wait(0.05)
        # A process that stops must not acquire the Lease, and an incomplete copy proves nothing.
        if self._stop.is_set():
            return
        if self._settings.leader_election:
            self._lead(watches)
        else:
            self._start_or_resume(watches)
            self._stop.wait()
            self._finish()

    def _lead(self, watches: Watches) -> None:
        """Run the election. The Lease is released only after the workers have ended."""
        over = threading.Event()

        def finish() -> None:
            self._stop.wait()
            self._finish()
            over.set()

        finisher = threading.Thread(target=finish, name="finish", daemon=True)
        finisher.start()
        try:
            self._has_lost = not self._elector.run(
                over, lambda: self._start_or_resume(watches), lambda: self._reconnect(watches)
            )
        finally:
            self._stop.set()
            finisher.join()

    def _is_first(self) -> bool:
        """Whether no operator has led in this cluster before: none has written the status of a Kanary."""
        return self._watches is not None and not any(kanary.get("status") for kanary in self._watches.kanaries.values())

    def _start_or_resume(self, watches: Watches) -> None:
        """Start the workers, or resume after a time without leadership."""
        with self._starting:
            if self._stop.is_set():
                return
            if not self._threads:
                self._start_workers(watches)
                return
        watches.enqueue_all()

    def _reconnect(self, watches: Watches) -> None:
        """The API server responds again: wait neither for backoffs nor for connections that may be dead."""
        # First: the threads of the watches take idle connections at once.
        self._client.reset_connections()
        for reflector in watches.all:
            reflector.reconnect()
        self._queue.retry_failed()

    def _start_workers(self, watches: Watches) -> None:
        # Modules and the copies of the cluster: no later collection needs to look for cycles among them.
        gc.collect()
        gc.freeze()
        # Before the first reconcile, which needs the reports.
        self._agents.start(
            watches.proxy_pod, watches.pods.all_keys, self._take_news, self._can_act, count=self._metrics.kanaries.count
        )
        view = View(self._client, watches, self._agents, self._key)
        peers = Peers(view, self._client, AllowedHosts.parse(self._settings.allowed_hosts))
        self._checks = OutboundChecks(
            peers.find, self._key.sign, self._queue.add, now=self._client.clock.now, may_run=self._may_write
        )
        reconciler = Reconciler(
            view,
            Writer(self._client, watches, self._may_write, agents=self._agents, key=self._key),
            EventReporter(self._recorder, self._metrics),
            history=self._history.start(watches),
            checks=self._checks,
            clock=self._client.clock,
            staleness=watches.staleness,
            defaults=Defaults(
                self._settings.proxy_image,
                watches.served.disruption_budgets,
                sysctls_for(watches.served.version) if self._settings.pod_sysctls else {},
                read_proxies(self._settings.proxy_defaults),
            ),
        )
        self._threads = [
            threading.Thread(target=self._worker, args=(reconciler,), name=f"worker-{number}", daemon=True)
            for number in range(self._settings.workers + _SPARE_WORKERS)
        ]
        for thread in self._threads:
            thread.start()
        _log.info("started %d workers for %s", len(self._threads), self._settings.namespace or "all namespaces")
        watches.enqueue_all()

    def _take_news(self, key: Key, seconds: float) -> None:
        # A report that may wait has only counts for the status: with a backlog, changes for the proxies precede it.
        self._queue.add_after(key, seconds, routine=seconds > 0)

    def _finish(self) -> None:
        """Wait for the reconciles in progress. Call this after `stop` is set, so that no worker starts afterwards."""
        self._queue.shutdown()
        deadline = time.monotonic() + RECONCILE_STOP_LIMIT.total_seconds()
        with self._starting:
            threads = self._threads
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._history.stop()
        self._metrics.kanaries.clear()

    def _worker(self, reconciler: Reconciler) -> None:
        while (key := self._queue.get()) is not None:
            try:
                self._reconcile(reconciler, key)
            finally:
                self._queue.done(key)

    def _reconcile(self, reconciler: Reconciler, key: Key) -> None:
        """Run steps as long as the next one follows at once: at the end of the queue, a change would wait again."""
        for _ in range(_STEPS_IN_A_ROW):
            if not self._step(reconciler, key):
                return
        self._queue.add(key)

    def _step(self, reconciler: Reconciler, key: Key) -> bool:
        """Run one step; returns whether the next one follows at once."""
        started = time.monotonic()
        try:
            if self._watches and not self._watches.are_synced() and not self._watches.is_deleted(key):
                # Nothing can be decided: what is missing may exist.
                why = self._watches.staleness() or self._watches.unlisted()
                reconciler.report_stale(key.namespace, key.name, why)
                return False
            step = reconciler.reconcile(key.namespace, key.name)
        except RetryLaterError as error:
            # The deletion of a namespace is one line: each of its objects that goes leads to another attempt.
            is_known = isinstance(error, EndingError) and self._queue.is_failing(key)
            delay = self._queue.retry(key, at_least=error.delay or 0.0)
            _log.log(logging.DEBUG if is_known else logging.INFO, "%s: %s; retrying in %.1f s", key, error, delay)
            self._metrics.reconciled("retry", time.monotonic() - started)
        except RejectedError as error:
            # The status cannot be written, for example because the object violates a newer schema of the CRD.
            delay = self._queue.retry(key, at_least=REJECTED_RECHECK.total_seconds())
            _log.error("%s: %s; retrying in %.1f s", key, error, delay)
            self._metrics.reconciled("rejected", time.monotonic() - started)
        except Exception as error:  # a defect in one Kanary must not stop the others
            delay = self._queue.retry(key)
            _log.exception("%s: reconcile failed; retrying in %.1f s", key, delay)
            self._metrics.reconciled("error", time.monotonic() - started)
            self._report_defect(reconciler, key, error)
        else:
            self._queue.forget(key)
            self._metrics.reconciled("success", time.monotonic() - started)
            if step.requeue is not None:
                _log.debug("%s: requeued in %s, when %s", key, step.requeue.after, step.requeue.why)
                if not step.requeue.after:
                    return True
                self._queue.add_after(key, step.requeue.after.total_seconds(), routine=True)
        return False

    def _report_defect(self, reconciler: Reconciler, key: Key, error: Exception) -> None:
        try:
            reconciler.report_defect(key.namespace, key.name, error)
        except Exception:  # the defect itself is logged already
            _log.debug("%s: cannot write the conditions", key, exc_info=True)

    def _can_act(self, key: Key) -> bool:
        """Whether a decision about this Kanary could be written now, as far as is known."""
        return self._may_write() and not self._queue.is_failing(key)

    def _may_write(self) -> bool:
        return not self._settings.leader_election or self._elector.is_leader()

    def _problems(self) -> list[str]:
        """Why this replica is not ready; empty if it is."""
        if self._watches is None:
            return ["the first list of the watched objects is not complete"]
        if unlisted := self._watches.unlisted():
            return [f"the first list of the watched objects is not complete: {unlisted}"]
        return [*filter(None, [self._watches.staleness(), self._key.problem])]


def make(settings: Settings) -> Operator:
    """Connect to the configured cluster.

    Raises NotConfigured if there is none, OSError if a port is in use.
    """
    metrics = Metrics()
    client = ClusterClient.connect(
        kubeconfig=settings.kubeconfig,
        context=settings.context,
        field_manager=FIELD_MANAGER,
        user_agent=f"kanary/{VERSION}",
        on_request=metrics.requested,
    )
    return Operator(client, settings, metrics)
