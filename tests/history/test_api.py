"""The history over HTTP: the right answers, page by page, from a real server over a real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kanary.history.problems import BadAddressError

from kanary.history.address import parse_address
from tests.history.entries import at, change, entry
from tests.history.serving import ROOT, Client, record, record_shop, serving

WEB = "namespaces/shop/kanaries/web"


@pytest.fixture
def client(sqlite_url: str) -> Iterator[Client]:
    record_shop(sqlite_url)
    with serving(sqlite_url) as server:
        yield Client(server.port)


def revisions(items: list[dict[str, object]]) -> list[object]:
    return [item["revision"] for item in items]


def test_kanaries_are_told_with_what_names_them(client: Client) -> None:
    page = client.get("kanaries")
    assert page["next"] is None
    assert [(item["namespace"], item["name"], item["uid"]) for item in page["items"]] == [
        ("bank", "vault", "u-2"),
        ("shop", "web", "u-1"),
    ]
    assert page["items"][1]["firstSeen"] == "2026-11-23T13:31:08.123456Z"
    assert page["items"][1]["deletedAt"] is None
    deleted = client.get(WEB, deleted="true")["items"]
    assert [(item["uid"], item["deletedAt"]) for item in deleted] == [
        ("u-0", "2026-11-30T12:11:02.123456Z"),
        ("u-1", None),
    ]
    assert [item["name"] for item in client.get("namespaces/bank/kanaries")["items"]] == ["vault"]


def test_a_change_is_told_in_full(client: Client) -> None:
    assert client.get(f"{WEB}/changes", limit=2)["items"][1] == {
        "kanary": client.get(WEB)["items"][0],
        "revision": 24,
        "at": "2026-11-23T13:55:02.123456Z",
        "generation": 25,
        "before": [{"backend": "myapp-v1", "weight": 100}],
        "after": [
            {"backend": "myapp-v1", "serviceName": "myapp-v1", "servicePort": "http", "weight": 76},
            {"backend": "myapp-v2", "serviceName": "myapp-v2", "servicePort": 8080, "weight": 24},
        ],
        "cause": "raise to 24",
        "manager": "kubectl",
        "configHash": f"{24:016x}",
        "endpoints": [["10.0.0.1:8080", "10.0.0.2:8080"], ["[fd00::1]:8080"]],
        "outcome": {"result": "Ready", "at": "2026-11-23T13:55:08.123456Z", "seconds": 6.125},
    }


def test_the_newest_change_has_no_outcome_yet(client: Client) -> None:
    newest = client.get(f"{WEB}/changes", limit=1)["items"][0]
    assert (newest["revision"], newest["outcome"]) == (25, None)


def test_a_transition_is_told_in_full(client: Client) -> None:
    assert client.get(f"{WEB}/transitions")["items"][0] == {
        "kanary": client.get(WEB)["items"][0],
        "number": 12,
        "at": "2026-11-23T13:32:14.123456Z",
        "from": "Ready",
        "to": "Rendering",
        "trigger": "changed",
        "reason": "SpecChanged",
        "message": "transition 12",
    }


@pytest.mark.parametrize("kind", ["changes", "transitions"])
@pytest.mark.parametrize("limit", [1, 7, 11, 1000])
def test_pages_add_up_whatever_their_size(client: Client, kind: str, limit: int) -> None:
    for scope in ("", "namespaces/shop/", f"{WEB}/"):
        query = {"deleted": "true"}
        whole = client.every(f"{scope}{kind}", **query)
        assert client.every(f"{scope}{kind}", **query, limit=limit) == whole
        assert len(client.get(f"{scope}{kind}", **query, limit=limit)["items"]) == min(limit, len(whole))


def test_pages_of_kanaries_add_up(client: Client) -> None:
    assert client.every("kanaries", deleted="true", limit=1) == client.get("kanaries", deleted="true")["items"]


def test_a_page_has_100_items_where_nobody_says_how_many(sqlite_url: str) -> None:
    record(sqlite_url, [entry(last=150)])
    with serving(sqlite_url) as server:
        assert len(Client(server.port).get("changes")["items"]) == 100


def test_what_is_recorded_between_two_pages_shifts_nothing(client: Client, sqlite_url: str) -> None:
    first = client.get(f"{WEB}/changes", limit=5)
    record(sqlite_url, [entry(first=26, last=40)])
    second = client.get(f"{WEB}/changes", limit=5, after=first["next"])
    assert revisions(first["items"] + second["items"]) == list(range(25, 15, -1))


def test_changes_of_a_span_of_time(client: Client) -> None:
    span = {"since": at(5).isoformat(), "until": at(8).isoformat()}
    assert revisions(client.every(f"{WEB}/changes", **span)) == [8, 7, 6, 5]
    assert revisions(client.every(f"{WEB}/changes", since=at(24).isoformat())) == [25, 24]
    assert client.every(f"{WEB}/changes", since=at(50).isoformat()) == []
    assert len(client.every(f"{WEB}/transitions", until=at(0.5).isoformat())) == 5


def test_a_time_counts_in_its_own_zone(client: Client) -> None:
    assert revisions(client.every(f"{WEB}/changes", until="2026-11-23T14:33:02.2+01:00")) == [2, 1]


def test_what_was_in_force_at_a_time(client: Client) -> None:
    then = client.every("changes", at=at(7.5).isoformat())
    assert [(item["kanary"]["name"], item["revision"]) for item in then] == [("vault", 3), ("web", 7)]
    with_deleted = client.every(f"{WEB}/changes", at=at(7.5).isoformat(), deleted="true", limit=1)
    assert [(item["kanary"]["uid"], item["revision"]) for item in with_deleted] == [("u-0", 4), ("u-1", 7)]
    assert client.every(f"{WEB}/changes", at=at(-5).isoformat()) == []


def test_those_that_are_gone_are_told_when_asked_for(client: Client) -> None:
    assert len(client.every(f"{WEB}/changes")) == 25
    assert len(client.every(f"{WEB}/changes", deleted="false")) == 25
    assert len(client.every(f"{WEB}/changes", deleted="true")) == 29


def test_a_revision_comes_with_its_configuration(client: Client) -> None:
    newest = client.get(f"{WEB}/revisions/25")
    assert newest["configuration"] == "# configuration 25\n" * 10
    listed = client.get(f"{WEB}/changes", limit=1)["items"][0]
    assert {key: value for key, value in newest.items() if key != "configuration"} == listed
    assert client.get(f"{WEB}/revisions/25", configuration="false")["configuration"] is None
    assert client.get(f"{WEB}/revisions/24")["configuration"] is None


def test_a_revision_is_that_of_the_kanary_which_exists_unless_a_uid_says_otherwise(client: Client) -> None:
    assert client.get(f"{WEB}/revisions/3")["kanary"]["uid"] == "u-1"
    assert client.get(f"{WEB}/revisions/3", deleted="true")["kanary"]["uid"] == "u-1"
    assert client.get(f"{WEB}/revisions/3", uid="u-0")["kanary"]["uid"] == "u-0"


def test_of_those_that_are_gone_the_last_one_counts(sqlite_url: str) -> None:
    record(sqlite_url, [entry("u-2")], deleted=["u-2"], minutes=200)
    record(sqlite_url, [entry("u-3")], deleted=["u-3"], minutes=100)
    record(sqlite_url, [entry("u-1")])
    with serving(sqlite_url) as server:
        client = Client(server.port)
        assert client.get(f"{WEB}/revisions")["kanary"]["uid"] == "u-1"
        assert client.get(f"{WEB}/revisions", deleted="true")["kanary"]["uid"] == "u-1"
        record(sqlite_url, [], deleted=["u-1"], minutes=150)
        assert client.ask(f"{WEB}/revisions")[0] == 404
        assert client.get(f"{WEB}/revisions", deleted="true")["kanary"]["uid"] == "u-2"


def test_the_first_and_the_last_revision_are_told(client: Client, sqlite_url: str) -> None:
    kept = client.get(f"{WEB}/revisions")
    assert (kept["first"], kept["last"], kept["kanary"]["uid"]) == (1, 25, "u-1")
    record(sqlite_url, [replace(entry("u-3", name="idle"), changes=(), outcomes=())])
    idle = client.get("namespaces/shop/kanaries/idle/revisions")
    assert (idle["first"], idle["last"]) == (None, None)


def test_a_configuration_is_told_by_its_hash(client: Client) -> None:
    assert client.get(f"configurations/{25:016x}") == {
        "hash": f"{25:016x}",
        "text": "# configuration 25\n" * 10,
    }


def test_head_says_how_long_the_answer_is(client: Client) -> None:
    status, body, headers = client.raw(f"{ROOT}{WEB}/changes", "HEAD")
    whole = client.raw(f"{ROOT}{WEB}/changes")[1]
    assert (status, body, headers["content-length"]) == (200, b"", str(len(whole)))


# What there is not


@pytest.mark.parametrize(
    ("path", "query", "reason", "message"),
    [
        ("namespaces/shop/kanaries/api/changes", {}, "UnknownKanary", "there is no Kanary shop/api on record"),
        ("namespaces/shop/kanaries/api/transitions", {}, "UnknownKanary", "there is no Kanary shop/api on record"),
        ("namespaces/shop/kanaries/api", {}, "UnknownKanary", "there is no Kanary shop/api on record"),
        ("namespaces/shop/kanaries/api/revisions", {}, "UnknownKanary", "there is no Kanary shop/api on record"),
        ("namespaces/shop/kanaries/api/revisions/1", {}, "UnknownKanary", "there is no Kanary shop/api on record"),
        (f"{WEB}/revisions", {"uid": "u-2"}, "UnknownKanary", "no Kanary shop/web on record has the uid u-2"),
        (
            f"{WEB}/revisions/26",
            {},
            "UnknownRevision",
            "shop/web has no revision 26 on record: there are 1 to 25",
        ),
        ("configurations/beef", {}, "UnknownConfiguration", "no configuration beef is kept"),
        ("", {}, "UnknownPath", "there is nothing here; /history/v1/openapi.json says what there is"),
        ("kanaries/", {}, "UnknownPath", "there is nothing here; /history/v1/openapi.json says what there is"),
        ("revisions", {}, "UnknownPath", "there is nothing here; /history/v1/openapi.json says what there is"),
    ],
)
def test_what_there_is_not_is_not_found(
    client: Client, path: str, query: dict[str, str], reason: str, message: str
) -> None:
    assert client.ask(path, **query) == (404, {"reason": reason, "message": message})


def test_a_kanary_that_is_deleted_is_found_by_those_who_ask_for_it(client: Client, sqlite_url: str) -> None:
    record(sqlite_url, [], deleted=["u-1"])
    message = "Kanary shop/web is deleted: ask with deleted=true for what was"
    for path in (WEB, f"{WEB}/changes", f"{WEB}/transitions", f"{WEB}/revisions", f"{WEB}/revisions/1"):
        assert client.ask(path) == (404, {"reason": "UnknownKanary", "message": message})
        assert client.ask(path, deleted="true")[0] == 200


def test_a_revision_that_is_missing_between_others_is_not_said_to_be_there(client: Client, sqlite_url: str) -> None:
    gap = replace(entry("u-7", name="gap"), changes=(change(1), change(3)), outcomes=())
    record(sqlite_url, [gap])
    _, error = client.ask("namespaces/shop/kanaries/gap/revisions/2")
    assert error["message"] == "shop/gap has no revision 2 on record: there are 1 to 3 without it"


def test_an_empty_namespace_is_an_empty_page(client: Client) -> None:
    for kind in ("kanaries", "changes", "transitions"):
        assert client.get(f"namespaces/nobody/{kind}") == {"next": None, "items": []}


def test_a_kanary_without_history_in_a_span_is_an_empty_page(client: Client) -> None:
    assert client.get(f"{WEB}/changes", since=at(1000).isoformat()) == {"next": None, "items": []}


# A database that is not well


def test_a_database_that_is_not_there_is_unavailable_until_it_is(sqlite_url: str) -> None:
    with serving(sqlite_url) as server:
        client = Client(server.port)
        status, error = client.ask("changes")
        assert (status, error["reason"]) == (503, "DatabaseUnavailable")
        assert "there is no history database" in error["message"]
        record_shop(sqlite_url)
        assert client.ask("changes")[0] == 200


def test_a_corrupt_database_is_told_as_such(sqlite_url: str) -> None:
    path = parse_address(sqlite_url).path
    assert path is not None
    path.write_bytes(b"no database" * 1000)
    with serving(sqlite_url) as server:
        assert [Client(server.port).ask(path)[0] for path in ("kanaries", f"{WEB}/revisions/1")] == [503, 503]
        assert Client(server.port).ask("changes")[1]["reason"] == "DatabaseCorrupt"


def test_a_url_that_is_none_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    with pytest.raises(BadAddressError), serving(f"mysql://{tmp_path}"):
        pass


# Pages of bounded size


def test_a_page_of_large_items_is_shorter_and_nothing_is_left_out(sqlite_url: str) -> None:
    many = tuple(f"10.{i // 256}.{i % 256}.1:8080" for i in range(1000))
    large = tuple(replace(change(number), endpoints=(many,) * 10) for number in range(1, 41))
    record(sqlite_url, [replace(entry(last=40), changes=large)])
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
    assert found == list(range(40, 0, -1))
    # Ten are read first, to learn how large they are; of those of usual size there is room for all.
    assert [size // 1_000_000 for size in sizes] == [1, 1, 1, 1]
