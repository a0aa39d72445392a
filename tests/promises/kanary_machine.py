"""A Kanary under random edits, endpoints, faults, restarts and clock jumps, and what holds after each of them."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from engine.model.entries import PhaseChange, RolloutChange
from engine.ports import RetryLaterError
from states.phases import Phase
from tests.promises.watched_world import Row, WatchedWorld, moves_of
from tests.traces.rollouts import entries, order
from tests.traces.world import routes

SERVICES = ("myapp_v1", "myapp_v2", "myapp_v3")
PLANS: tuple[Any, ...] = (
    None,
    {"steps": [{"to": 10, "for": "30s"}, {"to": 50, "for": "30s"}, {"to": 100, "for": "30s"}]},
    {"steps": [{"to": 20, "for": "20s"}, {"to": 100, "until": "Promoted"}]},
)
MIXES = ((100, 0, 0), (0, 100, 0), (50, 50, 0), (87.5, 12.5, 0), (30, 30, 40), (0, 0.1, 99.9))
CHANGES = (((100, 0, 0), (0, 100, 0)), ((50, 50, 0), (30, 30, 40)), ((87.5, 12.5, 0), (12.5, 87.5, 0)))
INVALID: tuple[dict[str, Any], ...] = (
    {"routes": routes(myapp_v1=90)},
    {"routes": routes(myapp=100)},
    {"routes": routes(absent=100)},
    {"routes": routes(myapp_v1=50, myapp_v1_=50)},
    {"routes": []},
    {"updateStrategy": "Tomorrow"},
    {"proxy": {"replicas": 0}},
)
FAULTS = ("ConfigMap", "Deployment", "Service", "reads", "agents", "haproxy", "slow proxies")
ORDERS = ("promote", "pause", "resume", "abort", "retry")
FINAL = (30, 30, 40)
PERFORMED: Counter[str] = Counter()
VISITED: dict[type, set[Row]] = {PhaseChange: set(), RolloutChange: set()}
TOTALS: Counter[str] = Counter()


def counted(perform: Callable[..., None]) -> Callable[..., None]:
    """A rule whose uses are counted."""

    def performing(self: Any, **arguments: Any) -> None:
        PERFORMED[perform.__name__] += 1
        perform(self, **arguments)

    performing.__name__ = perform.__name__
    return performing


class KanaryMachine(RuleBasedStateMachine):
    """One Kanary, its user, its cluster and its operator."""

    def __init__(self) -> None:
        super().__init__()
        self.world = WatchedWorld()
        self.spec: dict[str, Any] = {"destination": "myapp", "updateStrategy": "Live"}

    @initialize(mix=st.sampled_from(MIXES), pods=st.sampled_from((0, 2, 2)))
    def begin(self, mix: tuple[float, ...], pods: int) -> None:
        for name in SERVICES:
            self.world.create_service(name.replace("_", "-"), pods)
        self._declare(mix)
        self.world.let(10)

    # Edits

    @rule(
        mix=st.sampled_from(MIXES),
        plan=st.sampled_from(PLANS),
        empty=st.sampled_from(("Redistribute", "Hold", "Fail")),
        strategy=st.sampled_from(("Live", "Live", "Rolling")),
        replicas=st.integers(1, 3),
    )
    @counted
    def declare(self, mix: tuple[float, ...], plan: Any, empty: str, strategy: str, replicas: int) -> None:
        """A valid spec, unless it has a rollout and no agents."""
        self.spec = {"destination": "myapp", "updateStrategy": strategy, "onEmptyRoute": empty}
        self.spec |= {"proxy": {"replicas": replicas}, "progressDeadlineSeconds": 60}
        self.spec |= {"rollout": plan} if plan else {}
        self._declare(mix)
        self.world.let(10)

    @rule(mix=st.sampled_from(MIXES))
    @counted
    def edit_weights(self, mix: tuple[float, ...]) -> None:
        self._declare(mix)
        self.world.let(10)

    @rule(
        mixes=st.sampled_from(CHANGES),
        plan=st.sampled_from(PLANS[1:]),
        seconds=st.sampled_from((10, 60, 200)),
        failing=st.sampled_from((0, 0, 0.5)),
    )
    @counted
    def begin_a_rollout(
        self, mixes: tuple[tuple[float, ...], tuple[float, ...]], plan: Any, seconds: int, failing: float
    ) -> None:
        good, goal = mixes
        self._end_faults()
        self.spec = {"destination": "myapp", "updateStrategy": "Live", "progressDeadlineSeconds": 60}
        self._declare(good)
        self.world.let(20)
        self.spec |= {"rollout": plan}
        self._declare(goal)
        self.world.let(seconds, v2=failing)

    @rule(mix=st.sampled_from(MIXES), others=st.sampled_from(MIXES))
    @counted
    def edit_twice_at_once(self, mix: tuple[float, ...], others: tuple[float, ...]) -> None:
        self._declare(mix)
        self._step(2)
        self._declare(others)
        self.world.let(10)

    @rule(broken=st.sampled_from(INVALID))
    @counted
    def declare_something_invalid(self, broken: dict[str, Any]) -> None:
        self.world.apply_kanary(**{"routes": routes(myapp_v1=100), **self.spec, **broken})
        self.world.let(10)

    @rule(paused=st.booleans(), frozen=st.booleans())
    @counted
    def pause_or_freeze(self, paused: bool, frozen: bool) -> None:
        self.spec.pop("freeze", None)
        self.spec |= {"paused": paused} | ({"freeze": {"reason": "holidays"}} if frozen else {})
        self._declare(self.mix)
        self.world.let(10)

    @precondition(lambda self: self.world.status().get("rollout"))
    @rule(what=st.sampled_from(ORDERS), step=st.integers(1, 3), seconds=st.sampled_from((10, 60)))
    @counted
    def give_an_order(self, what: str, step: int, seconds: int) -> None:
        order(self.world, what, **({"step": step} if what == "promote" else {}))
        self.world.let(seconds)

    @rule(what=st.sampled_from(ORDERS), text=st.sampled_from((None, "", "{}", '{"rollout": -1}')))
    @counted
    def withdraw_or_spoil_an_order(self, what: str, text: str | None) -> None:
        self.world.annotate(f"kanary.k8s.io/{what}", text)
        self.world.let(10)

    # The cluster

    @rule(service=st.sampled_from(SERVICES), pods=st.integers(0, 3))
    @counted
    def scale(self, service: str, pods: int) -> None:
        name = service.replace("_", "-")
        if ("Service", name) not in self.world.objects:
            self.world.put_service(name)
        self.world.scale(name, pods)
        self.world.let(10)

    @rule(service=st.sampled_from(SERVICES))
    @counted
    def delete_a_service(self, service: str) -> None:
        self.world.remove("Service", service.replace("_", "-"))
        self.world.let(10)

    @rule(seconds=st.sampled_from((10, 60, 200)))
    @counted
    def wait(self, seconds: int) -> None:
        self.world.let(seconds)

    @rule(seconds=st.sampled_from((10, 60)))
    @counted
    def wait_while_a_version_fails(self, seconds: int) -> None:
        self.world.let(seconds, v2=0.5)

    @rule(hours=st.sampled_from((-400 * 24, -5, 0, 0, 5, 500 * 24)))
    @counted
    def jump_the_clock(self, hours: int) -> None:
        self.world.clock_error = timedelta(hours=hours)
        self.world.let(10)

    # Faults

    @rule()
    @counted
    def restart_the_operator(self) -> None:
        self.world.restart_operator()
        self.world.let(10)

    @rule(writes=st.integers(0, 4), mix=st.sampled_from(MIXES))
    @counted
    def kill_the_operator_after_some_writes_of_a_change(self, writes: int, mix: tuple[float, ...]) -> None:
        self._declare(mix)
        self.world.die_after = writes
        self._step(6)
        self.world.die_after = None
        self.world.restart_operator()
        self.world.let(10)

    @rule(fault=st.sampled_from(FAULTS))
    @counted
    def begin_a_fault(self, fault: str) -> None:
        world = self.world
        match fault:
            case "reads":
                world.cannot_read = True
            case "agents":
                world.sending_fails, world.silent_agents = True, {*world.reported}
            case "haproxy":
                world.haproxy_rejects = "unknown keyword"
            case "slow proxies":
                world.slow_proxies = True
            case kind:
                world.rejections[kind] = "exceeded quota"
        world.let(20)

    @rule()
    @counted
    def end_all_faults(self) -> None:
        self._end_faults()
        self.world.let(20)

    @rule()
    @counted
    def lose_a_proxy(self) -> None:
        if names := sorted(name for kind, name in self.world.objects if kind == "Pod"):
            self.world.lose(names[0])
        self.world.let(10)

    @precondition(lambda self: self.is_well)
    @rule(what=st.sampled_from(("status", "ConfigMap", "Deployment", "Service")))
    @counted
    def lose_an_object(self, what: str) -> None:
        """One at a time: what all copies have lost is lost."""
        if what == "status":
            self.world.objects["Kanary", "rule"].pop("status", None)
        else:
            self.world.remove(what, "myapp" if what == "Service" else "rule-haproxy")
        self.world.let(30)

    @property
    def is_well(self) -> bool:
        world = self.world
        return not (world.rejections or world.cannot_read or world.sending_fails)

    # Promises

    @invariant()
    def moves_are_legal_and_the_history_is_what_was_applied(self) -> None:
        self.world.check_history()

    @invariant()
    def ready_means_that_everything_declared_is_served(self) -> None:
        status = self.world.status()
        if status.get("phase") != Phase.READY or self.world.cannot_read:
            return
        shares = [(f"{name.replace('_', '-')}:http", weight) for name, weight in zip(SERVICES, self.mix, strict=True)]
        served = dict(part.split("=") for part in status["display"]["weights"].split())
        assert {b: float(w) for b, w in served.items() if float(w)} == {b: w for b, w in shares if w}

    def teardown(self) -> None:
        world = self.world
        self._note()
        if not world.steps:
            return
        self._end_faults()
        world.clock_error = timedelta()
        world.let(600)
        world.check_is_not_stuck()
        for what in ORDERS:
            world.annotate(f"kanary.k8s.io/{what}", None)
        self.spec = {"destination": "myapp", "updateStrategy": "Live", "proxy": {"replicas": 2}}
        self._declare(FINAL)
        world.let(600)
        assert (world.status()["phase"], world.status()["reason"]) == ("Ready", "Serving"), world.status()["message"]
        self.ready_means_that_everything_declared_is_served()
        world.check_is_not_stuck()
        world.check_history()
        self._note()
        TOTALS["examples"] += 1
        TOTALS["reconciles"] += world.steps
        TOTALS["configurations read again"] += world.configurations_read
        TOTALS["revisions"] += len(world.served)
        TOTALS.update({f"reconciles that ended in {phase}": count for phase, count in world.phases.items()})

    def _note(self) -> None:
        if ("Kanary", "rule") in self.world.objects:
            for kind in VISITED:
                VISITED[kind] |= moves_of(entries(self.world), kind)

    def _end_faults(self) -> None:
        world = self.world
        world.rejections.clear()
        world.silent_agents.clear()
        world.cannot_read = world.sending_fails = world.slow_proxies = False
        world.haproxy_rejects = ""
        self._restore_services()

    def _restore_services(self) -> None:
        for name in SERVICES:
            self.world.put_service(name.replace("_", "-"))
            self.world.scale(name.replace("_", "-"), 2)

    def _declare(self, mix: tuple[float, ...]) -> None:
        self.mix = mix
        found = routes(**dict(zip(SERVICES, mix, strict=True)))
        self.world.declare_shares(SERVICES, mix)
        self.world.apply_kanary(**self.spec, routes=found)

    def _step(self, times: int) -> None:
        try:
            for _ in range(times):
                self.world.step()
        except RetryLaterError:
            pass
