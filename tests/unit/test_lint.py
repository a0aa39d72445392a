"""`kanary lint`: each problem with its place, without a cluster."""

import io
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from kanary.cli.main import main
from tests.bad_specs import BAD_ROLLOUTS, BAD_SPECS, EXTERNAL, GOOD, UDP_PORT

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]

GOOD_TEXT = """\
apiVersion: kanary.k8s.io/v1
kind: Kanary
metadata:
  name: web
spec:
  destination: web
  routes:
    - backend: {serviceName: web-v1, servicePort: http}
      weight: 90
    - backend:
        serviceName: web-v2
        servicePort: http
      weight: 10
  proxy:
    replicas: 2
"""
SERVICE = """\
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  selector: {app: web, version: NAME}
  ports: [{name: http, port: 80}]
"""


class Folder:
    """A folder with manifests, and what `kanary lint` says about it."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys
        self.code = -1
        self.summary = ""

    def write(self, text: str | bytes, name: str = "web.yaml") -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def output(self, *arguments: str) -> str:
        self.code = main(["lint", *(arguments or ("-f", str(self.path)))])
        captured = self._capsys.readouterr()
        self.summary = captured.err
        return captured.out

    def findings(self, *arguments: str) -> Sequence[Json]:
        found: list[Json] = json.loads(self.output(*(arguments or ("-f", str(self.path))), "-o", "json"))
        return found

    def places(self) -> list[str]:
        """Where, how bad and what: `9:7 error InvalidWeights`."""
        return [f"{f['line']}:{f['column']} {f['severity']} {f['rule']}" for f in self.findings()]


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Folder:
    return Folder(tmp_path / "manifests", capsys)


def changed(old: str, new: str) -> str:
    assert old in GOOD_TEXT
    return GOOD_TEXT.replace(old, new, 1)


# What is found, and where


def test_a_good_manifest_has_no_finding(folder: Folder) -> None:
    folder.write(GOOD_TEXT + SERVICE.replace("NAME", "web-v1") + SERVICE.replace("NAME", "web-v2"))
    assert folder.output() == ""
    assert folder.code == 0
    assert "1 Kanary in 1 file: 0 errors, 0 warnings" in folder.summary


def test_every_example_is_clean(folder: Folder) -> None:
    assert folder.findings("-f", str(ROOT / "examples")) == []
    assert folder.code == 0


PLACES = {
    "a weight that is no number": (changed("weight: 90", "weight: many"), ["9:7 error InvalidWeights"]),
    "a weight of another route": (changed("weight: 10", "weight: -10"), ["13:7 error InvalidWeights"]),
    "weights that do not sum to 100": (changed("weight: 10", "weight: 20"), ["7:3 error InvalidWeights"]),
    "a missing field is at its parent": (
        changed("        servicePort: http\n", ""),
        ["10:7 error InvalidSpec"],
    ),
    "a missing field of an entry is at the entry": (changed("      weight: 90\n", ""), ["8:7 error InvalidSpec"]),
    "a misspelt field": (changed("replicas: 2", "replica: 2"), ["15:5 error InvalidSpec"]),
    "a field beside spec": (changed("spec:\n", "Spec: {}\nspec:\n"), ["5:1 error InvalidSpec"]),
    "a name that is no DNS label": (changed("name: web", "name: Web"), ["4:3 error InvalidName"]),
    "a backend within braces": (changed("serviceName: web-v1", "serviceName: W"), ["8:17 error InvalidName"]),
    "the same backend twice": (changed("web-v2", "web-v1"), ["7:3 error DuplicateBackend"]),
    "a key that is repeated": (
        changed("      weight: 10\n", "      weight: 10\n      weight: 10\n"),
        ["14:7 error DuplicateKey"],
    ),
    "another version": (changed("k8s.io/v1", "k8s.io/v1beta1"), ["1:1 error UnknownKind"]),
    "another kind": (changed("kind: Kanary", "kind: kanary"), ["2:1 error UnknownKind"]),
    "no spec": (GOOD_TEXT[: GOOD_TEXT.index("spec:")], ["1:1 error InvalidSpec", "1:1 error NoRoutes"]),
    "a tab": (changed("  name: web", "\tname: web"), ["4:1 error InvalidYAML"]),
    "two problems": (
        changed("weight: 90", "weight: 900").replace("replicas: 2", "replicas: 0"),
        ["9:7 error InvalidWeights", "15:5 error InvalidSpec"],
    ),
    "a list": (
        "apiVersion: v1\nkind: List\nitems:\n- "
        + changed("weight: 90", "weight: x").replace("\n", "\n  ").rstrip()
        + "\n",
        ["12:9 error InvalidWeights"],
    ),
    "a second document": (
        SERVICE.replace("NAME", "web-v1") + "---\n" + changed("weight: 90", "weight: x"),
        ["17:7 error InvalidWeights"],
    ),
    "a port that the Service does not have": (
        changed("servicePort: http\n", "servicePort: https\n") + SERVICE.replace("NAME", "web-v2"),
        ["12:9 error BackendPortNotFound"],
    ),
    "a destination that exists": (GOOD_TEXT + SERVICE.replace("NAME", "web"), ["6:3 error DestinationExists"]),
    "the same Kanary twice in a file": (f"{GOOD_TEXT}---\n{GOOD_TEXT}", ["20:3 error DuplicateKanary"]),
    "a merged key": (
        changed("    - backend: {serviceName: web-v1, servicePort: http}\n      weight: 90\n", "    - &first\n"
        "      backend: {serviceName: web-v1, servicePort: http}\n      weight: 90\n").replace(
            "    - backend:\n        serviceName: web-v2\n        servicePort: http\n      weight: 10",
            "    - <<: *first\n      backend: {serviceName: web-v2, servicePort: http}\n      weight: 101",
        ),
        ["13:7 error InvalidWeights"],
    ),
    "JSON": (
        json.dumps(yaml.safe_load(changed("weight: 90", "weight: 900")), indent=1),
        ["15:5 error InvalidWeights"],
    ),
    "a key that is none of a label": (
        changed("spec:\n", "spec:\n  service:\n    labels:\n      team web: a\n"), ["7:5 error InvalidSpec"]
    ),
    "a negative quantity": (
        changed("replicas: 2", "resources:\n      limits:\n        cpu: '-1'"), ["17:9 error InvalidSpec"]
    ),
    "a group id that is too large": (
        changed("replicas: 2", "template: {spec: {securityContext: {fsGroup: 2147483648}}}"),
        ["15:41 error InvalidSpec"],
    ),
    "a limit below the default request": (
        changed("replicas: 2", "resources:\n      limits:\n        memory: 1M"), ["17:9 warning LimitBelowRequest"]
    ),
    "a limit of the agent below the default request": (
        changed("replicas: 2", "agentResources: {limits: {cpu: 1m}}"), ["15:31 warning LimitBelowRequest"]
    ),
    "a limit below its request": (
        changed("replicas: 2", "resources: {requests: {memory: 1Gi}, limits: {memory: 1M}}"),
        ["15:51 error InvalidSpec"],
    ),
    "paused": (changed("spec:\n", "spec:\n  paused: true\n"), ["6:3 warning Paused"]),
    "a freeze that has ended": (
        changed("spec:\n", "spec:\n  freeze: {until: 2020-01-01T00:00:00Z}\n"),
        ["6:12 warning FreezeEnded"],
    ),
    "two versions with the same pods": (
        GOOD_TEXT + SERVICE.replace("NAME", "web-v1") + SERVICE.replace("NAME", "web-v2").replace(
            "version: web-v2", "version: web-v1"
        ),
        ["11:9 warning SameSelector"],
    ),
    "a further port of a Service that no route names": (
        changed("spec:\n", "spec:\n  ports:\n    - {name: admin, port: 81, servicePort: admin, backends: [\n"
        "      {serviceName: web-v1, servicePort: 81}, {serviceName: web-v3, servicePort: 81}]}\n"),
        ["8:48 warning UnusedBackend"],
    ),
    "a port of a further port that the Service does not have": (
        changed("spec:\n", "spec:\n  ports:\n    - {name: admin, port: 81, servicePort: admin, backends: [\n"
        "      {serviceName: web-v2, servicePort: 81}]}\n") + SERVICE.replace("NAME", "web-v2"),
        ["8:29 error BackendPortNotFound"],
    ),
    "two Kanaries in a loop": (
        GOOD_TEXT
        + "---\n"
        + changed("name: web\n", "name: other\n").replace("destination: web", "destination: web-v1").replace(
            "serviceName: web-v1", "serviceName: web"
        ),
        ["8:17 warning ConnectionLoop", "24:17 warning ConnectionLoop"],
    ),
    "two Kanaries with one destination": (
        f"{GOOD_TEXT}---\n" + changed("name: web\n", "name: other\n"),
        ["22:3 error DestinationTaken"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), PLACES.values(), ids=PLACES.keys())
def test_each_problem_is_found_at_its_place(folder: Folder, text: str, expected: list[str]) -> None:
    folder.write(text)
    assert folder.places() == expected
    assert folder.code == any("error" in each for each in expected)


def service(name: str, **spec: Any) -> Json:
    ports = {"ports": [{"name": "http", "port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec or ports}


SERVICES = [
    service("myapp-v1"),
    service("myapp-v2"),
    service("outside", **EXTERNAL),
    service("names", ports=[UDP_PORT]),
]
REFUSED = {name: (spec, text) for name, (spec, _, text) in BAD_SPECS.items()} | BAD_ROLLOUTS


@pytest.mark.parametrize(("spec", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_the_operator_refuses_is_found_at_the_field(folder: Folder, spec: Json, message: str) -> None:
    kanary = {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": {"name": "rule"}, "spec": GOOD | spec}
    text = yaml.safe_dump_all([kanary, *SERVICES])
    folder.write(text)
    found = [each for each in folder.findings() if message in each["message"]]
    assert len(found) == 1
    path = re.match(r"[\w.\[\]]+", found[0]["message"])
    assert path
    marked = text.splitlines()[found[0]["line"] - 1][found[0]["column"] - 1 :]
    *_, parent, field = re.findall(r"\w+|\[\d+\]", path[0])
    # The key of the field; of an entry what it begins with; if the field is missing, the same of its parent.
    names = [name for name in (field, parent) if not name.startswith("[")]
    assert marked.startswith(tuple(f"{name}:" for name in names)) or field.startswith("[") or parent.startswith("[")
    assert folder.code == 1


def test_all_problems_are_found_however_many(folder: Folder) -> None:
    fields = "".join(f"    unknown{number}: 1\n" for number in range(20))
    folder.write(GOOD_TEXT + fields)
    assert len(folder.findings()) == 20


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spec", "{ports: [{name: http, nodePort: 30080}]}"),
        ("spec", '{ports: [{name: http, port: "${PORT}"}]}'),
        ("spec", "{ports: http}"),
        ("spec", "[1]"),
        ("metadata", "{name: web-v1, labels: [a]}"),
        ("metadata", "{name: web-v1, ownerReferences: [null]}"),
    ],
)
def test_a_patch_of_a_service_says_nothing_about_it(folder: Folder, field: str, value: str) -> None:
    fields = {"metadata": "{name: web-v1}", "spec": "{}"} | {field: value}
    lines = [f"{name}: {text}" for name, text in fields.items()]
    folder.write(GOOD_TEXT + "\n".join(["---", "apiVersion: v1", "kind: Service", *lines, ""]))
    assert folder.findings() == []


def test_a_file_that_cannot_be_read_is_found_whatever_it_may_be(folder: Folder) -> None:
    folder.write(GOOD_TEXT.encode("utf-16"))
    assert [each["rule"] for each in folder.findings()] == ["InvalidYAML"]


# Which files belong together


def test_files_of_one_folder_are_checked_together(folder: Folder) -> None:
    folder.write(changed("servicePort: http\n", "servicePort: https\n"))
    folder.write(SERVICE.replace("NAME", "web-v2"), "services.yaml")
    assert folder.places() == ["12:9 error BackendPortNotFound"]
    other = changed("name: web\n", "name: other\n")
    folder.write(GOOD_TEXT)
    folder.write(other, "zz.yaml")
    assert [(Path(f["file"]).name, f["rule"]) for f in folder.findings()] == [("zz.yaml", "DestinationTaken")]


def test_files_of_other_folders_may_be_of_another_cluster(folder: Folder) -> None:
    folder.write(GOOD_TEXT, "production/web.yaml")
    folder.write(changed("name: web\n", "name: other\n"), "staging/web.yaml")
    assert folder.findings() == []


def test_versions_of_one_kanary_are_no_rivals(folder: Folder) -> None:
    folder.write(GOOD_TEXT, "before.yaml")
    folder.write(changed("weight: 90", "weight: 50").replace("weight: 10", "weight: 50"), "after.yaml")
    assert folder.findings() == []


def test_hidden_folders_and_other_files_are_left_out(folder: Folder) -> None:
    bad = changed("weight: 90", "weight: x")
    folder.write(bad, ".git/web.yaml")
    folder.write(bad, "web.txt")
    folder.write("{{ template }}: {{ .Values }}\n- [", "templates/other.yaml")
    folder.write(GOOD_TEXT, "deep/er/web.yml")
    assert folder.findings() == []
    assert "1 Kanary in 2 files" in folder.summary


def test_a_file_that_is_named_twice_is_checked_once(folder: Folder) -> None:
    folder.write(changed("weight: 90", "weight: x"))
    file = str(folder.path / "web.yaml")
    assert len(folder.findings("-f", file, "-f", str(folder.path), file)) == 1


def test_standard_input_is_a_file_as_well(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(changed("weight: 90", "weight: x").encode())))
    assert folder.output("-f", "-").startswith("-:9:7: error InvalidWeights: spec.routes[0].weight is ")


# Exit codes and formats


def test_warnings_fail_only_if_strict(folder: Folder) -> None:
    folder.write(changed("spec:\n", "spec:\n  paused: true\n"))
    assert "warning Paused" in folder.output()
    assert folder.code == 0
    assert "warning Paused" in folder.output("-f", str(folder.path), "--strict")
    assert folder.code == 1


@pytest.mark.parametrize(("arguments", "code"), [((), 2), (("-f", "nowhere.yaml"), 1), (("-f", "x", "-o", "xml"), 2)])
def test_bad_arguments_are_refused(arguments: Sequence[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", *arguments]) == code
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("text", [b"\xff\xfe kanary.k8s.io/v1", b"kanary.k8s.io: [", b"kanary.k8s.io: " + b"[" * 2000])
def test_a_file_that_is_not_yaml_is_one_finding_and_the_others_are_checked(folder: Folder, text: bytes) -> None:
    folder.write(text, "a.yaml")
    folder.write(changed("weight: 90", "weight: x"), "b.yaml")
    assert [each["rule"] for each in folder.findings()] == ["InvalidYAML", "InvalidWeights"]


def test_text_has_no_control_characters(folder: Folder) -> None:
    folder.write(changed("replicas: 2", '"repl\\e[31micas": 2'), "a\x1b[31m.yaml")
    assert all(line.isprintable() for line in folder.output().splitlines())


def test_sarif_has_what_its_readers_require(folder: Folder) -> None:
    folder.write(changed("weight: 90", "weight: x").replace("spec:\n", "spec:\n  paused: 1\n"), "my file.yaml")
    report = json.loads(folder.output("-f", str(folder.path), "-o", "sarif"))
    assert report["version"] == "2.1.0"
    assert report["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = report["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"]
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids))
    weights = next(rule for rule in driver["rules"] if rule["id"] == "InvalidWeights")
    assert weights["shortDescription"]["text"]
    assert weights["help"]["text"]
    assert [ids[result["ruleIndex"]] for result in run["results"]] == [result["ruleId"] for result in run["results"]]
    assert {result["level"] for result in run["results"]} <= {"error", "warning", "note", "none"}
    assert all(result["message"]["text"] for result in run["results"])
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == (folder.path / "my file.yaml").as_uri()
    assert place["region"] == {"startLine": 6, "startColumn": 3}


def test_sarif_without_findings_is_a_report_as_well(folder: Folder) -> None:
    folder.write(GOOD_TEXT)
    report = json.loads(folder.output("-f", str(folder.path), "-o", "sarif"))
    assert report["runs"][0]["results"] == []
    assert folder.code == 0


def test_sarif_has_relative_paths_of_files_that_are_named_so(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write(changed("weight: 90", "weight: x"), "a b/web.yaml")
    monkeypatch.chdir(folder.path)
    report = json.loads(folder.output("a b", "-o", "sarif"))
    place = report["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "a%20b/web.yaml"


def test_the_hook_for_pre_commit_checks_the_files_that_it_is_given(folder: Folder) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, *arguments = hook["entry"].split()
    assert program in project_scripts()
    folder.write(GOOD_TEXT, "a.yaml")
    folder.write(changed("weight: 90", "weight: x"), "b.yaml")
    files = [str(folder.path / name) for name in ("a.yaml", "b.yaml")]
    assert main([*arguments, *files[:1]]) == 0
    assert main([*arguments, *files]) == 1


def project_scripts() -> Json:
    scripts: Json = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    return scripts
