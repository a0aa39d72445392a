"""Reads configurations and HAProxy's messages, and adds the counter of connections to a configuration."""

import re
from collections.abc import Mapping
from itertools import product
from string import ascii_letters, digits
from typing import NamedTuple

MESSAGE_LIMIT = 400
"""Maximum length of a message in a status. HAProxy's log has the rest."""

DIGEST = "proc.digest"
SPLIT = "proc.split"
"""The turns of a round and the weights."""
SLOTS = "proc.slots"
"""The backend of each slot; slots are HAProxy's backends."""
TURNS = "proc.turns"
COUNTING_ALL = str(2**60)
"""Its value while HAProxy may redistribute connections (`engine/render/selection.py`)."""
REVISION = "proc.revision"
"""The revision of the weights whose connections are counted; 0 for none."""
NO_REVISION = "int(0)"
_CHANGEABLE = re.compile(rf"({DIGEST}|{SLOTS}|{SPLIT}|{TURNS}\d*|{REVISION})")
"""The process variables that a running worker may take from another configuration; a further port has its own turns."""

_CONTINUED = (
    "\n# Added by the agent for one reload: the new worker continues with the former worker's count and states.\n"
)
_LOADED = "  load-server-state-from-file global\n"
_ORIGIN = re.compile(r"# Kanary ([-\w]+), configuration (\d{1,19})\.")
_TEXT_VARIABLE = re.compile(r"^\s*set-var\s+(proc\.\w+)\s+str\(([-\w:/]+)\)", re.MULTILINE)
_START = re.compile(r"^  set-var (proc\.start\d*) ", re.MULTILINE)
_ALERT = re.compile(r"^\[ALERT\] *\(\d+\) : (.*)$", re.MULTILINE)
_PROGRAM = re.compile(r"\[[^\[\]]*haproxy\.main\(\)\] ")
# They follow the lines that name the error.
_SUMMARIES = ("config : Error(s) found in configuration file", "config : Fatal errors found in configuration")


class Origin(NamedTuple):
    """The uid of the Kanary that a configuration belongs to, and the number of the configuration."""

    kanary: str = ""
    serial: int = 0


def origin_of(text: str) -> Origin:
    """The origin in the first line of a configuration; without one, no other is newer or older."""
    found = _ORIGIN.match(text)
    return Origin(found[1], int(found[2])) if found else Origin()


def is_newer(text: str, other: str) -> bool:
    """Whether a configuration is a later one of the same Kanary."""
    origin, former = origin_of(text), origin_of(other)
    return origin.kanary == former.kanary and origin.serial > former.serial


def digest_of(text: str) -> str:
    """The digest that a configuration sets, empty if there is none."""
    return _variable(text, DIGEST)


def split_of(text: str) -> str:
    """The turns and weights that a configuration sets, empty if there are none."""
    return _variable(text, SPLIT)


def slots_of(text: str) -> dict[str, str]:
    """The backend of each slot that is not free."""
    return backends_by_slot(_variable(text, SLOTS))


def backends_by_slot(value: str) -> dict[str, str]:
    """The same, from the value of the variable. `engine/render/slots.py` gives slots these names."""
    backends = value.split("/")
    length = 1 if len(backends) <= len(ascii_letters) else 2
    names = ("".join(letters) for letters in product(ascii_letters, repeat=length))
    return {name: backend for name, backend in zip(names, backends, strict=False) if backend}


def turns_of(split: str) -> str:
    """The turns in the value of the variable, without the weights, which change when a route loses its last server."""
    return split.rstrip(digits)


def slots_in_turn(split: str, length: int) -> set[str]:
    """The slots that have turns in the value of the variable: their routes have a weight. Names have this length."""
    turns = turns_of(split)
    return {turns[start : start + length] for start in range(0, len(turns), length)}


def variables(answer: str) -> dict[str, str]:
    """The process variables in an answer of HAProxy."""
    return dict(re.findall(r"^(proc\.\w+): type=\w+ value=<(.*)>", answer, re.MULTILINE))


def _variable(text: str, name: str) -> str:
    """The text in a process variable. The last definition counts, as for HAProxy."""
    found: dict[str, str] = dict(_TEXT_VARIABLE.findall(text))
    return found.get(name, "")


def starts_of(text: str) -> list[str]:
    """The variables with the start of the count of connections, one for each port."""
    return _START.findall(text)


def continued(text: str, counts: Mapping[str, int], states: str) -> str:
    """The configuration for a worker that continues where the former one ends.

    It continues the distribution after `counts` connections, by variable, and its servers have the states in the
    file `states`.
    """
    start = "".join(f"  set-var {name} int({count})\n" for name, count in counts.items())
    loading = text.replace("\ndefaults\n", f"\ndefaults\n{_LOADED}", 1)
    return f"{loading}{_CONTINUED}global\n  server-state-file {states}\n{start}"


def plain(text: str) -> str:
    """The configuration without the lines that `continued` adds."""
    return text.partition(_CONTINUED)[0].replace(_LOADED, "", 1)


class Parts(NamedTuple):
    """A configuration by how a running worker can change it."""

    fixed: list[str]
    """The lines that only a reload can change."""
    servers: dict[tuple[str, str], str]
    """The parameters of each server, by slot and name, with those of `default-server`.

    HAProxy does not apply `default-server` to a server that is added later.
    """
    variables: dict[str, str]
    """Expressions by name."""


def parts_of(text: str) -> Parts:
    """The parts of a configuration, without comments."""
    parts = Parts([], {}, {})
    section, shared = "", list[str]()
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if line[:1].isalpha():
            section = values[0] if values else keyword
        if keyword == "server":
            name, *parameters = values
            parts.servers[section, name] = " ".join((*parameters, *shared))
        elif keyword == "set-var" and _CHANGEABLE.fullmatch(values[0]):
            parts.variables[values[0]] = values[1]
        elif keyword and not keyword.startswith("#"):
            parts.fixed.append(line)
        if keyword == "default-server":
            shared.extend(values)
    return parts


def alerts(log: str, folder: str) -> str:
    """HAProxy's error lines, without process numbers and `folder`, up to MESSAGE_LIMIT characters."""
    lines = [_PROGRAM.sub("", line.replace(f"{folder}/", "")) for line in _ALERT.findall(log)]
    lines = [line for line in lines if not line.startswith(_SUMMARIES)] or lines
    message = "; ".join(lines) or " ".join(log.split()) or "HAProxy reports no reason"
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 3] + "..."
