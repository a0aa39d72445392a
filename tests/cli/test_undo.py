"""`kanary undo` with the API server for tests and a history written by an operator."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.journal import CAUSE_ANNOTATION, author
from engine.model.entries import Share
from engine.model.spec import Backend
from engine.model.weight import weight_number
from kanary.cli import undo, weights
from kanary.cli.applying import after_apply
from kanary.cli.failure import CommandError
from kanary.cli.output import weights_of
from kanary.history.pending import Pending
from kanary.history.reader import Reader
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from kanary.kube.errors import Conflict
from tests.apiserver import ApiServer, Fault
from tests.cli.conftest import Kanary, Printed
from tests.cli.record import (
    CHANGES,
    NAME,
    ONE,
    THREE,
    TWO,
    Shares,
    change,
    history_of,
    record,
    record_namesakes,
    result,
    shares,
    story,
)
from tests.integration.scene import CRD, without_validation
from tests.unit.kanaries import route

Json = dict[str, Any]


class Stage:
    """A cluster with a Kanary with the weights 50 and 50, and its history."""

    def __init__(self, server: ApiServer, folder: Path, run: Kanary) -> None:
        self.server = server
        self.kubeconfig = str(server.kubeconfig(folder / "kubeconfig"))
        self.folder = folder
        self._run = run
        self._numbers = count()
        server.install_crd(without_validation(CRD))
        for name in ("myapp-v1", "myapp-v2"):
            self.service(name)
        self.declare(route("myapp-v1", 50), route("myapp-v2", 50))
        self.url = self.recorded(story(self.uid))

    @property
    def uid(self) -> str:
        return str(self.kanary()["metadata"]["uid"])

    def recorded(self, *kanaries: Pending) -> str:
        """Replace the history by this."""
        self.url = record(self.folder / f"history-{next(self._numbers)}.db", kanaries)
        return self.url

    def service(self, name: str, **ports: int) -> None:
        """Make a Service, by default with port 80 under the name http."""
        numbers = ports or {"http": 80}
        spec = {"ports": [{"name": each, "port": number, "protocol": "TCP"} for each, number in numbers.items()]}
        self.server.store.put(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": "shop"},
                "spec": spec,
            }
        )

    def declare(self, *declared: Json, **spec: Any) -> None:
        body = {"destination": "myapp", "routes": list(declared), **spec}
        metadata = {"name": NAME, "namespace": "shop"}
        self.server.store.put({"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": metadata, "spec": body})

    def status(self, **status: Any) -> None:
        """Write this status."""
        self.server.store.put({**self.kanary(), "status": status})

    def kanary(self) -> Json:
        found = self.server.store.get("kanaries", NAME, "shop")
        assert found
        return found

    def weights(self) -> dict[str, float]:
        return {r["backend"]["serviceName"]: r["weight"] for r in self.kanary()["spec"]["routes"]}

    def undo(self, *arguments: str, name: str = NAME) -> Printed:
        where = ["-n", "shop", "--kubeconfig", self.kubeconfig, "--db", self.url]
        return self._run("undo", name, *where, *arguments)

    def refused(self, *arguments: str, name: str = NAME) -> str:
        """The error of an undo; checks that it changes nothing."""
        before = self.server.store.get("kanaries", NAME, "shop")
        printed = self.undo(*arguments, name=name)
        assert (printed.code, printed.out) == (1, "")
        assert printed.err.startswith("kanary: ")
        assert printed.err.count("\n") == 1
        assert self.server.store.get("kanaries", NAME, "shop") == before
        return printed.err.removeprefix("kanary: ").rstrip("\n")


@pytest.fixture
def stage(tmp_path: Path, kanary: Kanary) -> Iterator[Stage]:
    with ApiServer() as server:
        yield Stage(server, tmp_path, kanary)


# Restoring weights


def test_the_weights_of_the_revision_before_are_written_into_the_spec(stage: Stage) -> None:
    printed = stage.undo()
    assert (printed.code, printed.err) == (0, "")
    assert printed.out == (
        f"shop/{NAME}: myapp-v1:http=50 myapp-v2:http=50 becomes myapp-v1:http=80 myapp-v2:http=20 "
        f"(undo to revision 2); watch: kubectl -n shop get ky {NAME} --watch\n"
    )
    assert stage.weights() == {"myapp-v1": 80, "myapp-v2": 20}


def test_the_change_says_what_it_was_for_and_who_made_it(stage: Stage) -> None:
    stage.undo()
    assert stage.kanary()["metadata"]["annotations"] == {"kubernetes.io/change-cause": "undo to revision 2"}
    assert author(stage.kanary()) == "kanary-undo"


def test_a_revision_can_be_named(stage: Stage) -> None:
    assert stage.undo("--to-revision", "1", "--yes").code == 0
    assert stage.weights() == {"myapp-v1": 100}


def test_weights_with_a_decimal_are_restored_as_numbers(stage: Stage) -> None:
    eighths = change(1, 0, shares(myapp_v1=12.5, myapp_v2=87.5))
    stage.recorded(history_of(eighths, change(2, 10, THREE), uid=stage.uid))
    printed = stage.undo()
    assert "myapp-v1:http=50 myapp-v2:http=50 becomes myapp-v1:http=12.5 myapp-v2:http=87.5" in printed.out
    assert stage.weights() == {"myapp-v1": 12.5, "myapp-v2": 87.5}
    assert (
        stage.refused("--to-revision", "1").partition(";")[0].endswith("already: myapp-v1:http=12.5 myapp-v2:http=87.5")
    )


def test_a_step_of_a_tenth_more_than_half_of_all_wants_a_yes(stage: Stage) -> None:
    stage.recorded(history_of(change(1, 0, shares(myapp_v1=100, myapp_v2=0)), uid=stage.uid))
    stage.declare(route("myapp-v1", 49.9), route("myapp-v2", 50.1))
    assert "changes myapp-v1:http from 49.9 to 100 %" in stage.refused("--to-revision", "1")


def test_only_the_weights_are_touched(stage: Stage) -> None:
    first = {**route("myapp-v1", 50), "sendProxyProtocol": "v2"}
    stage.declare(route("myapp-v2", 50), first, onEmptyRoute="Hold", proxy={"replicas": 3})
    stage.undo()
    spec = stage.kanary()["spec"]
    assert spec["routes"] == [{**first, "weight": 80}, route("myapp-v2", 20)]
    assert (spec["onEmptyRoute"], spec["proxy"], spec["destination"]) == ("Hold", {"replicas": 3}, "myapp")


def test_a_port_under_its_number_is_the_same_backend_as_under_its_name(stage: Stage) -> None:
    first = {**route("myapp-v1", 50, 80), "sendProxyProtocol": "v2"}
    stage.declare(first, route("myapp-v2", 50))
    stage.undo()
    assert stage.kanary()["spec"]["routes"] == [{**first, "weight": 80}, route("myapp-v2", 20)]


def test_a_change_of_the_port_is_undone(stage: Stage) -> None:
    """The weights are the same, but the former port may no longer be served."""
    stage.service("myapp-v1", http=80, new=9090)
    stage.declare(route("myapp-v1", 50, "new"), route("myapp-v2", 50))
    moved = (Share(backend="myapp-v1:new", weight=50), Share(backend="myapp-v2:http", weight=50))
    stage.recorded(history_of(*CHANGES, change(4, 2000, moved, "another port"), uid=stage.uid))
    assert "(undo to revision 3)" in stage.undo().out
    assert stage.kanary()["spec"]["routes"] == [route("myapp-v1", 50), route("myapp-v2", 50)]


def test_a_port_whose_name_is_a_number_is_not_the_port_of_that_number(stage: Stage) -> None:
    stage.service("myapp-v1", **{"http": 80, "9090": 81, "other": 9090})
    stage.declare(route("myapp-v1", 100, 9090))
    before = change(1, 0, (Share(backend="myapp-v1:_9090", weight=100),))
    stage.recorded(history_of(before, change(2, 10, (Share(backend="myapp-v1:9090", weight=100),)), uid=stage.uid))
    assert stage.undo("--yes").code == 0
    assert stage.kanary()["spec"]["routes"] == [route("myapp-v1", 100, "9090")]


def test_a_backend_that_a_newer_operator_wrote_is_not_guessed(stage: Stage) -> None:
    newer = (Share(backend="grpc://myapp-v1", weight=100),)
    stage.recorded(history_of(change(1, 0, newer), *CHANGES[1:], uid=stage.uid))
    assert stage.refused("--to-revision", "1") == (
        "revision 1 cannot be restored: backend grpc://myapp-v1 cannot be read"
    )


def test_a_backend_that_the_spec_has_no_more_comes_back(stage: Stage) -> None:
    stage.service("myapp-v3")
    stage.declare(route("myapp-v1", 90), route("myapp-v3", 10))
    stage.recorded(history_of(*CHANGES, change(4, 2000, shares(myapp_v1=90, myapp_v3=10)), uid=stage.uid))
    assert stage.undo().out.startswith(
        f"shop/{NAME}: myapp-v1:http=90 myapp-v3:http=10 becomes myapp-v1:http=50 myapp-v2:http=50 ("
    )
    assert stage.kanary()["spec"]["routes"] == [route("myapp-v1", 50), route("myapp-v2", 50)]


def test_what_has_not_become_a_revision_yet_is_undone_to_the_newest_one(stage: Stage) -> None:
    """The operator may have rejected the spec, or not observed it yet."""
    stage.declare(route("myapp-v1", 49), route("myapp-v2", 50))
    assert stage.undo().out.startswith(
        f"shop/{NAME}: myapp-v1:http=49 myapp-v2:http=50 becomes myapp-v1:http=50 myapp-v2:http=50 (undo to rev"
    )
    assert stage.kanary()["metadata"]["annotations"]["kubernetes.io/change-cause"] == "undo to revision 3"


def test_a_spec_that_is_spoilt_can_be_undone(stage: Stage) -> None:
    stage.declare({"backend": "myapp-v1"}, "nonsense", {"weight": "many", "backend": {"serviceName": 7}})  # type: ignore[arg-type] # as said
    assert stage.undo("--yes").code == 0
    assert stage.weights() == {"myapp-v1": 50, "myapp-v2": 50}


@pytest.mark.parametrize("weight", ["many", 12.34, None, True])
def test_an_unreadable_weight_counts_as_0(stage: Stage, weight: Any) -> None:
    stage.declare(route("myapp-v1", weight), route("myapp-v2", 50))
    printed = stage.undo()
    assert (printed.code, printed.err) == (0, "")
    assert "myapp-v1:http=0 myapp-v2:http=50 becomes myapp-v1:http=50 myapp-v2:http=50" in printed.out


def test_nothing_of_a_spec_is_obeyed_by_the_terminal(stage: Stage) -> None:
    stage.declare({"weight": 50, "backend": {"serviceName": "\x1b[2J", "servicePort": "http"}})
    printed = stage.undo("--yes").out
    assert printed.rstrip("\n").isprintable()
    assert "\\x1b[2J" in printed


def test_a_freeze_is_warned_of_unless_the_weights_are_served(stage: Stage) -> None:
    freeze = {"until": "2999-12-27T06:00:00Z", "reason": "holidays"}
    stage.declare(route("myapp-v1", 50), route("myapp-v2", 50), freeze=freeze)
    printed = stage.undo()
    assert printed.code == 0
    assert printed.err == (
        f"kanary: warning: {NAME} waits: the weights are frozen until 2999-12-27T06:00:00Z (spec.freeze): holidays; "
        "the weights are written, but not served until this ends\n"
    )
    assert stage.undo("--to-revision", "3").err == ""
    stage.declare(route("myapp-v1", 50), route("myapp-v2", 50), freeze=freeze | {"until": "2001-12-27T06:00:00Z"})
    assert stage.undo().err == ""


def test_a_paused_kanary_is_warned_of(stage: Stage) -> None:
    stage.declare(route("myapp-v1", 50), route("myapp-v2", 50), paused=True)
    printed = stage.undo()
    assert printed.code == 0
    assert printed.err == (
        f"kanary: warning: {NAME} is paused: the weights are written, but not served until spec.paused is false\n"
    )
    assert stage.weights() == {"myapp-v1": 80, "myapp-v2": 20}


@pytest.mark.parametrize(("manager", "system"), [("argocd-controller", "Argo CD"), ("kustomize-controller", "Flux")])
def test_a_controller_that_applies_the_spec_again_is_warned_of(stage: Stage, manager: str, system: str) -> None:
    stage.server.store.put(stage.kanary() | {"spec": stage.kanary()["spec"] | {"port": 81}}, manager=manager)
    printed = stage.undo()
    assert printed.code == 0
    assert printed.err == (
        f"kanary: warning: {system} ({manager}) applies the spec of {NAME}, and may write its own weights again: "
        "change them in its source as well\n"
    )
    assert stage.weights() == {"myapp-v1": 80, "myapp-v2": 20}


# Applying a manifest afterwards


def manifest(*declared: Json, cause: str) -> Json:
    metadata = {"name": NAME, "namespace": "shop", "annotations": {"kubernetes.io/change-cause": cause}}
    spec = {"destination": "myapp", "routes": [*declared]}
    return {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": metadata, "spec": spec}


@pytest.fixture
def apply(stage: Stage) -> Callable[[Json], Json]:
    """`kubectl apply --server-side` without --force-conflicts, of a Kanary that was made so as well."""
    client = ClusterClient.connect(kubeconfig=stage.kubeconfig, field_manager="kubectl")

    def run(declared: Json) -> Json:
        return client.apply(KANARIES, "shop", NAME, declared, force=False)

    client.delete(KANARIES, "shop", NAME, uid=None)
    run(manifest(route("myapp-v1", 50), route("myapp-v2", 50), cause="half"))
    stage.recorded(story(stage.uid))
    return run


@pytest.mark.parametrize("weight", [50, 70, 80])
@pytest.mark.parametrize("cause", ["half", "more"])
def test_after_an_undo_any_manifest_can_be_applied_by_the_server(
    stage: Stage, apply: Callable[[Json], Json], weight: int, cause: str
) -> None:
    for _ in range(2):
        assert stage.undo().code == 0
        applied = apply(manifest(route("myapp-v1", weight), route("myapp-v2", 100 - weight), cause=cause))
        assert stage.weights() == {"myapp-v1": weight, "myapp-v2": 100 - weight}
        assert (author(applied), applied["metadata"]["annotations"]) == ("kubectl", {CAUSE_ANNOTATION: cause})
        stage.declare(route("myapp-v1", 50), route("myapp-v2", 50))


@pytest.mark.usefixtures("apply")
def test_what_others_own_stays_theirs(stage: Stage) -> None:
    stage.server.store.put({**stage.kanary(), "status": {"revision": 3}}, manager="kanary")
    kubectl, operator = stage.kanary()["metadata"]["managedFields"]
    assert stage.undo().code == 0
    kubectl["fieldsV1"] = {"f:spec": {"f:destination": {}}}
    assert stage.kanary()["metadata"]["managedFields"] == [kubectl, operator]


def test_a_status_that_is_written_at_the_same_time_does_not_keep_an_undo_from_giving_up_its_fields(
    stage: Stage, apply: Callable[[Json], Json]
) -> None:
    interrupted(stage, lambda kanary: kanary.update(status={"revision": 3}), at=2).restore(None, is_confirmed=True)
    apply(manifest(route("myapp-v1", 70), route("myapp-v2", 30), cause="more"))


def test_fields_that_cannot_be_given_up_are_warned_of(stage: Stage, apply: Callable[[Json], Json]) -> None:
    stage.server.faults.add(Fault.status(500, method="PATCH", path="kanaries")).skip = 1
    printed = stage.undo()
    assert printed.code == 0
    assert stage.weights() == {"myapp-v1": 80, "myapp-v2": 20}
    assert printed.err.startswith("kanary: warning: the weights are written, but kanary-undo still owns them (")
    assert printed.err.endswith("): kubectl apply --server-side needs --force-conflicts to change them\n")
    stage.server.faults.clear()
    with pytest.raises(Conflict, match="kanary-undo"):
        apply(manifest(route("myapp-v1", 70), route("myapp-v2", 30), cause="more"))


@pytest.mark.parametrize("weight", [50, 70, 80])
def test_after_an_undo_an_apply_by_the_client_does_what_the_manifest_says(stage: Stage, weight: int) -> None:
    """As kubectl: a merge patch from the Kanary as it is, that also removes what only the former manifest has."""
    client = ClusterClient.connect(kubeconfig=stage.kubeconfig, field_manager="kubectl-client-side-apply")

    def run(declared: Json) -> Json:
        text = json.dumps(declared)
        metadata = {
            "annotations": {
                **declared["metadata"]["annotations"],
                "kubectl.kubernetes.io/last-applied-configuration": text,
            }
        }
        live = stage.kanary()["spec"]
        changed = {key: value for key, value in declared["spec"].items() if live.get(key) != value}
        return client.merge_patch(KANARIES, "shop", NAME, {"metadata": metadata, "spec": changed})

    run(manifest(route("myapp-v1", 50), route("myapp-v2", 50), cause="half"))
    assert stage.undo().code == 0
    declared = manifest(route("myapp-v1", weight), route("myapp-v2", 100 - weight), cause="half")
    planned_spec = after_apply(stage.kanary(), declared, datetime.now(UTC))["spec"]
    applied = run(declared)
    assert applied["spec"] == planned_spec
    assert stage.weights() == {"myapp-v1": weight, "myapp-v2": 100 - weight}


# Large differences


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A user at the terminal who answers questions."""

    class Terminal:
        def __init__(self, answer: str) -> None:
            self._answer = answer

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return self._answer

    def answer(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", Terminal(text))
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    return answer


def far(stage: Stage) -> None:
    """Make revision 3 differ from revision 2 by more than 50."""
    stage.recorded(history_of(*CHANGES[:2], change(3, 1868, shares(myapp_v1=10, myapp_v2=90)), uid=stage.uid))
    stage.declare(route("myapp-v1", 10), route("myapp-v2", 90))


def test_a_large_difference_wants_a_yes(stage: Stage) -> None:
    far(stage)
    assert stage.refused() == (
        "this changes myapp-v1:http from 10 to 80 % and myapp-v2:http from 90 to 20 %, more than 50 percentage points: "
        "confirm with --yes"
    )
    assert stage.undo("--yes").code == 0
    assert stage.weights() == {"myapp-v1": 80, "myapp-v2": 20}


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_who_sits_at_the_terminal_is_asked(stage: Stage, terminal: Callable[[str], None], answer: str) -> None:
    far(stage)
    terminal(answer)
    printed = stage.undo()
    assert printed.code == 0
    assert printed.err == (
        "this changes myapp-v1:http from 10 to 80 % and myapp-v2:http from 90 to 20 %. Continue? [y/N] "
    )


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yellow\n"])
def test_anything_but_a_yes_leaves_all_as_it_is(stage: Stage, terminal: Callable[[str], None], answer: str) -> None:
    far(stage)
    terminal(answer)
    printed = stage.undo()
    assert printed.code == 1
    assert printed.err.endswith(f"kanary: nothing was written to {NAME}\n")
    assert stage.weights() == {"myapp-v1": 10, "myapp-v2": 90}


def test_half_of_all_is_not_too_much(stage: Stage) -> None:
    assert stage.undo("--to-revision", "1").code == 0


def test_what_is_served_counts_as_well_as_what_is_declared(stage: Stage) -> None:
    """The operator rejected these weights and serves those of revision 3, which differ much from revision 1."""
    far(stage)
    stage.declare(route("myapp-v1", 90), route("myapp-v2", 9))
    assert stage.refused("--to-revision", "1").startswith(
        "this changes myapp-v1:http from 10 to 100 % and myapp-v2:http "
    )


def test_what_is_served_is_what_the_status_says(stage: Stage) -> None:
    """Revision 3 is being rolled out: the proxies still send all connections to one backend."""
    stage.status(revision=3, weights=[{"backend": "myapp-v2:http", "weight": 100, "endpoints": 1}])
    assert stage.refused() == (
        "this changes myapp-v2:http from 100 to 20 % and myapp-v1:http from 0 to 80 %, more than 50 percentage points: "
        "confirm with --yes"
    )


def test_a_backend_that_only_the_status_knows_is_served_until_it_is_not(stage: Stage) -> None:
    stage.status(revision=3, weights=[{"backend": "myapp-v9:http", "weight": 100, "endpoints": 1}])
    assert "myapp-v9:http from 100 to 0 %" in stage.refused()


# A history that is behind


def test_where_the_history_is_behind_a_revision_has_to_be_named(stage: Stage) -> None:
    stage.status(revision=5)
    assert stage.refused() == (
        f"Kanary shop/{NAME} is at revision 5, and the history has up to 3: name one with --to-revision "
        "(condition HistoryRecorded says why the history is behind)"
    )
    assert stage.undo("--to-revision", "2").code == 0
    assert stage.weights() == {"myapp-v1": 80, "myapp-v2": 20}


def test_where_the_history_is_not_behind_no_revision_has_to_be_named(stage: Stage) -> None:
    stage.status(revision=3)
    assert stage.undo().code == 0


# Errors


def test_a_backend_that_is_gone_is_named(stage: Stage) -> None:
    stage.server.store.delete("services", "myapp-v2", "shop")
    assert stage.refused() == (
        'revision 2 cannot be restored: Service "myapp-v2" does not exist in namespace shop: create it, or name '
        "one that does"
    )


def test_a_port_that_is_gone_is_named_with_those_there_are(stage: Stage) -> None:
    stage.service("myapp-v1", web=8080)
    assert stage.refused() == (
        'revision 2 cannot be restored: Service "myapp-v1" has no port http: use one of web (8080)'
    )


def test_all_that_is_gone_is_named(stage: Stage) -> None:
    for name in ("myapp-v1", "myapp-v2"):
        stage.server.store.delete("services", name, "shop")
    told = stage.refused()
    assert '"myapp-v1"' in told
    assert '"myapp-v2"' in told


def test_an_unknown_revision_is_told_with_those_there_are(stage: Stage) -> None:
    assert stage.refused("--to-revision", "9") == f"Kanary {NAME} has no revision 9 in the history, which has 1 to 3"


def test_the_weights_that_are_there_already_are_not_written_again(stage: Stage) -> None:
    assert stage.refused("--to-revision", "3") == (
        f"{NAME} has the weights of revision 3 already: myapp-v1:http=50 myapp-v2:http=50; "
        f"name another revision with --to-revision (kanary history {NAME} -n shop lists them)"
    )


def test_a_first_revision_has_nothing_to_go_back_to(stage: Stage) -> None:
    stage.declare(route("myapp-v1", 100))
    stage.recorded(history_of(CHANGES[0], uid=stage.uid))
    assert stage.refused() == (f"there is nothing to undo: {NAME} is at revision 1, and the history has none before it")


def test_what_retention_has_taken_cannot_be_gone_back_to(stage: Stage) -> None:
    stage.recorded(history_of(CHANGES[2], uid=stage.uid))
    assert stage.refused().startswith("there is nothing to undo: ")


def test_where_revisions_are_missing_the_last_that_is_there_is_gone_back_to(stage: Stage) -> None:
    stage.recorded(history_of(CHANGES[0], CHANGES[2], uid=stage.uid))
    assert "(undo to revision 1)" in stage.undo().out


def test_another_kanary_of_the_same_name_is_not_gone_back_to(stage: Stage) -> None:
    stage.recorded(story("of-another"))
    assert stage.refused().startswith(f"the history has no change of {NAME} yet")


def test_of_however_many_of_its_name_the_right_one_is_gone_back_to(stage: Stage) -> None:
    """The order of uids has no meaning: the uid of this one sorts after all others."""
    record_namesakes(stage.url, 2001)
    assert stage.undo().code == 0
    assert stage.weights() == {"myapp-v1": 80, "myapp-v2": 20}


def test_an_unknown_kanary_is_told_with_those_there_are(stage: Stage) -> None:
    told = stage.refused(name="web")
    assert told.startswith(f"there is no Kanary web in namespace shop of {stage.server.url}")
    assert told.endswith(f"; it has {NAME}")


def test_without_the_right_to_list_nothing_is_claimed_about_other_kanaries(stage: Stage) -> None:
    stage.server.faults.add(Fault.status(403, method="GET", path=r"kanaries(\?|$)"))
    told = stage.refused(name="web")
    assert told.startswith(f"there is no Kanary web in namespace shop of {stage.server.url}")
    assert "it has" not in told


def test_a_cluster_that_cannot_be_reached_is_told_in_one_line(stage: Stage) -> None:
    printed = stage.undo("--kubeconfig", str(stage.folder / "none"))
    assert printed.code == 1
    assert printed.err.count("\n") == 1
    assert "none does not exist" in printed.err


def test_a_refusal_of_the_api_server_is_told_in_one_line(stage: Stage) -> None:
    stage.server.faults.add(Fault.status(403, method="PATCH", path="kanaries"))
    assert "403" in stage.refused()


@pytest.mark.parametrize("arguments", [["--to-revision", "0"], ["--to-revision", "last"], ["2"]])
def test_wrong_usage_exits_with_2(stage: Stage, arguments: list[str]) -> None:
    assert stage.undo(*arguments).code == 2


# Concurrent changes


def interrupted(stage: Stage, by: Callable[[Json], None], at: int = 1) -> undo.Undo:
    """An undo whose Kanary is changed by another client right before the write, or a later one."""
    client = ClusterClient.connect(kubeconfig=stage.kubeconfig)
    write = client.merge_patch
    writes = count(1)

    def late(*arguments: Any, **options: Any) -> Json:
        if next(writes) == at:
            kanary = copy.deepcopy(stage.kanary())
            by(kanary)
            stage.server.store.put(kanary)
        return write(*arguments, **options)

    client.merge_patch = late  # type: ignore[method-assign] # the moment between reading and writing
    return undo.Undo(client, Reader(stage.url), "shop", NAME)


def test_a_change_of_somebody_else_is_not_lost(stage: Stage) -> None:
    def change_weights(kanary: Json) -> None:
        kanary["spec"]["routes"] = [route("myapp-v1", 30), route("myapp-v2", 70)]

    with pytest.raises(CommandError, match="was changed at the same time: nothing was written"):
        interrupted(stage, change_weights).restore(None, is_confirmed=True)
    assert stage.weights() == {"myapp-v1": 30, "myapp-v2": 70}


def test_a_status_that_is_written_meanwhile_is_no_such_change(stage: Stage) -> None:
    def write_status(kanary: Json) -> None:
        kanary["status"] = {"phase": "Ready", "observedGeneration": 1}

    interrupted(stage, write_status).restore(None, is_confirmed=True)
    assert stage.weights() == {"myapp-v1": 80, "myapp-v2": 20}
    assert stage.kanary()["status"]["phase"] == "Ready"


def test_the_kanary_in_its_place_is_not_changed(stage: Stage) -> None:
    with pytest.raises(CommandError, match="changed at the same time"):
        interrupted(stage, lambda kanary: replaced(stage, kanary)).restore(None, is_confirmed=True)
    assert stage.weights() == {"myapp-v1": 50, "myapp-v2": 50}


def replaced(stage: Stage, kanary: Json) -> None:
    stage.server.store.delete("kanaries", NAME, "shop")
    kanary["metadata"] = {"name": NAME, "namespace": "shop"}


# Any weights


def spec_routes(found: Shares) -> list[Json]:
    backends = ((Backend.parse(share.backend), share.weight) for share in found)
    return [route(backend.service_name, weight_number(weight), backend.service_port) for backend, weight in backends]


revisions = st.sampled_from([ONE, TWO, THREE, shares(myapp_v2=100), shares(a=1, b=99), shares(a=33.3, b=66.7)])
SERVICES = {name: {"spec": {"ports": [{"name": "http", "port": 80}]}} for name in ("myapp-v1", "myapp-v2", "a", "b")}


def by_number(backend: str) -> str:
    return weights.resolved(backend, "shop", SERVICES.get)[0]


@given(revisions, revisions)
def test_the_patch_makes_the_spec_say_what_the_revision_said(present: Shares, past: Shares) -> None:
    kanary = {"metadata": {"resourceVersion": "7"}, "spec": {"routes": spec_routes(present)}}
    patch = weights.patch(
        kanary, weights_of(past), "undo", lambda text: weights.resolved(text, "shop", SERVICES.get)[0]
    )
    assert patch["spec"] == {"routes": spec_routes(past)}
    assert weights.declared({**kanary, "spec": patch["spec"]}) == weights_of(past)


def test_undo_passes_over_a_revision_that_was_never_served(stage) -> None:
    """It was replaced before any proxy served it: the newest change has the weights that were served before."""
    first, never, newest = shares(myapp_v1=100), shares(myapp_v1=50, myapp_v2=50), shares(myapp_v2=100)
    stage.declare(route("myapp-v2", 100))
    stage.recorded(
        history_of(
            change(1, 0, first, "created"),
            result(1, 5, 5),
            change(2, 100, never, before=first),
            result(2, 100.01, 0.01, "Superseded"),
            change(3, 100.02, newest, before=first),
            result(3, 101, 1),
            uid=stage.uid,
        )
    )
    assert "becomes myapp-v1:http=100 (" in stage.undo("--yes").out
