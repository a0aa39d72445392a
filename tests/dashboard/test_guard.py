"""Who may use the dashboard."""

from __future__ import annotations

import re
import socket

import pytest

from engine.model.commands import ABORT
from kanary.dashboard.serve import LocalDashboard
from tests.dashboard.stage import PAGE, Stage, Visitor, rollout

PATHS = ["/", "/stream", PAGE, f"{PAGE}/stream", f"{PAGE}/abort", "/static/page.js", "/nothing"]


def form_of(visitor: Visitor, action: str) -> dict[str, str]:
    """The fields of the form that confirms an action."""
    page = visitor.get(f"{PAGE}/{action}")
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_served_without_the_session(dashboard: LocalDashboard, path: str) -> None:
    visitor = Visitor(dashboard)
    for cookie in ("", f"kanary-{visitor.port}=wrong", f"kanary-{visitor.port}=", "kanary-1=x"):
        visitor.cookie = cookie
        answer = visitor.request("GET", path)
        assert answer.status == 401
        assert "new link" in answer.text


def test_a_link_opens_one_browser_and_the_next_one_ends_it(dashboard: LocalDashboard) -> None:
    first, second = Visitor(dashboard), Visitor(dashboard)
    assert first.request("GET", first.path).status == 401
    second.admitted()
    assert first.request("GET", second.path).status == 401
    assert first.request("GET", "/open?token=").status == 401
    assert first.request("GET", "/open").status == 401
    assert "Kanaries" in second.get("/")
    # A browser that has the session may open the link again.
    assert second.request("GET", second.path).status == 200
    third = Visitor(dashboard)
    assert second.request("GET", "/").status == 200
    third.admitted()
    assert second.request("GET", "/").status == 401


def test_the_cookie_is_for_this_site_only_and_no_script_reads_it(dashboard: LocalDashboard) -> None:
    visitor = Visitor(dashboard)
    cookie = visitor.request("GET", visitor.path).headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "127.0.0.1.evil.example:80", ""])
@pytest.mark.parametrize("path", ["/", "/static/page.css", "link"])
def test_another_host_is_refused(dashboard: LocalDashboard, path: str, host: str) -> None:
    visitor = Visitor(dashboard)
    link = visitor.path
    visitor.admitted()
    other = Visitor(dashboard).path if path == "link" else path
    assert link
    answer = visitor.request("GET", other, host=host.replace(":80", f":{visitor.port}"))
    assert answer.status in (400, 421)


def test_it_answers_on_every_name_of_loopback(visitor: Visitor) -> None:
    for name in ("localhost", "127.0.0.1", "[::1]"):
        assert visitor.request("GET", "/", host=f"{name}:{visitor.port}").status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://{}", "http://127.0.0.1:1"])
def test_another_origin_is_refused(visitor: Visitor, origin: str) -> None:
    for method in ("GET", "POST"):
        assert visitor.request(method, PAGE, origin=origin.format(visitor.host)).status == 403


def test_a_write_needs_the_origin_and_the_token_of_the_form(stage: Stage, visitor: Visitor) -> None:
    stage.status(phase="Rolling", rollout=rollout())
    fields = form_of(visitor, "abort")
    without_origin = visitor.request("POST", f"{PAGE}/abort", "token=" + fields["token"])
    assert without_origin.status == 403
    for token in ("", "wrong", "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")):
        assert visitor.post(f"{PAGE}/abort", **fields | {"token": token}).status == 403
    assert stage.order(ABORT) is None
    assert visitor.post(f"{PAGE}/abort", **fields).status == 200
    assert stage.order(ABORT)


def test_a_form_that_never_ends_is_refused(visitor: Visitor) -> None:
    assert visitor.post(f"{PAGE}/abort", reason="x" * 100_000).status == 413


def test_it_listens_on_its_own_address_only(visitor: Visitor) -> None:
    # What listens on all addresses listens on this one as well.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", visitor.port), timeout=10)


@pytest.mark.parametrize("path", ["/", PAGE, "/static/page.js", "/nothing"])
def test_the_page_may_load_nothing_from_elsewhere_and_be_framed_by_nobody(visitor: Visitor, path: str) -> None:
    headers = visitor.request("GET", path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_pages_have_no_inline_scripts_or_styles_and_no_external_resource(stage: Stage, visitor: Visitor) -> None:
    stage.status(phase="Rolling", rollout=rollout())
    for path in ("/", PAGE, f"{PAGE}/promote"):
        page = visitor.get(path)
        assert re.findall(r"<script(?! src=\"/static/)|<style|\sstyle=|\son\w+=|javascript:", page) == []
        loaded = re.findall(r"(?:src|href|action)=\"([^\"]*)\"", page)
        assert [each for each in loaded if not each.startswith(("/", "#"))] == []
