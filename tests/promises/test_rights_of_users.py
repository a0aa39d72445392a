"""Promise 7: the commands need no right that the roles for users lack, and these roles grant little else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kanary.cli.main import main
from tests.apiserver import ApiServer
from tests.apiserver.authorization import Right, rights_of
from tests.cli import test_adopt as live
from tests.cli.record import record, story
from tests.cli.test_every_command import OF_CLUSTER, VALUES, Line, started
from tests.cli.test_operator import declared
from tests.history.serving import put_operator, serving
from tests.integration.scene import CRD, without_validation
from tests.promises.test_least_privilege import RIGHTS, kinds_of, words
from tests.tables import Tell
from tests.unit.kanaries import OWNER
from tests.waiting import PATIENCE

USER = "user"
NAMESPACES = ("default", OWNER.namespace)
ROLES = {"kanary-edit": NAMESPACES, "kanary-view": NAMESPACES, "kanary-viewer": ("kanary-system",)}
"""The roles for users, and the namespaces in which they are bound here: of the Kanary, and of the one in the file."""
FAILING = {
    # There is no rollout that an order could be for, no revision before the first, and no key of a webhook.
    **dict.fromkeys(("promote", "pause", "resume", "abort", "retry", "diff", "webhook-key"), 1),
    # The Services that the file names do not exist.
    **dict.fromkeys(("plan", "render"), 1),
    # No operator has written a status.
    "status": 3,
}
"""Exit codes of the commands that do not end with 0, after all their requests."""
READ = {"get", "list", "watch"}


def granted() -> frozenset[Right]:
    documents = yaml.safe_load_all(Path("manifests/base/rbac.yaml").read_text(encoding="utf-8"))
    roles = {each["metadata"]["name"]: each for each in documents if each["kind"] in ("Role", "ClusterRole")}
    return frozenset(
        right for role, where in ROLES.items() for namespace in where for right in rights_of(roles[role], namespace)
    )


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A cluster with a Kanary, its history, and an operator that serves it, for a user with these roles."""
    with ApiServer() as made:
        made.authorizer.let(USER, "jane", granted())
        monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig(tmp_path / "kubeconfig", USER)))
        made.install_crd(without_validation(CRD))
        url = record(tmp_path / "history.db", [story(declared(made), namespace="default")])
        with serving(url) as http:
            put_operator(made, http.port)
            # For `kanary adopt`, which would stop after its first request.
            live.service(made, VALUES["service"])
            live.deployment(made, "shop", {"app": "shop"})
            yield made


def test_the_roles_for_users_are_enough_for_every_command(server: ApiServer, tmp_path: Path, tell: Tell) -> None:
    line, codes = Line(tmp_path), {}
    for path in OF_CLUSTER:
        if path == "dashboard":
            with started([*line.of(path), "-n", "default"], stdout=subprocess.PIPE) as process:
                assert process.stdout
                assert "Dashboard of" in process.stdout.readline()
                process.terminate()
                process.wait(PATIENCE)
        else:
            codes[path] = main(line.of(path))
    assert {path: code for path, code in codes.items() if code} == FAILING
    rights, used = kinds_of(granted()), kinds_of(server.authorizer.used(USER))
    refused = kinds_of(server.authorizer.refused(USER))
    tell(RIGHTS, "users", len(rights), len(used), f"{len(rights - used)}, for kubectl", words(refused))
    assert refused == set()
    # The rest is for kubectl: the Kanaries themselves and their scale, and reading what belongs to them.
    assert {(verb, on) for verb, on in rights - used if verb not in READ} <= {
        *((verb, "kanaries.kanary.k8s.io") for verb in ("create", "update", "delete", "deletecollection")),
        *((verb, "kanaries.kanary.k8s.io/scale") for verb in ("update", "patch")),
    }
