"""What the agent reads in configurations and in HAProxy's answers, and what it adds to a configuration."""

import re

MESSAGE_LIMIT = 400
"""What fits into a status. HAProxy's log names the rest."""

_CONTINUED = "\n# Added by the agent for one reload: the round goes on where the former worker's count is.\n"
_DIGEST = re.compile(r"^\s*set-var\s+proc\.digest\s+str\((\w+)\)", re.MULTILINE)
_ALERT = re.compile(r"^\[ALERT\] *\(\d+\) : (.*)$", re.MULTILINE)
_PROGRAM = re.compile(r"\[[^\[\]]*haproxy\.main\(\)\] ")
# They follow upon the lines that name the error.
_SUMMARIES = ("config : Error(s) found in configuration file", "config : Fatal errors found in configuration")


def digest_of(text: str) -> str:
    """The digest that a configuration carries, empty if it carries none. The last one counts, as for HAProxy."""
    found = _DIGEST.findall(text)
    return found[-1] if found else ""


def continued(text: str, count: int) -> str:
    """The configuration for a worker that goes on with the round after `count` connections."""
    return f"{text}{_CONTINUED}global\n  set-var proc.start int({count})\n"


def plain(text: str) -> str:
    """The configuration without what `continued` has added."""
    return text.partition(_CONTINUED)[0]


def without_servers(text: str) -> tuple[list[str], dict[tuple[str, str], str]]:
    """What a configuration says beside which servers there are, and these: backend and name, and all that follows.

    What servers of a backend have in common, such as a header that they want, is among the first.
    """
    rest: list[str] = []
    servers: dict[tuple[str, str], str] = {}
    section, common = "", None
    for line in text.splitlines():
        words = line.split()
        if line[:1].isalpha():
            section, common = words[-1], None
        if words[:1] == ["server"]:
            _, name, address, *others = words
            servers[section, name] = " ".join((address, *others))
            if others != common:
                rest.append(" ".join(("server", *others)))
            common = others
        elif words and not line.lstrip().startswith("#") and not _DIGEST.match(line):
            rest.append(line)
    return rest, servers


def server_defaults(text: str) -> str:
    """What holds for each server of a configuration, and has to be said again of one that comes later."""
    found = re.search(r"^\s*default-server\s+(.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def alerts(log: str, folder: str) -> str:
    """HAProxy's own lines about what is wrong, short, without process numbers and the folder that the files are in."""
    lines = [_PROGRAM.sub("", line.replace(f"{folder}/", "")) for line in _ALERT.findall(log)]
    lines = [line for line in lines if not line.startswith(_SUMMARIES)] or lines
    message = "; ".join(lines) or " ".join(log.split()) or "HAProxy says nothing about why"
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 3] + "..."
