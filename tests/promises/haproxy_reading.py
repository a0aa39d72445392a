"""Reads a haproxy.cfg by HAProxy's documentation alone, knowing nothing of the renderer.

https://docs.haproxy.org/3.0/configuration.html, sections 2.1 (format), 2.2 (quoting and escaping) and 4 (proxies).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_SECTIONS = ("global", "defaults", "frontend", "backend", "listen", "peers", "userlist", "resolvers", "ring", "program")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_SPECIAL = re.compile(r"[\\\"'#]")
TURNS = 1000
"""Of a round."""


class MisreadError(Exception):
    """HAProxy would reject this, or read something else than it seems to say."""


@dataclass
class Section:
    kind: str
    name: str
    lines: list[list[str]] = field(default_factory=list)

    def values(self, *keyword: str) -> list[list[str]]:
        """What follows a keyword, of each line that begins with it."""
        return [line[len(keyword) :] for line in self.lines if line[: len(keyword)] == [*keyword]]

    def value(self, *keyword: str) -> str:
        """The last word of the only line that begins with the keyword."""
        (found,) = self.values(*keyword)
        return found[-1]


@dataclass(frozen=True)
class Meaning:
    """What a proxy with this configuration does."""

    turns: Mapping[str, int]
    """Of a thousand connections, those of each backend, by Service and port."""
    servers: Mapping[str, tuple[tuple[str, int], ...]]
    headers: Mapping[str, frozenset[str]]
    """The PROXY protocol headers of the servers of each backend."""
    balance: frozenset[str]
    timeouts: Mapping[str, str]
    ports: Mapping[str, frozenset[int]]
    unacknowledged: frozenset[str]
    max_connections: int
    drain: str
    redistributes: bool


def words(line: str) -> list[str]:  # noqa: PLR0912  the grammar has as many cases
    """The words of a line, without its comment."""
    if line.isprintable() and not _SPECIAL.search(line):
        return line.split()
    found: list[str] = []
    word, quote, at = "", "", 0
    is_word = False
    while at < len(line):
        char = line[at]
        at += 1
        if quote == "'":
            if char == "'":
                quote = ""
            else:
                word += char
        elif char == "\\":
            if at == len(line):
                raise MisreadError(f"a backslash ends {line!r}")
            code = line[at]
            at += 1
            if code == "x":
                word, at = word + chr(int(line[at : at + 2], 16)), at + 2
            else:
                word += _ESCAPES.get(code, code)
            is_word = True
        elif quote == '"':
            if char == '"':
                quote = ""
            elif char == "$":
                raise MisreadError(f"a variable of the environment in {line!r}")
            else:
                word += char
        elif char in "\"'":
            quote, is_word = char, True
        elif char == "#":
            break
        elif char in " \t":
            if is_word:
                found.append(word)
            word, is_word = "", False
        elif not char.isprintable():
            raise MisreadError(f"a control character in {line!r}")
        else:
            word, is_word = word + char, True
    if quote:
        raise MisreadError(f"a quote without an end in {line!r}")
    return [*found, word] if is_word else found


def sections(text: str) -> list[Section]:
    found: list[Section] = []
    for line in text.split("\n"):
        match words(line):
            case []:
                pass
            case [kind, *name] if kind in _SECTIONS:
                found.append(Section(kind, " ".join(name)))
            case read if found:
                found[-1].lines.append(read)
            case read:
                raise MisreadError(f"{read} is in no section")
    return found


def meaning_of(text: str) -> Meaning:
    read = sections(text)
    named = {(each.kind, each.name): each for each in read}
    if len(named) != len(read):
        raise MisreadError("two sections have the same name")
    common, defaults, split = named["global", ""], named["defaults", ""], named["frontend", "split"]
    slots = _slots(read, split)
    backends = _argument(common, "proc.slots").split("/")
    if len(slots) != len(backends):
        raise MisreadError(f"{len(slots)} slots of {len(backends)} backends")
    turns = _turns(_argument(common, "proc.split"), slots)
    if sum(turns.get(slot, 0) for slot in slots) != TURNS:
        raise MisreadError(f"turns {turns} of slots {slots}")
    of_backend = {backend: named["backend", slot] for slot, backend in zip(slots, backends, strict=True) if backend}
    if idle := [slot for slot, backend in zip(slots, backends, strict=True) if not backend and turns.get(slot)]:
        raise MisreadError(f"turns of the free slots {idle}")
    servers = {backend: [*_servers(section)] for backend, section in of_backend.items()}
    return Meaning(
        turns={b: turns.get(slot, 0) for slot, b in zip(slots, backends, strict=True) if b},
        servers={backend: tuple(sorted(at for at, _ in found)) for backend, found in servers.items()},
        headers={backend: frozenset(header for _, header in found) for backend, found in servers.items()},
        balance=frozenset(section.value("balance") for section in of_backend.values()),
        timeouts={name: defaults.value("timeout", name) for name in ("client", "server", "tunnel")},
        ports={name: frozenset(_ports(named["frontend", name])) for name in ("split", "ops")},
        unacknowledged=frozenset(
            line[line.index("tcp-ut") + 1]
            for section in [split, *of_backend.values()]
            for line in section.lines
            if line[0] in ("bind", "server")
        ),
        max_connections=int(split.value("maxconn")),
        drain=common.value("hard-stop-after"),
        redistributes=any("sess.end0" in " ".join(line) for line in split.lines),
    )


def _argument(section: Section, variable: str) -> str:
    (found,) = section.values("set-var", variable)
    match = re.fullmatch(r"str\(([^()]*)\)", found[0])
    if not match or len(found) != 1:
        raise MisreadError(f"{variable} is {found}")
    return match[1]


def _slots(read: list[Section], split: Section) -> list[str]:
    """The backends for connections, in the order of their sections, which is that of the rules if these name them."""
    found = [each.name for each in read if each.kind == "backend" and each.name not in ("counter", "none")]
    in_rules = re.findall(r"set-var\(sess\.end\d+\) nbsrv\((\w+)\)", "\n".join(" ".join(each) for each in split.lines))
    if in_rules not in ([], found):
        raise MisreadError(f"the rules have the order {in_rules}, the sections {found}")
    return found


def _turns(split: str, slots: list[str]) -> Mapping[str, int]:
    size = len(slots[0])
    taken = [split[at : at + size] for at in range(0, TURNS * size, size)]
    return {slot: taken.count(slot) for slot in {*taken}}


def _servers(section: Section) -> Iterator[tuple[tuple[str, int], str]]:
    for _, at, *options in section.values("server"):
        address, _, port = at.rpartition(":")
        header = [each for each in options if each.startswith("send-proxy")]
        yield (address.strip("[]"), int(port)), header[0] if header else ""


def _ports(section: Section) -> Iterator[int]:
    for line in section.values("bind"):
        yield int(line[0].rpartition(":")[2])
