"""Renders pages and their parts from what is known about Kanaries. Every text is escaped."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from engine.model.course import RolloutStatus
from engine.model.entries import ChangeResult, Entry, PhaseChange, RolloutChange, WeightChange
from engine.resolve.validation import InvalidSpecError, read_spec
from kanary.cli.output import weights_of, weights_text
from kanary.cli.times import local_text, took_text
from kanary.cli.view import FleetReading, KanaryView, overview_of, view_of
from kanary.cli.why import why_of
from kanary.dashboard.actions import Actions, Button, Plan
from kanary.dashboard.board import Board
from kanary.dashboard.diagrams import PHASES, ROLLOUTS
from kanary.dashboard.evidence import chart, steps_of
from kanary.dashboard.opened import Opened
from kanary.kube.resources import Json, Key
from states import Phase
from states.rollouts import UNDER_WAY, RolloutState
from states.texts import plain

Parts = Mapping[str, Markup]
"""Elements of a page by their ids, in its order."""

_FAILURES = 5
"""Of each route."""
_EVENTS = 20


@dataclass(frozen=True)
class Query:
    """Which Kanaries are shown."""

    text: str = ""
    """In the name or the namespace."""
    phase: str = ""


@dataclass(frozen=True)
class Shown:
    """A page at a moment."""

    parts: Parts
    title: str
    spoken: str
    """What a screen reader says when it changes."""
    rows: Parts = field(default_factory=dict)
    """Those of the table of all Kanaries."""

    @property
    def table(self) -> Markup:
        """All rows."""
        return _hashed(Markup('<tbody id="rows">{}</tbody>').format(Markup("\n").join(self.rows.values())))


@dataclass(frozen=True)
class _Row:
    version: int = 0
    id: str = ""
    phase: str = ""
    element: Markup = field(default_factory=Markup)


class Pages:
    """The pages of one dashboard."""

    def __init__(self, board: Board, actions: Actions, form_token: str) -> None:
        self._board = board
        self._actions = actions
        self._form_token = form_token
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            # Texts of a cluster may reverse the direction of what follows.
            finalize=lambda value: plain(value) if type(value) is str else value,
        )
        self._environment.filters |= {"time": _time, "duration": _duration, "number": "{:,}".format, "code": _code}
        self._rows: dict[Key, _Row] = {}
        self._lock = threading.Lock()
        """Held while a page is rendered: what was rendered or seen before is shared by all pages."""

    # Pages

    def kanaries(self, query: Query) -> Shown:
        """All Kanaries."""
        with self._lock:
            return self._kanaries(query)

    def kanary(self, key: Key, opened: Opened) -> Shown:
        """One Kanary."""
        with self._lock:
            return self._kanary(key, opened)

    def _kanaries(self, query: Query) -> Shown:
        keys = self._board.keys()
        counts: Counter[str] = Counter()
        rows = dict[str, Markup]()
        for key in keys:
            row = self._row(key)
            counts[row.phase] += 1
            if row.id and query.text.strip().lower() in str(key) and query.phase in ("", row.phase):
                rows[row.id] = row.element
        for gone in self._rows.keys() - set(keys):
            del self._rows[gone]
        order = [*map(str, Phase)]
        sorted_counts = sorted(counts.items(), key=lambda each: order.index(each[0]) if each[0] in order else -1)
        summary = self._part("summary", shown=len(rows), all=len(keys), counts=sorted_counts)
        degraded = counts[Phase.DEGRADED]
        title = f"{degraded} degraded - Kanary" if degraded else "Kanary"
        spoken = f"{degraded} of {len(keys)} Kanaries are degraded"
        return Shown({"summary": summary, **self._outage()}, title, spoken, rows)

    def _kanary(self, key: Key, opened: Opened) -> Shown:
        kanary = self._board.kanary(key)
        if kanary is None:
            gone = self._part("gone", namespace=key.namespace, name=key.name, scope=self._scope)
            empty = {name: _hashed(Markup('<section id="{}"></section>').format(name)) for name in _SECTIONS}
            return Shown({"head": gone, **empty, **self._outage()}, f"{key} - Kanary", f"{key} does not exist")
        view = view_of(kanary, opened.fleet or FleetReading(self._board.now()))
        parts = {
            "head": self._part("head", it=view, actions=self._actions.available(kanary), path=path_of(key)),
            "routes": self._routes(view),
            "rollout": self._rollout(kanary, view, opened),
            "machine": self._machine(kanary, view),
            "plot": self._part("plot", plot=opened.plot, no_plot=opened.no_plot),
            "proxies": self._proxies(view, opened),
            "moves": self._part("moves", entries=[*map(_move, reversed(view.entries))]),
            "events": self._events(opened),
        }
        step = f", step {view.rollout.place}" if view.rollout and view.rollout.state in UNDER_WAY else ""
        spoken = f"{key}: {view.phase or 'no status'} {view.reason}{step}"
        return Shown({**parts, **self._outage()}, f"{view.phase or 'No status'}: {key} - Kanary", spoken)

    def document(self, template: str, shown: Shown, stream: str, **values: Any) -> str:
        """A whole page with its parts."""
        return self._render(template, title=shown.title, stream=stream, shown=shown, **values)

    def confirmation(
        self, action: Button, key: Key, *, plan: Plan | None, error: str, is_done: bool, is_page: bool
    ) -> str:
        """What an action would do with a form to confirm it, or what it has done; as a page, or for a dialog."""
        return self._render(
            "confirm.html",
            title=f"{action.label} {key} - Kanary",
            stream="",
            action=action,
            namespace=key.namespace,
            name=key.name,
            path=path_of(key),
            plan=plan,
            error=error,
            is_done=is_done,
            is_page=is_page,
            form_token=self._form_token,
        )

    # Parts

    def _row(self, key: Key) -> _Row:
        # In this order: a change in between is seen the next time.
        version, known = self._board.version(key), self._rows.get(key)
        if known and known.version == version:
            return known
        kanary = self._board.kanary(key)
        if kanary is None:
            return _Row()
        overview, uid = overview_of(kanary), kanary["metadata"]["uid"]
        row = _Row(version, f"row-{uid}", overview.phase, self._part("row", it=overview, uid=uid))
        self._rows[key] = row
        return row

    def _rollout(self, kanary: Json, view: KanaryView, opened: Opened) -> Markup:
        rollout = view.rollout or RolloutStatus()
        try:
            plan = read_spec(kanary).rollout
        except InvalidSpecError:
            plan = None
        found = opened.growth.evidence(kanary["metadata"]["uid"], rollout, plan) if plan else []
        served = None
        if rollout.state is RolloutState.WATCHING and rollout.until and plan:
            total = plan.steps[rollout.step - 1].time.total_seconds() if 0 < rollout.step <= len(plan.steps) else 0
            rest = (rollout.until - self._board.now()).total_seconds()
            served = (max(0, min(round(total - rest), round(total))), round(total)) if total else None
        return self._part(
            "rollout",
            it=view,
            steps=[*steps_of(rollout, plan)],
            evidence=[(each, chart(each, opened.growth.points(each))) for each in found],
            served=served,
        )

    def _machine(self, kanary: Json, view: KanaryView) -> Markup:
        why = why_of(kanary)
        chains = [("Kanary", why.phase, PHASES.picture(view.phase))]
        if view.rollout and view.rollout.number and why.rollout:
            chains.append(("Rollout", why.rollout, ROLLOUTS.picture(view.rollout.state)))
        return self._part("machine", chains=chains)

    def _routes(self, view: KanaryView) -> Markup:
        return self._part("routes", it=view, pods=[(route, pod) for route in view.routes for pod in route.pods])

    def _proxies(self, view: KanaryView, opened: Opened) -> Markup:
        failures = [(route, failure) for route in view.routes for failure in route.failures[:_FAILURES]]
        fleet = opened.fleet
        problem = fleet.problem if fleet and not fleet.readings else ""
        return self._part("proxies", it=view, failures=failures, is_read=fleet is not None, problem=problem)

    def _events(self, opened: Opened) -> Markup:
        shown = None if opened.events is None else [*reversed(opened.events)][:_EVENTS]
        return self._part("events", events=shown, no_events=opened.no_events)

    def _outage(self) -> Parts:
        return {"outage": self._part("outage", outage=self._board.outage())}

    def _part(self, template: str, **values: Any) -> Markup:
        return _hashed(Markup(self._render(f"{template}.html", **values).strip()))  # noqa: S704 -- rendered with escapes

    def _render(self, template: str, **values: Any) -> str:
        common = {"scope": self._scope, "host": self._board.host, "phases": [*map(str, Phase)]}
        outage = {"outage": self._board.outage()}
        return self._environment.get_template(template).render(common | outage | values)

    @property
    def _scope(self) -> str:
        return f"namespace {self._board.namespace}" if self._board.namespace else "all namespaces"


_SECTIONS = ("routes", "rollout", "machine", "plot", "proxies", "moves", "events")


def path_of(key: Key) -> str:
    """The path of the page of a Kanary."""
    return f"/kanaries/{key.namespace}/{key.name}"


def _hashed(element: Markup) -> Markup:
    """The element with an attribute that differs when the content differs."""
    head, end, rest = element.partition(">")
    digest = hashlib.sha256(element.encode()).hexdigest()[:16]
    return Markup(f'{head} data-hash="{digest}"') + Markup(end) + Markup(rest)  # noqa: S704 -- parts of an element


def _move(entry: Entry) -> tuple[datetime, str, str]:
    """When, what and why."""
    match entry:
        case PhaseChange():
            return entry.at, f"{entry.source} → {entry.to}", f"{entry.reason}: {entry.message}"
        case RolloutChange():
            what = f"rollout {entry.rollout} {entry.step}: {entry.source} → {entry.to}"
            return entry.at, what, f"{entry.reason}: {entry.message}"
        case WeightChange():
            what = f"revision {entry.revision}: {weights_text(weights_of(entry.after))}"
            return entry.at, what, f"{entry.cause}, by {entry.author}" if entry.author else entry.cause
        case ChangeResult():
            return entry.at, f"revision {entry.revision}: {entry.result}", f"after {took_text(entry.seconds)}"
    return entry.at, entry.kind, ""


def _time(time: datetime) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(time.isoformat(), local_text(time))


def _code(text: str) -> Markup:
    """A text of the docs, with what is between backticks as code."""
    code = Markup("<code>{}</code>")
    parts = map(plain, text.split("`"))
    # Text that is not Markup is escaped when it is joined.
    return Markup().join(code.format(part) if number % 2 else part for number, part in enumerate(parts))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else took_text(seconds)  # noqa: PLR2004 -- a minute
