"""The dashboard in a real browser: it changes without being loaded again, and is used by keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.support.ui import WebDriverWait

from engine.model.commands import PROMOTE
from kanary.dashboard.serve import LocalDashboard
from tests.apiserver import ApiServer, Fault
from tests.dashboard.stage import PAGE, Stage, rollout, tally
from tests.dashboard.stage import dashboard as dashboard_of
from tests.integration.scene import NAMESPACE, Scene, routes
from tests.unit.kanaries import OWNER
from tests.waiting import PATIENCE


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A cluster in which an operator may run."""
    with ApiServer(controllers=True) as server:
        scene = Scene(server, server.kubeconfig(tmp_path / "kubeconfig"))
        yield scene
        scene.stop()


@pytest.fixture
def page(chrome: Chrome, dashboard: LocalDashboard) -> Chrome:
    """The browser with all Kanaries."""
    open_link(chrome, dashboard)
    return chrome


def open_link(chrome: Chrome, dashboard: LocalDashboard) -> None:
    chrome.get(dashboard.new_link())
    wait_for(chrome, "h1", "Kanaries")


def text_of(chrome: Chrome, selector: str) -> str:
    script = "const it = document.querySelector(arguments[0]); return it ? it.innerText ?? it.textContent : null"
    return str(chrome.execute_script(script, selector))  # type: ignore[no-untyped-call]  # of selenium


def wait_for(chrome: Chrome, selector: str, text: str) -> None:
    """Until an element has this text."""
    WebDriverWait(chrome, PATIENCE).until(lambda _: text in text_of(chrome, selector), f"no {text!r} in {selector}")


def go(chrome: Chrome, path: str) -> None:
    origin = chrome.execute_script("return location.origin")  # type: ignore[no-untyped-call]  # of selenium
    chrome.get(f"{origin}{path}")


def press(chrome: Chrome, *keys: str) -> None:
    ActionChains(chrome).send_keys(*keys).perform()


def focused(chrome: Chrome) -> str:
    return str(chrome.switch_to.active_element.get_attribute("id"))


def tab_to(chrome: Chrome, element: str) -> None:
    """Move the focus to this element with the tabulator alone."""
    for _ in range(60):
        if focused(chrome) == element:
            return
        press(chrome, Keys.TAB)
    raise AssertionError(f"{element} is not reached by keyboard")


def run(chrome: Chrome, script: str) -> Any:
    return chrome.execute_script(script)  # type: ignore[no-untyped-call]  # of selenium


def test_a_change_appears_without_a_reload_and_the_focus_stays(stage: Stage, page: Chrome) -> None:
    run(page, "window.isSamePage = true")
    link = f"link-{stage.uid}"
    tab_to(page, link)
    stage.status(phase="Degraded", reason="NoReadyEndpoints", message="no backend has a ready endpoint")
    wait_for(page, "#rows", "NoReadyEndpoints")
    assert focused(page) == link
    assert run(page, "return window.isSamePage")
    stage.status("another", phase="Pending")
    wait_for(page, "#rows", "another")
    assert focused(page) == link
    press(page, Keys.ENTER)
    wait_for(page, "h1", OWNER.name)


def test_a_promotion_by_keyboard_alone(stage: Stage, page: Chrome) -> None:
    stage.status(phase="Rolling", rollout=rollout())
    go(page, PAGE)
    tab_to(page, "act-promote")
    press(page, Keys.ENTER)
    wait_for(page, "dialog", "step 3/4 50% follows")
    assert focused(page) == "reason"
    # Escape leaves everything as it was, with the focus where it was.
    press(page, Keys.ESCAPE)
    WebDriverWait(page, PATIENCE).until(lambda _: focused(page) == "act-promote")
    assert stage.order(PROMOTE) is None
    press(page, Keys.ENTER)
    wait_for(page, "dialog", "step 3/4 50% follows")
    press(page, "dashboards are fine", Keys.TAB)
    assert focused(page) == "do"
    press(page, Keys.ENTER)
    wait_for(page, "dialog", "Done")
    order = stage.order(PROMOTE)
    assert order and (order["step"], order["reason"]) == (2, "dashboards are fine")
    assert focused(page) == "close"
    press(page, Keys.ENTER)
    WebDriverWait(page, PATIENCE).until(lambda _: not run(page, "return document.getElementById('dialog').open"))


def test_an_error_of_an_action_is_shown_in_the_dialog(stage: Stage, page: Chrome) -> None:
    stage.status(phase="Rolling", rollout=rollout())
    go(page, PAGE)
    tab_to(page, "act-abort")
    press(page, Keys.ENTER)
    wait_for(page, "dialog", "returns")
    stage.server.faults.add(Fault.status(403, "PATCH"))
    press(page, Keys.ENTER)
    wait_for(page, "dialog [role=alert]", "403")


def test_the_operator_obeys_and_the_page_follows(scene: Scene, chrome: Chrome, tmp_path: Path) -> None:
    scene.history_url = f"sqlite:///{tmp_path}/history.db"
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    steps = [{"to": 10, "until": "Promoted"}, {"to": 100, "until": "Promoted"}]
    with scene.operating(), dashboard_of(scene.kubeconfig, NAMESPACE, scene.history_url) as dashboard:
        scene.declare(destination="myapp", routes=routes(myapp_v1=100, myapp_v2=0), rollout={"steps": steps})
        scene.wait_for_phase("Ready", revision=1)
        open_link(chrome, dashboard)
        go(chrome, f"/kanaries/{NAMESPACE}/rule")
        wait_for(chrome, "#head", "Ready")
        scene.declare(destination="myapp", routes=routes(myapp_v1=0, myapp_v2=100), rollout={"steps": steps})
        wait_for(chrome, "#rollout", "step 1/2 10%")
        wait_for(chrome, "#head", "WaitingForPromotion")
        for _ in steps:
            tab_to(chrome, "act-promote")
            press(chrome, Keys.ENTER)
            wait_for(chrome, "dialog", "is promoted in step")
            press(chrome, Keys.ENTER)
            wait_for(chrome, "dialog", "Done")
            press(chrome, Keys.ESCAPE)
            wait_for(chrome, "#rollout", "step 2/2 100%")
        wait_for(chrome, "#rollout", "Completed")
        wait_for(chrome, "#routes", "100 %")
        wait_for(chrome, "#plot svg", "revision 3")


# How it looks


@pytest.fixture
def full(stage: Stage, page: Chrome) -> Chrome:
    """The browser, with a Kanary that has everything."""
    stage.proxies()
    few = [tally(1, 1, canary=(301, 0), others=(29_799, 4)), tally(2, 10, canary=(900, 4), others=(8_100, 2))]
    stage.status(phase="Rolling", message="step 2/4 is watched", rollout=rollout(evidence=few))
    stage.status("web", phase="Degraded", reason="NoReadyEndpoints", message="no backend has a ready endpoint")
    stage.status("new", phase="Pending", reason="BackendNotFound")
    stage.status("rendering", phase="Rendering", reason="Rendering")
    return page


def emulate(chrome: Chrome, scheme: str, width: int = 1200) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


PATHS = ["/", PAGE, f"{PAGE}/promote"]

LOW_CONTRASTS = """
const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const behind = (it) => {
  for (; it; it = it.parentElement) {
    const colour = numbers(getComputedStyle(it).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const found = [];
for (const it of document.querySelectorAll("body *")) {
  const own = [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !it.checkVisibility() || it.closest("#plot-picture, noscript, .unseen")) continue;
  const drawn = it.closest(".present")?.querySelector("rect") ?? it.closest(".state")?.querySelector("rect");
  const style = getComputedStyle(it);
  const front = numbers(it instanceof SVGElement ? style.fill : style.color);
  const back = drawn instanceof SVGElement ? numbers(getComputedStyle(drawn).fill) : behind(it);
  const [low, high] = [light(front), light(back)].sort((a, b) => a - b);
  const contrast = (high + 0.05) / (low + 0.05);
  if (contrast < 4.5) found.push(`${it.textContent.trim()}: ${contrast.toFixed(2)}`);
}
return found;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_legible_in_both_colour_schemes(full: Chrome, scheme: str) -> None:
    emulate(full, scheme)
    backgrounds = set()
    for path in PATHS:
        go(full, path)
        if path == PAGE:
            wait_for(full, "#proxies", "node-of-x-1")
        assert run(full, LOW_CONTRASTS) == []
        backgrounds.add(run(full, "return getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 1
    assert (backgrounds == {"rgb(255, 255, 255)"}) == (scheme == "light")


def test_a_narrow_screen_does_not_scroll_sideways(full: Chrome) -> None:
    emulate(full, "light", 360)
    for path in PATHS:
        go(full, path)
        if path == PAGE:
            wait_for(full, "#proxies", "node-of-x-1")
            wait_for(full, "#plot svg", "revision 3")
        assert run(full, "return document.documentElement.scrollWidth <= innerWidth")
        # What is wider scrolls by itself, by keyboard as well.
        wider = "[...document.querySelectorAll('main *')].filter((it) => it.scrollWidth > it.clientWidth + 1"
        hidden = "&& getComputedStyle(it).overflowX === 'auto' && it.tabIndex < 0)"
        assert run(full, f"return {wider} {hidden}.map((it) => it.id)") == []


UNNAMED = """
const missing = [];
for (const it of document.querySelectorAll("input:not([type=hidden]), select, progress"))
  if (!it.labels.length) missing.push(it.outerHTML);
for (const it of document.querySelectorAll("button, a"))
  if (!it.textContent.trim()) missing.push(it.outerHTML);
for (const it of document.querySelectorAll("table")) if (!it.caption) missing.push(it.outerHTML);
for (const it of document.querySelectorAll("th")) if (!it.scope) missing.push(it.outerHTML);
for (const it of document.querySelectorAll("[role=region], svg:not(#plot-picture svg)"))
  if (!it.getAttribute("aria-label")) missing.push(it.outerHTML);
for (const it of document.querySelectorAll("[aria-labelledby], [aria-describedby]"))
  for (const name of ["aria-labelledby", "aria-describedby"])
    if (it.hasAttribute(name) && it.id !== "dialog" && !document.getElementById(it.getAttribute(name)))
      missing.push(`${name} of ${it.id}`);
const ids = [...document.querySelectorAll("[id]")].map((it) => it.id);
missing.push(...ids.filter((id, n) => ids.indexOf(id) !== n).map((id) => `second ${id}`));
const levels = [...document.querySelectorAll("h1, h2, h3")].map((it) => Number(it.tagName[1]));
if (levels.filter((level) => level === 1).length !== 1) missing.push("one h1");
levels.forEach((level, n) => { if (n && level > levels[n - 1] + 1) missing.push(`h${level} after ${levels[n - 1]}`); });
for (const it of ["header", "main", "nav"]) if (!document.querySelector(it)) missing.push(it);
return missing;
"""


def test_screen_readers_find_names_landmarks_and_headings(full: Chrome) -> None:
    for path in PATHS:
        go(full, path)
        if path == PAGE:
            wait_for(full, "#proxies", "node-of-x-1")
        assert run(full, UNNAMED) == []


def test_the_end_of_the_dashboard_is_shown(stage: Stage, chrome: Chrome) -> None:
    with stage.dashboard() as dashboard:
        open_link(chrome, dashboard)
        go(chrome, PAGE)
        wait_for(chrome, "#head", "Ready")
    wait_for(chrome, "#lost", "No connection to kanary dashboard")
