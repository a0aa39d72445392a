"""Kanaries as hostile or careless users write them: valid ones, of which a few values are replaced."""

import copy
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

Json = dict[str, Any]
Path = tuple[str | int, ...]

TEXTS = (
    "",
    " ",
    "a\nglobal\n  insecure-fork-wanted",
    "a\r\nb",
    "myapp\n",
    "\x00",
    "\x1b[31mred\x1b[0m",
    "\x07\x08\x7f\x85",
    "\u202eevil\u202c",
    "\ufeffmyapp",
    "\ud7ff\ue000",
    "\udc80",
    "mу-app",  # noqa: RUF001  a Cyrillic letter
    "１２",  # noqa: RUF001  digits of full width
    "²",
    "٣",
    "a'b",
    'a"b',
    "a\\",
    "\\n",
    "a # b",
    "#",
    "${HOME}",
    "$(id)",
    "`id`",
    "%[env(HOME)]",
    "{{ x }}",
    "<script>",
    "; rm -rf /",
    "../../etc/passwd",
    "a b",
    "A",
    "-a",
    "a-",
    "a" * 63,
    "a" * 64,
    "a" * 253,
    "a" * 100_000,
    "http:80",
    "80",
    "_80",
    "080",
    "0x50",
    "1:40",
    "1e2",
    "yes",
    "null",
    "true",
    "10.0.0.1",
    "::1",
    "127.0.0.1",
)
SHORT_TEXTS = tuple(text for text in TEXTS if len(text) < 300 and text != "\udc80")
"""Half of a surrogate pair comes from files only: JSON of an API server is UTF-8."""
NUMBERS = (0, -1, 1, 80, 100, 101, 65535, 65536, 2**31, 2**53, 2**63, 10**18, 10**400, -(10**400))
FLOATS = (0.1, 12.5, 33.33, -0.0, 1e-300, 1e308, float("nan"), float("inf"), float("-inf"), 99.99999999999999, 80.0)
ADDRESSES = (
    *("0.0.0.0", "255.255.255.255", "224.0.0.1", "10.0.0.256", "010.0.0.1", "10.1", "167772161", "10.0.0.1 ", ""),
    *("10.0.0.1\n  server x 10.0.0.9:1", "10.0.0.1#", "fd00::1", "FD00:0:0::1", "fe80::1%eth0", "::", "ff02::1"),
    *("::ffff:10.0.0.7", "[fd00::1]", "host.example", "10.0.0.1/24", "\uff11\uff10.0.0.1", "\x00", "1" * 5000),
)


def numbers_in(found: Any) -> list[Path]:
    """The path of one number of each name."""
    paths = {path[-1]: path for path in _paths(found) if type(at(found, path)) in (int, float)}
    return list(paths.values())


def at(found: Any, path: Path) -> Any:
    for each in path:
        found = found[each]
    return found


def deep(levels: int) -> Any:
    found: Any = 1
    for level in range(levels):
        found = [found] if level % 2 else {"a": found}
    return found


def endless() -> list[Any]:
    """What the alias of an anchor within itself is in YAML."""
    found: list[Any] = [1]
    found.append(found)
    return found


class Hostile:
    """Makes Kanaries, and slices of their Services."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def kanary(self) -> tuple[Json, list[Path]]:
        """A Kanary, and which of its values were replaced, added or removed; none in every eighth."""
        found: Json = {"metadata": self._metadata(), "spec": self._spec()}
        changed = []
        for _ in range(self._random.choice((0, 1, 1, 1, 1, 2, 2, 3))):
            paths = [*_paths(found)]
            changed.append(path := self._random.choice(paths))
            self._change(found, path)
        return found, changed

    def damage(self, found: Any) -> Path:
        """Change one value somewhere in JSON, as in an object that was edited by hand."""
        path = self._random.choice([*_paths(found)])
        self._change(found, path)
        return path

    def damage_texts(self, found: dict[str, str]) -> Path:
        """Replace or remove one text, as in the data of a ConfigMap."""
        key = self._pick(tuple(found))
        found[key] = self._pick(SHORT_TEXTS)
        if self._random.random() < 0.3:
            del found[key]
        return (key,)

    def slices(self, port: str) -> list[Json]:
        """EndpointSlices of a Service, some of which nothing has validated."""
        members = [self._member() for _ in range(self._random.randrange(6))]
        number = self._pick((9000, 9000, 9000, 9000, 1, 65535, 0, -1, 65536, 10**12))
        names = (port, port, port, "", "other", "a\nb")
        ports = [{"name": self._pick(names), "port": number, "protocol": "TCP"}]
        return [{"addressType": self._pick(("IPv4", "IPv4", "IPv6", "FQDN")), "ports": ports, "endpoints": members}]

    def _member(self) -> Json:
        plain = f"10.{self._random.randrange(4)}.0.{self._random.randrange(1, 255)}"
        address = self._pick(ADDRESSES) if self._random.random() < 0.3 else plain
        pod = self._pick(SHORT_TEXTS) if self._random.random() < 0.2 else f"pod-{plain}"
        conditions = self._pick(({"ready": True}, {"ready": True}, {}, {"ready": False}, {"ready": None}))
        reference = self._pick(({"kind": "Pod", "name": pod}, {}, {"kind": "Node", "name": pod}))
        return {"addresses": [address], "conditions": conditions, "targetRef": reference}

    def _metadata(self) -> Json:
        return {"namespace": "default", "name": self._pick(("rule", "a", "a" * 55)), "uid": "uid-1", "generation": 1}

    def _spec(self) -> Json:
        draw = self._random
        count = draw.choice((1, 2, 2, 2, 3, 5, 20))
        cuts = sorted(draw.randrange(1001) for _ in range(count - 1))
        tenths = [end - start for start, end in zip([0, *cuts], [*cuts, 1000], strict=True)]
        spec: Json = {"destination": "myapp", "routes": [self._route(n, each) for n, each in enumerate(tenths)]}
        optional: Json = {
            "port": draw.randrange(1, 65536),
            "onEmptyRoute": self._pick(("Redistribute", "Hold", "Fail")),
            "updateStrategy": self._pick(("Live", "Rolling")),
            "progressDeadlineSeconds": draw.randrange(1, 86_401),
            "paused": self._pick((True, False)),
            "freeze": {"until": "2026-12-27T06:00:00Z", "reason": "holidays"},
            "rollout": {"steps": [{"to": 10, "for": "10m"}, {"to": 100}], "windows": [{"days": ["Mon"]}]},
            "proxy": self._proxy(),
        }
        spec |= {key: value for key, value in optional.items() if draw.random() < 0.4}
        if spec.get("updateStrategy") == "Rolling":
            spec.pop("rollout", None)
        return spec

    def _route(self, number: int, tenths: int) -> Json:
        port = self._pick(("http", "http", 80, "9090", 443))
        weight = tenths // 10 if tenths % 10 == 0 else tenths / 10
        header = {"sendProxyProtocol": self._pick(("V1", "V2"))} if self._random.random() < 0.2 else {}
        return {"backend": {"serviceName": f"myapp-v{number}", "servicePort": port}, "weight": weight, **header}

    def _proxy(self) -> Json:
        draw = self._random
        optional: Json = {
            "replicas": draw.randrange(1, 101),
            "image": "registry.example/haproxy:3.0",
            "drainSeconds": draw.randrange(1, 86_401),
            "idleSeconds": draw.randrange(1, 604_801),
            "unacknowledgedSeconds": draw.randrange(1, 86_401),
            "maxConnections": draw.randrange(1, 1_000_001),
            "balance": self._pick(("roundrobin", "leastconn")),
            "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}},
        }
        return {key: value for key, value in optional.items() if draw.random() < 0.4}

    def _change(self, kanary: Json, path: Path) -> None:
        *parents, last = path
        parent: Any = kanary
        for each in parents:
            parent = parent[each]
        match self._random.randrange(8):
            case 0 if isinstance(parent, dict):
                del parent[last]
            case 1 if isinstance(parent, dict):
                parent[self._pick(TEXTS)] = parent[last]
            case 2 if isinstance(parent, list):
                parent += [parent[last]] * self._random.choice((1, 1, 200))
            case _:
                parent[last] = self._value()

    def _value(self) -> Any:
        kind = self._random.randrange(10)
        if kind < 5:
            return self._pick(TEXTS)
        if kind < 7:
            return self._pick(NUMBERS)
        if kind < 8:
            return self._pick(FLOATS)
        others = (None, True, False, [], {}, [[]], {"a": 1}, deep(50), deep(900), endless(), date(2026, 1, 1))
        return copy.copy(self._pick((*others, datetime(2026, 1, 1, tzinfo=UTC), {1: 2}, {None: None})))

    def _pick(self, among: tuple[Any, ...]) -> Any:
        return self._random.choice(among)


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Of every value within, of the few that were generated."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in entries:
        # The API server sets these two, and what is nested as deeply was replaced already.
        if key not in ("namespace", "uid") and len(path) < 8:
            yield (*path, key)
            yield from _paths(below, (*path, key))
