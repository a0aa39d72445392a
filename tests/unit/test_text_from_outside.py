"""A hostile text through every entrance leaves through no exit as it is."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.fleet.reports import read_report
from engine.journal import CAUSE_ANNOTATION, annotated_cause, author
from engine.model.commands import PROMOTE, read_command
from engine.ports import rejected
from kanary.cli.main import main
from kanary.history.address import parse_address
from kanary.history.driver_errors import translated
from kanary.history.faults import HistoryError
from kanary.kube.errors import from_response, from_status
from kanary.operator.logs import JsonFormatter, TextFormatter
from states.texts import LONGEST, harmless
from tests.traces.test_live import declare
from tests.traces.world import World
from tests.unit.proxies import live, rolling

HOSTILE = '\x1b[31mred\x1b]0;title\x07 \u202eback\u2066 \x9b2J\x7f\r\n{"level": "error"}\u2028\u200b\x00 [bold]x[/bold]'
LONG = "\u202e" * 10**6


def texts(value: object) -> Iterator[str]:
    """All texts in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from (*texts(key), *texts(each))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from texts(each)
    elif is_dataclass(value):
        yield from texts([getattr(value, each.name) for each in fields(value)])


def of_a_report(text: str) -> object:
    server = {"status": "DOWN", "address": text, "check": text, "text": text}
    rejected = {"digest": text, "message": text}
    routes = {text: {"servers": [server]}}
    named = {"digest": text, "problem": text, "ledger": text, "shortOfPorts": [text]}
    return read_report({**named, "rejected": rejected, "routes": routes}, datetime(2026, 1, 1, tzinfo=UTC))


def of_a_database(text: str) -> object:
    try:
        with translated(parse_address("sqlite:///x.db")):
            raise OSError(5, text)
    except HistoryError as error:
        return str(error)


def annotated(**annotations: str) -> dict[str, Any]:
    return {"metadata": {"annotations": annotations}}


def managed_by(text: str) -> dict[str, Any]:
    return {"metadata": {"managedFields": [{"manager": text, "fieldsV1": {"f:spec": {"f:routes": {}}}}]}}


ENTRANCES: dict[str, Any] = {
    "report of an agent": of_a_report,
    "container that waits": lambda text: live(ready=False, waiting={"reason": text, "message": text}).trouble,
    "log of a container": lambda text: (
        rolling(
            ready=False, waiting={"reason": "CrashLoopBackOff"}, ended={"exitCode": 1, "reason": text, "message": text}
        ).trouble
    ),
    "scheduler": lambda text: (
        live(
            ready=False, conditions=({"type": "PodScheduled", "status": "False", "reason": text, "message": text},)
        ).trouble
    ),
    "answer of the API server": lambda text: (
        rejected(str(from_status({"reason": text, "message": text, "code": 422}, 422))).problem.message
    ),
    "answer of a proxy before it": lambda text: (
        rejected(str(from_response(text.encode("utf-8", "replace"), 502, text))).problem.message
    ),
    "change-cause": lambda text: annotated_cause(annotated(**{"kubernetes.io/change-cause": text})),
    "field manager": lambda text: author(managed_by(text)),
    "order": lambda text: getattr(
        read_command(annotated(**{PROMOTE: json.dumps({"by": text[:200], "reason": text[:200]})}), PROMOTE), "text", ""
    ),
    "database": of_a_database,
}


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("text", [HOSTILE, LONG], ids=["hostile", "long"])
def test_nothing_raw_enters(entrance: str, text: str) -> None:
    found = [*texts(ENTRANCES[entrance](text))]
    assert found
    assert [each for each in found if not each.isprintable()] == []
    assert max(map(len, found)) <= 2 * LONGEST + 200


@pytest.mark.parametrize("form", [JsonFormatter(), TextFormatter("%(levelname)s %(message)s")], ids=["json", "text"])
@given(text=st.text())
def test_a_log_line_is_one_line_whatever_is_in_it(form: logging.Formatter, text: str) -> None:
    for each in (text, HOSTILE):
        record = logging.LogRecord("kanary", logging.INFO, __file__, 1, "a text: %s", (each,), None)
        record.fields = {each: each}
        assert form.format(record).isprintable()


def test_a_traceback_has_no_other_line_breaks() -> None:
    try:
        int(HOSTILE)
    except ValueError:
        record = logging.LogRecord("kanary", logging.ERROR, __file__, 1, HOSTILE, (), sys.exc_info())
    lines = TextFormatter("%(message)s").format(record).split("\n")
    assert len(lines) > 3
    assert all(line.isprintable() for line in lines)


@given(st.text(), st.integers(1, 100))
def test_a_harmless_text_is_printable_and_bounded(text: str, limit: int) -> None:
    assert harmless(text, limit).isprintable()
    assert len(harmless(text, limit)) <= limit


def test_nothing_raw_is_in_the_status_or_an_event() -> None:
    """From pods, Deployments and annotations, through the engine."""
    world = World()
    world.create_service("myapp-v1", 1)
    world.create_service("myapp-v2", 1)
    declare(world, 100, 0)
    world.settle()
    waiting = {"state": {"waiting": {"reason": HOSTILE, "message": HOSTILE}}, "name": "haproxy"}
    failure = {"type": "ReplicaFailure", "status": "True", "reason": HOSTILE, "message": HOSTILE}
    for (kind, _), each in world.objects.items():
        if kind == "Deployment":
            each["status"]["conditions"] = [failure]
        if kind == "Pod" and "annotations" in each["metadata"]:
            each["status"] |= {"conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [waiting]}
    world.annotate(CAUSE_ANNOTATION, HOSTILE)
    declare(world, 50, 50, progressDeadlineSeconds=10)
    world.wait(20)
    world.settle()
    found = [*texts(world.status()), *world.events]
    assert [each for each in found if not each.isprintable()] == []
    assert any("\\x1b[31mred" in each for each in found)


_SPEC: dict[str, Any] = {
    "destination": "web",
    "routes": [{"backend": {"serviceName": "web-v1", "servicePort": "http"}, "weight": 100}],
    "rollout": {"steps": [{"to": 100}]},
    "proxy": {"nodeSelector": {"x": HOSTILE}},
}
_GOOD = {
    "apiVersion": "kanary.k8s.io/v1",
    "kind": "Kanary",
    "metadata": {"name": "web", "annotations": {"kubernetes.io/change-cause": HOSTILE, "x": HOSTILE}},
    "spec": _SPEC,
}
_CHANGES: dict[str, Any] = {
    "annotations": {},
    "name": {"metadata": {"name": HOSTILE}},
    "namespace": {"metadata": {"name": "web", "namespace": HOSTILE}},
    "uid": {"metadata": {"name": "web", "uid": HOSTILE}},
    "apiVersion": {"apiVersion": f"kanary.k8s.io/{HOSTILE}"},
    "top": {HOSTILE: HOSTILE},
    "spec": {"spec": HOSTILE},
    "field": {"spec": _SPEC | {HOSTILE: HOSTILE}},
    "destination": {"spec": _SPEC | {"destination": HOSTILE}},
    "image": {"spec": _SPEC | {"proxy": {"image": HOSTILE}}},
    "routes": {"spec": _SPEC | {"routes": [{"backend": HOSTILE, "weight": HOSTILE}]}},
    "status": {"status": {"message": HOSTILE, "phase": HOSTILE, "reason": HOSTILE}},
}


@pytest.mark.parametrize(
    "command",
    [
        "render",
        "render -o config",
        "lint",
        "lint -o json",
        "lint -o sarif",
        "plan --offline",
        "plan --offline -o json",
        "simulate --rate 1/s --runs 1",
    ],
)
@pytest.mark.parametrize("field", _CHANGES)
def test_no_command_prints_what_a_file_has_raw(
    field: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {"apiVersion": "v1", "kind": HOSTILE, "metadata": {"name": HOSTILE, "labels": {HOSTILE: HOSTILE}}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web-v1"}}
    port = {"name": HOSTILE, "port": 80, "protocol": HOSTILE}
    documents = [_GOOD | _CHANGES[field], other, service | {"spec": {"ports": [{"name": "http", "port": 80}, port]}}]
    path = tmp_path / "web.yaml"
    path.write_text("---\n".join(json.dumps(each) + "\n" for each in documents))
    main([*command.split(), "-f", str(path)])
    captured = capsys.readouterr()
    written = captured.out + captured.err
    assert written
    assert [line for line in written.split("\n") if not line.isprintable()] == []
