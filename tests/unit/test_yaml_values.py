"""YAML means what kubectl reads, and no file takes long."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kanary.cli.main import main
from kanary.cli.yaml_source import read_objects
from kanary.cli.yaml_values import MAX_ALIASED, MAX_DEPTH, YamlError

_READ_BY_KUBECTL = Path(__file__).with_name("kubectl_yaml.jsonl").read_text(encoding="utf-8")
"""Texts with the JSON that sigs.k8s.io/yaml 1.2.0 makes of them, or without one if it refuses them."""

BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
BOMB_OF_MAPS = "a0: &a0 x\n" + "".join(f"a{n}: &a{n} {{p: *a{n - 1}, q: *a{n - 1}}}\n" for n in range(1, 60))
KANARY = """\
apiVersion: kanary.k8s.io/v1
kind: Kanary
metadata: {name: web}
spec:
  destination: web
  routes: [{backend: {serviceName: web-v1, servicePort: http}, weight: 100}]
"""
OTHER = f"{KANARY}---\napiVersion: v1\nkind: Service\n"


def value(text: str) -> Any:
    return next((each.value for each in read_objects(text)), None)


@pytest.mark.parametrize("line", _READ_BY_KUBECTL.splitlines())
def test_each_text_means_what_kubectl_reads(line: str) -> None:
    found = json.loads(line)
    if "json" not in found:
        with pytest.raises(YamlError):
            value(found["yaml"])
        return
    # In JSON, as 1.0 and True equal 1 in Python.
    assert json.dumps(value(found["yaml"]), sort_keys=True) == json.dumps(found["json"], sort_keys=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, f"has aliases that repeat more than {MAX_ALIASED} values"),
        (BOMB_OF_MAPS, f"has aliases that repeat more than {MAX_ALIASED} values"),
        ("a: &a {b: *a}", "1:4: has an anchor that contains itself"),
        ("a: &a [*a]", "1:4: has an anchor that contains itself"),
        ("[" * 5000, f"1:{MAX_DEPTH + 2}: is nested more than {MAX_DEPTH} levels deep"),
        ("{a: " * 5000, f"is nested more than {MAX_DEPTH} levels deep"),
        ("a:\n  - b: .nan", "2:8: has nan, which is not a number"),
        ("a: 1\nb: !!timestamp foo", "2:4: has a !!timestamp that is no time: 'foo'"),
        ("a: 1\n~: 2", "2:1: has a key that is no text: quote it"),
        ("a: 1\nb\x1b: 2", "2:2: has the character U+001B, which YAML excludes"),
        ('a: "\\U00110000"', "1:1: "),
        ('a: "\\UFFFFFFFF"', "1:1: "),
        ('a: "\\ud800"', "1:4: has half of a surrogate pair"),
    ],
)
def test_what_is_refused_has_its_place_and_reason(text: str, message: str) -> None:
    with pytest.raises(YamlError) as caught:
        value(text)
    assert message in f"{caught.value.place}: {caught.value}"


def test_aliases_within_the_limit_are_read() -> None:
    found = value("a: &a {b: [1, 2]}\nc: [*a, *a]\nd: {<<: *a, e: 3}")
    assert found == {"a": {"b": [1, 2]}, "c": [{"b": [1, 2]}] * 2, "d": {"b": [1, 2], "e": 3}}
    assert found["c"][0] is not found["c"][1]


@given(st.text(alphabet="ab0 1.:-_~<>&*!|[]{},'\"\\#%@?\n\tUux\u0085\ud83d\U0001f600", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else is raised, and what is read is JSON."""
    try:
        found = [each.value for each in read_objects(text)]
    except YamlError:
        return
    json.dumps(found, allow_nan=False).encode()


_COMMANDS = ("render", "lint", "plan --offline", "simulate --rate 1/s")
_PLACES = {
    "apiVersion": f"{KANARY}apiVersion: *a59\n",
    "kind": KANARY.replace("kind: Kanary", "kind: *a59"),
    "metadata": KANARY.replace("{name: web}", "*a59"),
    "name": KANARY.replace("name: web}", "name: *a59}"),
    "annotation": KANARY.replace("name: web}", "name: web, annotations: {a: *a59}}"),
    "spec": f"{KANARY[: KANARY.index('spec:')]}spec: *a59\n",
    "routes": KANARY.replace("[{backend", "[*a59, {backend"),
    "weight": KANARY.replace("weight: 100", "weight: *a59"),
    "unknown field": KANARY + "  unknown: *a59\n",
    "another object": f"{OTHER}metadata: {{name: x}}\nspec: *a59\n",
    "metadata of another object": f"{OTHER}metadata: *a59\n",
    "a key": KANARY + "  ? *a59\n  : 1\n",
    "merged": KANARY + "  <<: {p: *a59}\n",
    "items of a List": f"{KANARY}---\nkind: List\nitems: *a59\n",
}


@pytest.mark.parametrize("command", _COMMANDS)
@pytest.mark.parametrize("place", _PLACES)
def test_a_bomb_is_refused_wherever_it_is(
    place: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # An anchor is known within its document, so that the bomb is part of the one that uses it.
    lines = BOMB.replace("\n", "\n  ")
    documents = [f"bomb:\n  {lines}\n{each}" if "*a59" in each else each for each in _PLACES[place].split("---\n")]
    path = tmp_path / "bomb.yaml"
    path.write_text("---\n".join(documents))
    assert main([*command.split(), "-f", str(path)]) == 1
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert "is not YAML: has " in text
    assert len(text) < 1000


def test_a_file_without_an_end_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", "/dev/zero"]) == 1
    assert "/dev/zero:1:1: is not YAML: is larger than 32 MiB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{name: web, namespace: 5}", "3:23: metadata.namespace is 5: must be a string"),
        ("{name: web, uid: [1]}", "3:23: metadata.uid is [1]: must be a string"),
        ("{name: web, annotations: {a: 017}}", "3:37: metadata.annotations.a is 15: must be a string, in quotes"),
        ("{name: web, labels: {a: on}}", "3:32: metadata.labels.a is true: must be a string, in quotes"),
        ("{name: web, labels: [a]}", "3:23: metadata.labels must be a map of strings"),
        ("{name: web, managedFields: [a]}", "3:23: metadata.managedFields must be a list of objects"),
        ("{name: web, ownerReferences: 5}", "3:23: metadata.ownerReferences must be a list of objects"),
        ("{name: web, generation: x}", "3:23: metadata.generation must be a number"),
    ],
)
@pytest.mark.parametrize("command", _COMMANDS)
def test_metadata_that_the_api_server_refuses_is_refused(
    metadata: str, message: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "web.yaml"
    path.write_text(KANARY.replace("{name: web}", metadata))
    assert main([*command.split(), "-f", str(path)]) == 1
    captured = capsys.readouterr()
    place, _, text = message.partition(" ")
    assert f"{path}:{place}" in captured.out + captured.err
    assert text in captured.out + captured.err
