"""Whatever a Kanary contains, it is refused with a message, or its configuration means what it declares."""

import copy
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.memo import Memo
from engine.model.spec import KanarySpec
from engine.model.states import MAX_SERIAL, Endpoint, read_written
from engine.observe import Defaults
from engine.plan import plan_unapplied
from engine.render.objects import Identity
from engine.resolve.endpoints import Resolved, resolve
from engine.resolve.intent import same_port_problems
from engine.resolve.validation import InvalidSpecError, read_spec
from kanary.cli.yaml_source import read_objects
from kanary.cli.yaml_values import YamlError
from kanary.kube.parsing import parsed
from tests.haproxy.proxies import HAPROXY
from tests.promises.haproxy_reading import TURNS, Meaning, meaning_of
from tests.promises.hostile import Hostile, Json, at, numbers_in
from tests.tables import Table, Tell
from tests.traces.rollouts import HALF, OLD, declare, phase, serve, serving_v1, weights
from tests.traces.world import World

INPUT = Table(
    "Promise 5: hostile Kanaries",
    (
        "part",
        "generated",
        "from files",
        "refused, each with a message",
        "rendered and read back",
        "shown to HAProxy, and accepted",
    ),
)
EDITED = Table(
    "Promise 5: ConfigMaps and statuses edited by hand",
    ("what", "edits, each restored or understood"),
)
NOW = datetime(2026, 11, 23, tzinfo=UTC)
IS_FULL = os.environ.get("KANARY_PROMISES") == "full"
pytestmark = pytest.mark.timeout(3600 if IS_FULL else 600)
PARTS = 4
EACH = (25_000 if IS_FULL else 10_000) // PARTS
CHECKED = (1_000 if IS_FULL else 200) // PARTS
"""Of the rendered ones, so many are shown to HAProxy itself."""
LONGEST_MESSAGE = 3_000
PORTS = [{"name": "http", "port": 80}, {"name": "9090", "port": 9090}, {"name": "tls", "port": 443}]
SERVICE: Json = {"spec": {"ports": PORTS}}
NAMES = {80: "http", 443: "tls"}
MESSAGE = re.compile(r"(spec|metadata\.name)\b")
_REFUSED = "refused: "


@pytest.mark.parametrize("part", range(PARTS))
def test_a_hostile_kanary_is_refused_or_means_what_it_declares(tell: Tell, tmp_path: Path, part: int) -> None:
    hostile, counts = Hostile(part), Counter[str]()
    for number in range(EACH):
        made, changed = hostile.kanary()
        kanary, is_from_a_file = _transported(made, counts, by_file=number % 8 == 0)
        spec = _read(kanary, counts, is_from_a_file=is_from_a_file) if kanary is not None else None
        if kanary is None or spec is None:
            assert changed, f"a valid one was refused: {made}"
            continue
        text, declared = _rendered(hostile, kanary, spec)
        assert meaning_of(text) == declared
        counts["rendered"] += 1
        if counts["accepted"] < CHECKED:
            _accept(text, tmp_path)
            counts["accepted"] += 1
    assert counts["rendered"] > EACH / 8
    refused = {
        what.removeprefix(_REFUSED): count for what, count in sorted(counts.items()) if what.startswith(_REFUSED)
    }
    reasons = ", ".join(f"{reason} {count}" for reason, count in refused.items())
    rendered = counts["rendered"]
    assert sum(refused.values()) + rendered == EACH
    tell(INPUT, f"{part + 1} of {PARTS}", EACH, counts["from a file"], reasons, rendered, counts["accepted"])


def _transported(kanary: Json, counts: Counter[str], *, by_file: bool) -> tuple[Json | None, bool]:
    """As it arrives: as JSON from an API server, or from a file if JSON cannot express it; None if it does not."""
    if not by_file:
        with suppress(TypeError, ValueError, RecursionError):
            found: Json = json.loads(json.dumps(kanary, allow_nan=False, ensure_ascii=False).encode())
            return found, False
    counts["from a file"] += 1
    try:
        (read,) = read_objects(yaml.dump(kanary))
    except (YamlError, RecursionError) as error:
        # PyYAML itself cannot write some.
        counts[_REFUSED + ("not YAML" if isinstance(error, YamlError) else "cannot be written")] += 1
        return None, True
    return read.value, True


def _read(kanary: Json, counts: Counter[str], *, is_from_a_file: bool) -> KanarySpec | None:
    """Its spec, or None if it is refused: with a message of one line that begins with the field."""
    try:
        spec = read_spec(kanary, unknown="forbid" if is_from_a_file else "ignore")
    except InvalidSpecError as error:
        message = error.problem.message
        assert message.isprintable(), message
        assert len(message) < LONGEST_MESSAGE
        assert MESSAGE.match(message), message
        counts[f"{_REFUSED}{error.problem.reason}"] += 1
        return None
    if problem := next(same_port_problems(lambda _name: SERVICE, spec), None):
        assert problem.message.startswith("spec.routes[")
        counts[f"{_REFUSED}{problem.reason}"] += 1
        return None
    return spec


def _rendered(hostile: Hostile, kanary: Json, spec: KanarySpec) -> tuple[str, Meaning]:
    """The configuration, and what the Kanary declares, read from its JSON and from the slices."""
    endpoints, expected = {}, {}
    for route in spec.routes:
        port = route.backend.service_port
        slices = hostile.slices(NAMES.get(port, "") if isinstance(port, int) else port)
        found = resolve(route.backend, where="", namespace="default", service=SERVICE, slices=slices, memo=Memo())
        endpoints[route.backend] = found.endpoints if isinstance(found, Resolved) else ()
        expected[str(route.backend)] = tuple(sorted((e.address, e.port) for e in endpoints[route.backend]))
        _check_endpoints(endpoints[route.backend], slices)
    name = kanary["metadata"]["name"]
    target = plan_unapplied(Identity("default", name, "uid-1"), spec, endpoints, Defaults("haproxy:test"), NOW)
    for planned in target.all_planned:
        made = planned.rendered
        assert len(made["metadata"]["name"]) <= (253 if made["kind"] == "ConfigMap" else 63)
    return target.written.latest, _declared(kanary["spec"], expected)


def _check_endpoints(found: tuple[Endpoint, ...], slices: list[Json]) -> None:
    """Each is an address of one host that a slice names with its port, and no plain one is missing."""
    literal, plain = set(), set()
    for piece in slices:
        port = piece["ports"][0]["port"]
        for member in piece["endpoints"]:
            (address,) = member["addresses"]
            if parsed := _parsed(address):
                literal.add((parsed, port))
            if parsed == address and "." in address and member["conditions"].get("ready") is not False:
                plain.add((address, port))
    assert {(e.address, e.port) for e in found} <= literal
    if found and all(piece["addressType"] == "IPv4" for piece in slices):
        assert {(address, port) for address, port in plain if address.startswith("10.")} <= {
            (e.address, e.port) for e in found
        }


def _parsed(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return ""
    return str(getattr(found, "ipv4_mapped", None) or found)


def _declared(spec: Json, endpoints: dict[str, tuple[tuple[str, int], ...]]) -> Meaning:
    """By the documentation of the fields; a route of weight 0 is not rendered with Rolling."""
    proxy, is_live = spec.get("proxy") or {}, spec.get("updateStrategy", "Live") == "Live"
    routes = {name: route for name, route in _routes(spec) if route["weight"] or is_live}
    headers = {"V1": "send-proxy", "V2": "send-proxy-v2", None: ""}
    idle = f"{proxy.get('idleSeconds', 86400)}s"
    empty = spec.get("onEmptyRoute", "Redistribute")
    return Meaning(
        turns={name: int(Decimal(str(route["weight"])) * TURNS / 100) for name, route in routes.items()},
        servers={name: endpoints[name] for name in routes},
        headers={
            name: frozenset({headers[route.get("sendProxyProtocol")]} if endpoints[name] else ())
            for name, route in routes.items()
        },
        balance=frozenset({proxy.get("balance", "roundrobin")}),
        timeouts=dict.fromkeys(("client", "server", "tunnel"), idle),
        ports={"split": frozenset({8080}), "ops": frozenset({8404})},
        unacknowledged=frozenset({f"{proxy.get('unacknowledgedSeconds', 240)}s"}),
        max_connections=proxy.get("maxConnections") or 20_000,
        drain=f"{proxy.get('drainSeconds', 600)}s",
        redistributes=empty == "Redistribute",
    )


def _routes(spec: Json) -> Iterator[tuple[str, Any]]:
    for route in spec["routes"]:
        port = route["backend"]["servicePort"]
        mark = "_" if isinstance(port, str) and port.isdigit() else ""
        yield f"{route['backend']['serviceName']}:{mark}{port}", route


def _accept(text: str, folder: Path) -> None:
    file = folder / "haproxy.cfg"
    file.write_text(text)
    checked = subprocess.run([HAPROXY, "-dW", "-c", "-f", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


EDITS = 300 if IS_FULL else 20


@pytest.mark.parametrize("what", ["applied.json", "status", "texts of the ConfigMap"])
@pytest.mark.parametrize("restarts", [True, False], ids=["restarted", "running"])
def test_what_is_edited_by_hand_is_restored_or_understood(tell: Tell, what: str, restarts: bool) -> None:
    hostile = Hostile(EDITS)
    for _ in range(EDITS):
        world = serving_v1(World())
        path = _edit(world, hostile, what)
        if restarts:
            world.restart_operator()
        serve(world, 20)
        world.live_through(60)
        assert (phase(world), weights(world)) == (("Ready", "Serving"), OLD), f"{path}: {world.status()['message']}"
        written = read_written(world.objects["ConfigMap", "rule-haproxy"])
        read = meaning_of(written.latest)
        assert read.turns["myapp-v1:http"] == TURNS, path
        assert written.applied
        assert 1 <= world.status()["revision"] < MAX_SERIAL, path
        declare(world, 50, 50, rollout=None)
        serve(world, 20)
        assert (phase(world), weights(world)) == (("Ready", "Serving"), HALF), f"{path}: {world.status()['message']}"
    tell(EDITED, f"{what}, operator {'restarted' if restarts else 'running'}", EDITS)


@pytest.mark.parametrize("number", [10**18, -7] if IS_FULL else [10**18])
@pytest.mark.parametrize("what", ["applied.json", "status"])
def test_numbers_that_are_edited_by_hand_stop_nothing(tell: Tell, what: str, number: int) -> None:
    """In the middle of a rollout, with another process, which has nothing but these objects."""
    paths = [path for path in numbers_in(_of(_in_rollout(), what)) if path[-1] not in _KEPT]
    for path in paths:
        world = _in_rollout()
        found = _of(world, what)
        at(found, path[:-1])[path[-1]] = number
        if what == "applied.json":
            world.objects["ConfigMap", "rule-haproxy"]["data"]["applied.json"] = json.dumps(found)
        world.restart_operator()
        serve(world, 20)
        declare(world, 50, 50, rollout=None)
        serve(world, 20)
        assert (phase(world), weights(world)) == (("Ready", "Serving"), HALF), f"{path}: {world.status()['message']}"
        assert 1 <= world.status()["revision"] < MAX_SERIAL, path
    tell(EDITED, f"each number of {what} becomes {number}", len(paths))


_KEPT = ("generation",)
"""A generation beyond that of the Kanary says that this copy of it is old."""


def _in_rollout() -> World:
    world = serving_v1(World())
    declare(world, 0, 100)
    serve(world, 20)
    return world


def _of(world: World, what: str) -> Any:
    if what == "status":
        return world.objects["Kanary", "rule"]["status"]
    return json.loads(world.objects["ConfigMap", "rule-haproxy"]["data"]["applied.json"])


def _edit(world: World, hostile: Hostile, what: str) -> object:
    kanary, data = world.objects["Kanary", "rule"], world.objects["ConfigMap", "rule-haproxy"]["data"]
    if what not in ("applied.json", "status"):
        return hostile.damage_texts(data)
    found = copy.deepcopy(_of(world, what))
    path = hostile.damage(found)
    with suppress(TypeError, ValueError, RecursionError):  # of what is no JSON, and so cannot be written
        text = json.dumps(found)
        if what == "status":
            kanary["status"] = parsed(text.encode())
        else:
            data["applied.json"] = text
    return path
