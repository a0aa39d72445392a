"""Which weights are to be in force, under which number, and that nothing is decided from what is out of date."""

import copy
from dataclasses import replace
from datetime import timedelta

import pytest

from engine.course import Course
from engine.memo import Memo
from engine.model.entries import WeightChange
from engine.model.spec import KanarySpec
from engine.model.states import Applied, Split
from engine.model.status import KanaryStatus, SplitStatus
from engine.observe import Defaults, declared_snapshot, observe
from engine.ports import RetryLaterError
from engine.split import split_in_force
from states import Phase
from tests.traces.world import NAMESPACE, World, routes
from tests.unit.kanaries import route, spec
from tests.unit.observations import applied, observed
from tests.unit.snapshots import NOW

HALF = spec(routes=[route("myapp-v1", 50), route("myapp-v2", 50, 9090)])


def world(**weights: int) -> World:
    """A cluster in which a Kanary serves two backends."""
    found = World()
    for name in ("v1", "v2"):
        found.create_service(name, pods=2)
    found.apply_kanary(destination="myapp", updateStrategy="Live", routes=routes(**(weights or {"v1": 80, "v2": 20})))
    found.settle()
    return found


def weight_changes(found: World) -> list[WeightChange]:
    return [entry for entry in found.entries.values() if isinstance(entry, WeightChange)]


def test_a_key_that_cannot_be_read_leaves_the_one_that_proxies_have_and_delays_new_kanaries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = world()

    def unanswered() -> str:
        raise RetryLaterError("no answer")

    monkeypatch.setattr(found, "public_key", unanswered)
    kanary = found.kanary(NAMESPACE, "rule")
    assert kanary
    assert observe(found, kanary, found.time, Defaults("image"), memo=Memo()).written.public_key == "public key"
    found.objects.pop(("ConfigMap", "rule-haproxy"))
    with pytest.raises(RetryLaterError, match="no answer"):
        observe(found, kanary, found.time, Defaults("image"), memo=Memo())


# The number of the weights


def in_force(
    declared: KanarySpec, last: Applied | None = None, noted: KanarySpec | None = None, revision: int = 0
) -> Split:
    """The split by a spec that can be applied, where the status notes the weights of another one as `revision`."""
    kept = noted and SplitStatus(revision=revision, generation=1, at=NOW, weights=noted.shares)
    seen = observed(KanaryStatus(revision=revision, split=kept), last)
    seen = replace(seen, intent=replace(seen.intent, spec=declared))
    found = split_in_force(World(), seen, replace(declared_snapshot(seen), has_served=True), Course())
    assert found
    return found


@pytest.mark.parametrize(
    ("declared", "last", "noted", "revision", "expected"),
    [
        pytest.param(spec(), None, None, 0, (1, False), id="the first"),
        pytest.param(spec(), None, spec(), 1, (1, True), id="the first, written down"),
        pytest.param(spec(), applied(revision=4), spec(), 4, (4, True), id="the same"),
        pytest.param(HALF, applied(revision=4), spec(), 4, (5, False), id="other weights"),
        pytest.param(HALF, applied(revision=4), HALF, 5, (5, True), id="other weights, written down"),
        pytest.param(spec(), applied(revision=4), HALF, 5, (6, False), id="taken back before they were served"),
        pytest.param(
            spec(port=81, onEmptyRoute="Hold"), applied(revision=4), spec(), 4, (4, True), id="other settings"
        ),
        pytest.param(
            spec(routes=[route("myapp-v2", 80), route("myapp-v3", 20)]),
            applied(revision=4),
            spec(),
            4,
            (5, False),
            id="other backends",
        ),
        pytest.param(
            spec(routes=[route("myapp-v1", 80, 80), route("myapp-v2", 20, 9090)]),
            applied(revision=4),
            spec(),
            4,
            (5, False),
            id="another port",
        ),
        pytest.param(
            spec(routes=[route("myapp-v1", 80), route("myapp-v2", 20, "9090")]),
            applied(revision=4),
            spec(),
            4,
            (5, False),
            id="a port by a name of the same digits",
        ),
        pytest.param(spec(), None, None, 4, (5, False), id="only the status's number is left"),
        pytest.param(spec(), applied(revision=6), None, 0, (6, True), id="the status is lost"),
        pytest.param(HALF, applied(revision=6), spec(), 4, (7, False), id="an older status"),
        pytest.param(HALF, applied(revision=4), spec(), 6, (7, False), id="an older ConfigMap"),
    ],
)
def test_weights_have_the_next_number_unless_they_are_those_of_the_last_one(
    declared: KanarySpec, last: Applied | None, noted: KanarySpec | None, revision: int, expected: tuple[int, bool]
) -> None:
    """A number is never given twice: the ConfigMap may be ahead of the status, or behind where it was restored."""
    found = in_force(declared, last, noted, revision)
    assert (found.revision, found.is_in_status) == expected


def test_a_change_of_a_port_is_a_change_of_weights_with_the_right_before() -> None:
    found = world()
    found.create_service("v1", pods=2, port={"name": "grpc", "port": 81})
    port = {"backend": {"serviceName": "v1", "servicePort": "grpc"}, "weight": 80}
    found.apply_kanary(destination="myapp", updateStrategy="Live", routes=[port, *routes(v2=20)])
    found.settle()
    first, second = weight_changes(found)
    assert second.before == first.after
    assert [share.backend for share in second.after] == ["v1:grpc", "v2:http"]
    assert "\n# v1:grpc\nbackend c\n" in found.config()


def test_one_port_by_its_name_and_its_number_is_one_backend() -> None:
    found = world()
    number = {"backend": {"serviceName": "v1", "servicePort": 80}, "weight": 20}
    found.apply_kanary(destination="myapp", updateStrategy="Live", routes=[*routes(v1=80), number])
    found.settle()
    assert (found.status()["phase"], found.status()["reason"]) == ("Degraded", "DuplicateBackend")
    assert found.status()["message"] == (
        "spec.routes[1].backend is v1:80, the same port as spec.routes[0].backend (v1:http): "
        "give it one route with the sum of the weights"
    )
    assert found.status()["display"]["weights"] == "v1:http=80 v2:http=20"


# The generation fence


@pytest.mark.parametrize("is_degraded", [False, True])
def test_a_leader_with_an_old_copy_of_the_spec_turns_nothing_back(
    is_degraded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen before: 50 to 50 became 80 to 20 again, as a revision of its own, while the Kanary was Degraded."""
    found = world()
    stale = copy.deepcopy(found.objects["Kanary", "rule"])
    found.apply_kanary(destination="myapp", updateStrategy="Live", routes=routes(v1=50, v2=50))
    found.settle()
    if is_degraded:
        found.scale("v2", 0)
        found.settle()
    # Its status may be the latest one: the history would then show the old weights as the newest.
    stale["status"] = copy.deepcopy(found.status())
    before = copy.deepcopy(found.objects)
    monkeypatch.setattr(found, "kanary", lambda namespace, name: stale)
    with pytest.raises(RetryLaterError, match="generation 2 was applied, and this copy of the Kanary is of 1"):
        found.step()
    assert found.objects == before
    assert [change.revision for change in weight_changes(found)] == [1, 2]


def test_the_copy_that_was_applied_or_a_newer_one_is_decided_from() -> None:
    found = world()
    current = found.kanary(NAMESPACE, "rule")
    assert current
    for generation in (1, 2):
        current["metadata"]["generation"] = generation
        assert observe(found, current, found.time, Defaults("image"), memo=Memo()).intent.generation == generation


# Times of other clocks


@pytest.mark.parametrize("ahead", [timedelta(seconds=300), timedelta(hours=1), timedelta(days=365)])
def test_no_time_that_a_status_holds_is_in_the_future(ahead: timedelta) -> None:
    """Of a leader whose clock is ahead: a deadline would seem exceeded, or never come."""
    status = KanaryStatus(since=NOW + ahead, progressing_since=NOW + ahead)
    snapshot = declared_snapshot(observed(status, applied()))
    assert (snapshot.since, snapshot.progressing_since) == (NOW, NOW)


def test_what_a_status_remembers_decides() -> None:
    earlier = NOW - timedelta(seconds=9)
    status = KanaryStatus(phase="Rolling", reason="RollingOut", since=earlier, progressing_since=earlier)
    snapshot = declared_snapshot(observed(status, applied()))
    assert (snapshot.phase, snapshot.since, snapshot.progressing_since) == (Phase.ROLLING, earlier, earlier)
