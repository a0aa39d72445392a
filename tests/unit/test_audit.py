"""The audit of the dependencies, with a service on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from scripts import audit
from tests.unit.responder import Drop, Reply, Responder, responding

NOTHING: dict[str, object] = {"results": [{}, {}]}
FOUND = {"results": [{"vulns": [{"id": "GHSA-1"}, {"id": "PYSEC-2"}]}, {}]}


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Responder]:
    """The service, and two pinned packages."""
    path = tmp_path / "constraints.txt"
    path.write_text("# pins\njinja2==2.4.1\nurllib3==2.8.0\n")
    monkeypatch.setattr(audit, "PINS", path)
    monkeypatch.setenv("no_proxy", "*")
    with responding() as responder:
        yield responder


def test_a_known_vulnerability_fails_and_is_named(service: Responder, capsys: pytest.CaptureFixture[str]) -> None:
    service.say(Reply(FOUND))
    assert audit.main(service.url) == 1
    assert "jinja2 2.4.1: GHSA-1 (https://osv.dev/vulnerability/GHSA-1)" in capsys.readouterr().out
    (asked,) = service.asked
    assert [(each["package"]["name"], each["version"]) for each in asked.body["queries"]] == [
        ("jinja2", "2.4.1"),
        ("urllib3", "2.8.0"),
    ]


def test_none_passes(service: Responder, capsys: pytest.CaptureFixture[str]) -> None:
    service.say(Reply(NOTHING))
    assert audit.main(service.url) == 0
    assert "no known vulnerability in 2 dependencies" in capsys.readouterr().out


def test_one_that_does_not_concern_kanary_is_left_out(service: Responder, monkeypatch: pytest.MonkeyPatch) -> None:
    service.say(Reply(FOUND))
    monkeypatch.setattr(audit, "IGNORED", {"GHSA-1": "a reason"})
    assert audit.main(service.url) == 1
    monkeypatch.setattr(audit, "IGNORED", {"GHSA-1": "a reason", "PYSEC-2": "another one"})
    assert audit.main(service.url) == 0


@pytest.mark.parametrize(
    "answer",
    [
        Drop(),
        Reply({"message": "forbidden"}, 403),
        Reply({"message": "unavailable"}, 503),
        Reply(b"<html>a proxy's page</html>"),
        Reply({"results": [{}]}),
        Reply([]),
        Reply({"results": ["text", "text"]}),
    ],
    ids=["dropped", "forbidden", "unavailable", "no JSON", "too few results", "a list", "other results"],
)
def test_without_an_answer_it_says_that_nothing_was_audited_and_passes(
    service: Responder, answer: Reply | Drop, capsys: pytest.CaptureFixture[str]
) -> None:
    service.say(answer)
    assert audit.main(service.url) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "the 2 dependencies were NOT audited: " in printed.err


def test_a_request_of_ours_that_is_wrong_fails(service: Responder) -> None:
    service.say(Reply({"code": 3}, 400))
    with pytest.raises(HTTPError):
        audit.main(service.url)


def test_every_dependency_is_pinned() -> None:
    assert len(audit.pins(audit.PINS.read_text())) > 10
    with pytest.raises(ValueError, match="not pinned to a version: jinja2"):
        audit.pins("jinja2\n")
