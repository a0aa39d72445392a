"""Watches: replay, order, selectors, bookmarks, expiry."""

from __future__ import annotations

from .api import Api, Object
from .collection import Collection, revision_of


def test_a_watch_shows_what_happens_in_order(widgets: Collection) -> None:
    with widgets.watch() as watch:
        widgets.make("one", spec={"size": 1})
        widgets.merge("one", {"spec": {"size": 2}}).ok()
        widgets.merge("one", {"status": {"phase": "Ready"}}, "status").ok()
        widgets.delete("one").ok()

        assert watch.seen(4) == [("ADDED", "one"), ("MODIFIED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]
        revisions = [revision_of(value) for value in watch.objects(4)]

    assert revisions == sorted(set(revisions))


def test_events_carry_the_object_with_its_type(services: Collection) -> None:
    with services.watch() as watch:
        created = services.make("one", spec={"ports": [{"port": 80}]})

        seen = watch.objects(1)[0]

    assert seen == created
    assert (seen["apiVersion"], seen["kind"]) == ("v1", "Service")


def test_the_last_event_has_the_last_state_and_a_version_of_its_own(widgets: Collection) -> None:
    created = widgets.make("one", spec={"size": 7})
    with widgets.watch() as watch:
        widgets.delete("one").ok()

        last = watch.objects(1)[0]

    assert last["spec"] == created["spec"]
    assert last["metadata"]["uid"] == created["metadata"]["uid"]
    assert revision_of(last) > revision_of(created)


def test_a_watch_replays_what_happened_after_its_version(widgets: Collection) -> None:
    before = widgets.revision()
    widgets.make("one", spec={"size": 1})
    widgets.make("two", spec={"size": 1})
    widgets.delete("one").ok()

    with widgets.watch(resourceVersion=before) as watch:
        assert watch.seen(3) == [("ADDED", "one"), ("ADDED", "two"), ("DELETED", "one")]


def test_a_watch_from_an_object_s_version_leaves_that_object_s_write_out(widgets: Collection) -> None:
    created = widgets.make("one", spec={"size": 1})
    widgets.make("two", spec={"size": 1})

    with widgets.watch(resourceVersion=created["metadata"]["resourceVersion"]) as watch:
        assert watch.seen(1) == [("ADDED", "two")]


def test_a_watch_from_a_list_misses_and_repeats_nothing(widgets: Collection) -> None:
    widgets.make("before", spec={"size": 1})
    listing = widgets.list()
    widgets.make("after", spec={"size": 1})

    with widgets.watch(resourceVersion=listing["metadata"]["resourceVersion"]) as watch:
        assert watch.seen(1) == [("ADDED", "after")]


def test_a_write_that_changes_nothing_is_no_event(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})
    with widgets.watch() as watch:
        widgets.merge("one", {"spec": {"size": 1}}).ok()
        widgets.make("two", spec={"size": 1})

        assert watch.seen(1) == [("ADDED", "two")]


def test_a_watch_of_a_namespace_shows_no_other(cluster: Api, widgets: Collection) -> None:
    elsewhere = widgets.path.replace(widgets.namespace, "default")
    with widgets.watch() as watch:
        cluster.request("POST", elsewhere, widgets.value("other", spec={"size": 1})).ok()
        cluster.request("DELETE", f"{elsewhere}/other").ok()
        widgets.make("own", spec={"size": 1})

        assert watch.seen(1) == [("ADDED", "own")]


def test_a_watch_of_all_namespaces_shows_every_one(cluster: Api, widgets: Collection) -> None:
    with cluster.watch(widgets.everywhere, resourceVersion=widgets.revision()) as watch:
        widgets.make("one", spec={"size": 1})

        # Namespaces of earlier tests may still be on their way out.
        watch.until(lambda events: any(_place(e) == (widgets.namespace, "one") for e in events), "the object is seen")


def _place(event: Object) -> tuple[str, str]:
    return event["object"]["metadata"]["namespace"], event["object"]["metadata"]["name"]


def test_a_watch_with_a_label_selector_sees_objects_come_and_go(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})
    with widgets.watch(labelSelector="app=x") as watch:
        widgets.merge("one", {"metadata": {"labels": {"app": "x"}}}).ok()
        widgets.merge("one", {"spec": {"size": 2}}).ok()
        widgets.merge("one", {"metadata": {"labels": {"app": "y"}}, "spec": {"size": 3}}).ok()
        widgets.merge("one", {"spec": {"size": 4}}).ok()
        widgets.make("two", spec={"size": 1}, metadata={"labels": {"app": "x"}})

        assert watch.seen(4) == [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one"), ("ADDED", "two")]
        _, modified, left, _ = watch.objects(4)

    # What left the selection is shown as it was when it still matched, under the version of the change.
    assert left["metadata"]["labels"] == {"app": "x"}
    assert left["spec"]["size"] == 2
    assert revision_of(left) > revision_of(modified)


def test_a_replay_knows_selectors_too(widgets: Collection) -> None:
    before = widgets.revision()
    widgets.make("one", spec={"size": 1}, metadata={"labels": {"app": "x"}})
    widgets.merge("one", {"metadata": {"labels": {"app": "y"}}}).ok()
    widgets.delete("one").ok()

    with widgets.watch(resourceVersion=before, labelSelector="app=x") as watch:
        assert watch.seen(2) == [("ADDED", "one"), ("DELETED", "one")]


def test_a_watch_ends_after_its_timeout(widgets: Collection) -> None:
    before = widgets.revision()
    widgets.make("one", spec={"size": 1})

    with widgets.watch(resourceVersion=before, timeoutSeconds=4) as watch:
        events = watch.wait_for_end()

    assert [event["type"] for event in events] == ["ADDED"]


def watched_to_a_bookmark(widgets: Collection) -> tuple[Object, Object]:
    """An object that was made during a watch, and the last bookmark of that watch.

    An API server promises no bookmark at any time (Kubernetes API Concepts, "Watch bookmarks"), and one that began
    to watch its storage a moment ago, as after a change of the definition, sends none before the first event. So it
    has several watches to send one in.
    """
    for attempt in range(10):
        before = widgets.revision()
        with widgets.watch(resourceVersion=before, allowWatchBookmarks="true", timeoutSeconds=5) as watch:
            created = widgets.make(f"one-{attempt}", spec={"size": 1})
            events = watch.wait_for_end()
        bookmarks = [event["object"] for event in events if event["type"] == "BOOKMARK"]
        if bookmarks:
            return created, bookmarks[-1]
    raise AssertionError("none of ten watches brought a bookmark")


def test_bookmarks_say_how_far_a_watch_has_seen(widgets: Collection) -> None:
    created, bookmark = watched_to_a_bookmark(widgets)

    assert (bookmark["apiVersion"], bookmark["kind"]) == (widgets.api_version, "Widget")
    assert revision_of(bookmark) >= revision_of(created)
    assert "name" not in bookmark["metadata"]


def test_a_watch_can_go_on_from_a_bookmark(widgets: Collection) -> None:
    _, bookmark = watched_to_a_bookmark(widgets)
    widgets.make("two", spec={"size": 1})

    with widgets.watch(resourceVersion=bookmark["metadata"]["resourceVersion"]) as watch:
        assert watch.seen(1) == [("ADDED", "two")]


def test_without_asking_there_are_no_bookmarks(widgets: Collection) -> None:
    with widgets.watch(timeoutSeconds=4) as watch:
        assert watch.wait_for_end() == []
