"""The history over HTTP: correct responses, page by page, from a real server with a real database."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from engine.model.entries import Entry
from kanary.history.address import parse_address
from kanary.history.wire import ROOT
from kanary.web.history import history_api
from tests.history.entries import at, change, seen, with_entries
from tests.history.serving import Client, record, record_shop, running, serving

WEB = {"namespace": "shop", "name": "web"}


@pytest.fixture
def client(sqlite_url: str) -> Iterator[Client]:
    record_shop(sqlite_url)
    with serving(sqlite_url) as server:
        yield Client(server.port)


def revisions(items: list[dict[str, dict[str, object]]]) -> list[object]:
    return [item["change"]["revision"] for item in items]


def test_kanaries_are_answered_with_what_names_them(client: Client) -> None:
    page = client.get("kanaries")
    assert page["next"] is None
    assert [(item["namespace"], item["name"], item["uid"]) for item in page["items"]] == [
        ("bank", "vault", "u-2"),
        ("shop", "web", "u-1"),
    ]
    assert page["items"][1]["firstSeen"] == "2026-11-23T13:32:02.123Z"  # its first entry
    assert page["items"][1]["deletedAt"] is None
    assert [(item["firstRevision"], item["lastRevision"]) for item in page["items"]] == [(1, 3), (1, 25)]
    both = client.get("kanaries", **WEB, deleted="true")["items"]
    assert [(item["uid"], item["deletedAt"]) for item in both] == [("u-0", "2026-11-30T12:11:02.123Z"), ("u-1", None)]
    assert [item["name"] for item in client.get("kanaries", namespace="bank")["items"]] == ["vault"]


def test_a_change_is_answered_in_full(client: Client) -> None:
    assert client.get("changes", **WEB, limit=2)["items"][1] == {
        "kanary": {
            "uid": "u-1",
            "namespace": "shop",
            "name": "web",
            "firstSeen": "2026-11-23T13:32:02.123Z",
            "deletedAt": None,
        },
        "change": {
            "number": 240,
            "at": "2026-11-23T13:55:02.123Z",
            "kind": "WeightChange",
            "revision": 24,
            "generation": 25,
            "before": [{"backend": "myapp-v1:http", "weight": 100}],
            "after": [{"backend": "myapp-v1:http", "weight": 76}, {"backend": "myapp-v2:8080", "weight": 24}],
            "cause": "raise to 24",
            "author": "kubectl",
            "digest": f"{24:016x}",
            "rollout": None,
            "step": None,
        },
        "result": {
            "number": 249,
            "at": "2026-11-23T13:55:08.123Z",
            "kind": "ChangeResult",
            "revision": 24,
            "result": "Ready",
            "seconds": 6.125,
        },
    }


def test_a_change_in_progress_has_no_result(client: Client) -> None:
    newest = client.get("changes", **WEB, limit=1)["items"][0]
    assert (newest["change"]["revision"], newest["result"]) == (25, None)


def test_entries_are_answered_in_full_whatever_their_kind(client: Client, sqlite_url: str) -> None:
    newest = {"number": 999, "at": at(500), "kind": "Verdict", "passed": True, "figures": {"errors": 0.5}}
    record(sqlite_url, [with_entries(seen("u-1"), Entry.model_validate(newest))])
    found = client.get("entries", **WEB, limit=3)["items"]
    assert [item["entry"]["kind"] for item in found] == ["Verdict", "PhaseChange", "WeightChange"]
    assert found[0]["entry"] == newest | {"at": "2026-11-23T21:51:02.123Z"}
    told = {
        "number": 251,
        "at": "2026-11-23T13:56:02.723Z",
        "kind": "PhaseChange",
        "from": "Ready",
        "to": "Rendering",
        "trigger": "changed",
        "reason": "SpecChanged",
        "message": "phase change 1",
    }
    # Unknown fields are null.
    assert told.items() <= found[1]["entry"].items()


def test_entries_of_some_kinds(client: Client) -> None:
    phases = client.every("entries", **WEB, kinds="PhaseChange")
    assert len(phases) == 25
    both = client.every("entries", **WEB, kinds="PhaseChange,ChangeResult")
    assert {item["entry"]["kind"] for item in both} == {"PhaseChange", "ChangeResult"}
    assert len(both) == 25 + 24
    assert client.every("entries", **WEB, kinds="Nonsense") == []


@pytest.mark.parametrize("path", ["kanaries", "changes", "entries"])
@pytest.mark.parametrize("limit", [1, 7, 11, 1000])
def test_pages_add_up_whatever_their_size(client: Client, path: str, limit: int) -> None:
    for scope in ({}, {"namespace": "shop"}, WEB):
        whole = client.every(path, **scope, deleted="true")
        assert client.every(path, **scope, deleted="true", limit=limit) == whole
        assert len(client.get(path, **scope, deleted="true", limit=limit)["items"]) == min(limit, len(whole))


def test_a_page_has_500_items_where_no_limit_is_given(sqlite_url: str) -> None:
    record(sqlite_url, [seen(last=501)])
    with serving(sqlite_url) as server:
        assert len(Client(server.port).get("changes")["items"]) == 500


def test_what_is_recorded_between_two_pages_shifts_nothing(client: Client, sqlite_url: str) -> None:
    first = client.get("changes", **WEB, limit=5)
    record(sqlite_url, [seen(first=26, last=40)])
    second = client.get("changes", **WEB, limit=5, after=first["next"])
    assert revisions(first["items"] + second["items"]) == list(range(25, 15, -1))


def test_a_span_of_time_is_read_with_both_its_ends_and_in_its_own_zone(client: Client) -> None:
    span = {"since": at(5).isoformat(), "until": at(8).isoformat()}
    assert revisions(client.every("changes", **WEB, **span)) == [8, 7, 6, 5]
    assert revisions(client.every("changes", **WEB, since=at(24).isoformat())) == [25, 24]
    assert revisions(client.every("changes", **WEB, until="2026-11-23T14:33:02.2+01:00")) == [2, 1]
    assert len(client.every("entries", **WEB, kinds="PhaseChange", until=at(3).isoformat())) == 2
    assert client.get("changes", **WEB, since=at(1000).isoformat()) == {"items": [], "next": None}


def test_what_was_in_force_at_a_time(client: Client) -> None:
    then = client.every("changes", at=at(7.5).isoformat())
    assert [(item["kanary"]["name"], item["change"]["revision"]) for item in then] == [("web", 7), ("vault", 3)]
    both = client.every("changes", **WEB, at=at(7.5).isoformat(), deleted="true", limit=1)
    assert [(item["kanary"]["uid"], item["change"]["revision"]) for item in both] == [("u-1", 7), ("u-0", 4)]
    assert client.every("changes", **WEB, at=at(-5).isoformat()) == []


def test_deleted_kanaries_count_only_where_they_are_included(client: Client) -> None:
    counts = [len(client.every("changes", **WEB, **query)) for query in ({}, {"deleted": "false"}, {"deleted": "true"})]
    assert counts == [25, 25, 29]


def test_a_revision_is_that_of_the_kanary_which_exists_unless_a_uid_says_otherwise(client: Client) -> None:
    for query, uids in ((WEB, ["u-1"]), ({"uid": "u-0"}, ["u-0"]), (WEB | {"deleted": "true"}, ["u-1", "u-0"])):
        assert [item["kanary"]["uid"] for item in client.every("changes", **query, revision=3)] == uids
    assert client.every("changes", **WEB, revision=25) == client.get("changes", **WEB, limit=1)["items"]
    assert client.every("changes", **WEB, revision=26) == []


def test_a_configuration_is_answered_by_its_digest(client: Client) -> None:
    (found,) = client.get("configurations", digest=f"{25:016x}")["items"]
    assert found["text"].startswith("# configuration ")
    assert found["endpoints"]["myapp-v2:8080"] == ["[fd00::1]:8080"]


@pytest.mark.parametrize("path", ["kanaries", "changes", "entries"])
def test_a_kanary_that_is_not_on_record_is_an_empty_page(client: Client, path: str) -> None:
    assert client.get(path, namespace="shop", name="nothing") == {"items": [], "next": None}


def test_an_unknown_configuration_is_an_empty_page(client: Client) -> None:
    assert client.get("configurations", digest="beef") == {"items": [], "next": None}


@pytest.mark.parametrize(
    "path",
    ["", "kanaries/", "revision", "openapi.json", "%6Banaries/x", "kanaries/../kanaries", "KANARIES", "a" * 10_000],
)
def test_an_unknown_path_is_not_found_and_the_paths_are_named(client: Client, path: str) -> None:
    status, error = client.ask(path)
    assert (status, error["reason"]) == (404, "UnknownPath")
    for known in ("kanaries", "changes", "entries", "configurations"):
        assert f"{ROOT}/{known}" in error["message"]


# A history that cannot be read


def test_a_database_that_does_not_exist_is_unavailable_until_it_does(sqlite_url: str) -> None:
    with serving(sqlite_url) as server:
        client = Client(server.port)
        status, error = client.ask("changes")
        assert (status, error["reason"]) == (503, "DatabaseUnavailable")
        assert "there is no history database" in error["message"]
        record_shop(sqlite_url)
        assert client.ask("changes")[0] == 200


def test_a_corrupt_database_is_reported_as_such(sqlite_url: str) -> None:
    path = parse_address(sqlite_url).path
    assert path is not None
    path.write_bytes(b"no database" * 1000)
    with serving(sqlite_url) as server:
        status, error = Client(server.port).ask("changes")
    assert (status, error["reason"]) == (503, "DatabaseCorrupt")


def test_without_a_history_every_request_says_so() -> None:
    with running(history_api(None)) as server:
        client = Client(server.port)
        assert client.ask("changes") == (
            503,
            {"reason": "HistoryDisabled", "message": "history is disabled (KANARY_HISTORY_URL is empty)"},
        )


# Pages of bounded size


def test_a_page_of_large_items_is_shorter_and_nothing_is_left_out(sqlite_url: str) -> None:
    large = [change(number).model_copy(update={"cause": "x" * 30_000}) for number in range(1, 101)]
    record(sqlite_url, [with_entries(seen(), *large)])
    with serving(sqlite_url) as server:
        client = Client(server.port)
        sizes, after, found = [], {}, []
        while True:
            page = client.get("changes", limit=1000, **after)
            sizes.append(len(json.dumps(page)))
            found += revisions(page["items"])
            if page["next"] is None:
                break
            after = {"after": page["next"]}
    assert found == list(range(100, 0, -1))
    assert max(sizes) < 3_000_000


# Malicious and faulty clients


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=1e3",
        "limit=",
        "limit",
        "limit=" + "9" * 5000,
        "deleted=perhaps",
        "since=yesterday",
        "since=2026-11-23T13:35:00",  # lacks a time zone
        "since=2026-11-23T13:35:00+00:00",  # the + is a space
        "since=2026-02-30T00:00:00Z",
        "since=0001-01-01T00:00:00%2B14:00",
        "until=9999-12-31T23:59:59-14:00",
        "until=2026-11-23T13:35:00Z%00",
        "namespace=%00",
        "namespace=shop&name=%00",
        "name=web",
        "namespace=" + "a" * 254,
        "colour=red",
        "at=2026-11-23T13:35:00Z",
        "%FF=1",
        "&".join(f"a{number}=1" for number in range(1000)),
        "LIMIT=1",
        "kinds=%00",
        "after=" + "a" * 1025,
    ],
)
def test_a_bad_parameter_is_a_bad_request(client: Client, query: str) -> None:
    status, body, _ = client.raw(f"{ROOT}/entries?{query}")
    error = json.loads(body)
    assert (status, error["reason"]) == (400, "BadParameter")
    assert "; parameters: namespace, name, uid, " in error["message"]
    assert len(error["message"]) < 300
    assert "\n" not in error["message"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"name": "web"}, "query: name needs a namespace"),
        ({"limit": 0}, "limit '0': Input should be greater than or equal to 1"),
        ({"namespace": "a" * 300}, f"namespace '{'a' * 79}: String should have at most 253 characters"),
        ({"colour": "red"}, "colour 'red': Extra inputs are not permitted"),
        ({"after": "x"}, "after 'x': use the `next` of the page before"),
    ],
)
def test_a_bad_parameter_is_reported_with_its_value_and_what_there_is(
    client: Client, query: dict[str, object], expected: str
) -> None:
    known = "namespace, name, uid, deleted, limit, after, since, until, at, revision"
    message = f"{expected}; parameters: {known}"
    assert client.ask("changes", **query) == (400, {"reason": "BadParameter", "message": message})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("namespace=shop&namespace=other", "namespace ['shop', 'other']: Input should be a valid string; parameters: "),
        ("deleted=1&deleted=1", "deleted ['1', '1']: Input should be a valid boolean; parameters: "),
    ],
)
def test_a_repeated_parameter_is_a_bad_request(client: Client, query: str, expected: str) -> None:
    """A single one of its values would select items that were not requested."""
    status, body, _ = client.raw(f"{ROOT}/changes?{query}")
    assert (status, json.loads(body)["message"].startswith(expected)) == (400, True)


def test_a_missing_parameter_is_reported_by_its_name(client: Client) -> None:
    message = "digest: Field required; parameters: digest"
    assert client.ask("configurations") == (400, {"reason": "BadParameter", "message": message})


@pytest.mark.parametrize(
    "after",
    [
        "nothing",
        "",
        "\0",
        "[",
        "[]",
        "{}",
        "null",
        "1",
        "[1,2]",
        "[1,2,3,4]",
        "[" * 1000,
        '["2026-11-23T13:31:02",1,2]',
        '["2026-11-23T13:31:02","u",1]',
        '["2026-11-23T13:31:02+00:00","u",1.5]',
        '["2026-11-23T13:31:02+00:00","u",true]',
        '["2026-11-23T13:31:02+00:00","u",1e999]',
        '["2026-11-23T13:31:02+00:00",["u"],1]',
        f'["2026-11-23T13:31:02+00:00","u",{2**63}]',
        '["2026-11-23T13:31:02+00:00","\\u0000",1]',
        '["shop","web","u-1"]',
    ],
)
def test_an_invalid_place_is_a_bad_request(client: Client, after: str) -> None:
    for path in ("changes", "entries"):
        status, error = client.ask(path, after=after)
        assert (status, error["reason"]) == (400, "BadParameter")
        assert "use the `next` of the page before" in error["message"]
        assert client.ask(path, **WEB, after=after)[0] == 400
    assert client.ask("kanaries", after="[1,2,3]")[0] == 400


def test_a_place_that_no_page_has_named_is_read_on_from(client: Client) -> None:
    page = client.get("changes", **WEB, after='["2026-11-23T13:31:02+00:00","u-9",5]')
    assert page == {"items": [], "next": None}
    assert client.get("kanaries", after='["","",""]')["items"] != []


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_place_before_or_after_all_time_is_a_bad_request(client: Client, at: str) -> None:
    for query in ({}, WEB):
        assert client.ask("changes", **query, after=json.dumps([at, "u", 1]))[1]["reason"] == "BadParameter"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_written(client: Client, method: str) -> None:
    assert client.raw(f"{ROOT}/changes", method)[0] == 405


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8081", "", "localhost.evil.example"])
def test_a_page_of_another_site_cannot_read_a_forwarded_port(client: Client, host: str) -> None:
    """Its name may resolve to this address, but the browser sends that name as Host."""
    assert client.raw(f"{ROOT}/changes", host=host)[0] == 400


@pytest.mark.parametrize("host", ["localhost", "localhost:8081", "127.0.0.1:8081", "[::1]:8081"])
def test_every_name_of_the_loopback_interface_will_do(client: Client, host: str) -> None:
    assert client.raw(f"{ROOT}/changes", host=host)[0] == 200
