"""Lists: pages, selectors, namespaces."""

from __future__ import annotations

import pytest

from .api import Api
from .collection import Collection, revision_of


def make(widgets: Collection, *names: str) -> None:
    for name in names:
        widgets.make(name, spec={"size": 1})


def test_a_list_has_a_kind_a_version_and_its_items_in_order(widgets: Collection) -> None:
    make(widgets, "b", "a", "c")

    listing = widgets.list()

    assert (listing["apiVersion"], listing["kind"]) == (widgets.api_version, "WidgetList")
    assert [item["metadata"]["name"] for item in listing["items"]] == ["a", "b", "c"]
    assert revision_of(listing) >= max(map(revision_of, listing["items"]))


def test_items_of_a_custom_list_carry_their_type(widgets: Collection) -> None:
    make(widgets, "one")

    item = widgets.list()["items"][0]

    assert (item["apiVersion"], item["kind"]) == (widgets.api_version, "Widget")
    assert item == widgets.read("one")


def test_items_of_a_built_in_list_carry_no_type(services: Collection) -> None:
    services.make("one", spec={"ports": [{"port": 80}]})

    item = services.list()["items"][0]

    assert "apiVersion" not in item
    assert "kind" not in item
    assert item["spec"] == services.read("one")["spec"]


def test_an_empty_list_has_a_version_too(widgets: Collection) -> None:
    listing = widgets.list()

    assert listing["items"] == []
    assert revision_of(listing) > 0


def test_the_version_of_a_list_moves_with_every_write(widgets: Collection) -> None:
    before = revision_of(widgets.list())
    created = widgets.make("one", spec={"size": 1})

    assert before < revision_of(created) <= revision_of(widgets.list())


def test_objects_of_all_namespaces_are_listed_together(cluster: Api, widgets: Collection) -> None:
    make(widgets, "one")

    listing = cluster.get(widgets.everywhere).ok()

    names = {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in listing["items"]}
    assert (widgets.namespace, "one") in names


def test_a_list_of_a_namespace_shows_no_other(cluster: Api, widgets: Collection) -> None:
    make(widgets, "one")

    assert cluster.get(widgets.path.replace(widgets.namespace, "default")).ok()["items"] == []


def test_a_namespace_that_does_not_exist_has_an_empty_list(cluster: Api, widgets: Collection) -> None:
    assert cluster.get(widgets.path.replace(widgets.namespace, "no-such-namespace")).ok()["items"] == []


def test_a_limit_makes_pages(widgets: Collection) -> None:
    make(widgets, "a", "b", "c", "d", "e")

    first = widgets.list(limit=2)
    second = widgets.list(limit=2, **{"continue": first["metadata"]["continue"]})
    third = widgets.list(limit=2, **{"continue": second["metadata"]["continue"]})

    pages = [[item["metadata"]["name"] for item in page["items"]] for page in (first, second, third)]
    assert pages == [["a", "b"], ["c", "d"], ["e"]]
    assert not third["metadata"].get("continue")


def test_pages_show_one_state(widgets: Collection) -> None:
    make(widgets, "a", "b", "c", "d")
    first = widgets.list(limit=2)
    widgets.delete("c").ok()
    make(widgets, "e")

    second = widgets.list(**{"continue": first["metadata"]["continue"]})

    assert [item["metadata"]["name"] for item in second["items"]] == ["c", "d"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_pages_of_all_namespaces_go_on_where_they_stopped(cluster: Api, widgets: Collection) -> None:
    make(widgets, "a", "b", "c")
    seen: list[str] = []
    query: dict[str, object] = {"limit": 1}

    while True:
        page = cluster.get(widgets.everywhere, **query).ok()
        seen += [
            item["metadata"]["name"] for item in page["items"] if item["metadata"]["namespace"] == widgets.namespace
        ]
        if not page["metadata"].get("continue"):
            break
        query["continue"] = page["metadata"]["continue"]

    assert seen == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app=x", ["both", "x"]),
        ("app=x,tier=front", ["both"]),
        ("app=nothing", []),
    ],
)
def test_label_selectors_select(widgets: Collection, selector: str, expected: list[str]) -> None:
    labels = {"x": {"app": "x"}, "y": {"app": "y"}, "both": {"app": "x", "tier": "front"}, "none": {}}
    for name, given in labels.items():
        widgets.make(name, spec={"size": 1}, metadata={"labels": given})

    assert widgets.names(labelSelector=selector) == expected


def test_a_label_selector_that_is_none_is_refused(widgets: Collection) -> None:
    widgets.api.get(widgets.path, labelSelector="a===b").refused(400, "BadRequest")
