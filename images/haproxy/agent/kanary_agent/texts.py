"""Reads configurations and HAProxy's messages, and adds the counter of connections to a configuration."""

import re

MESSAGE_LIMIT = 400
"""Maximum length of a message in a status. HAProxy's log has the rest."""

_CONTINUED = "\n# Added by the agent for one reload: the new worker continues at the former worker's count.\n"
_DIGEST = re.compile(r"^\s*set-var\s+proc\.digest\s+str\((\w+)\)", re.MULTILINE)
_ALERT = re.compile(r"^\[ALERT\] *\(\d+\) : (.*)$", re.MULTILINE)
_PROGRAM = re.compile(r"\[[^\[\]]*haproxy\.main\(\)\] ")
# They follow the lines that name the error.
_SUMMARIES = ("config : Error(s) found in configuration file", "config : Fatal errors found in configuration")


def digest_of(text: str) -> str:
    """The digest that a configuration sets, empty if there is none. The last one counts, as for HAProxy."""
    found = _DIGEST.findall(text)
    return found[-1] if found else ""


def continued(text: str, count: int) -> str:
    """The configuration for a worker that continues the distribution after `count` connections."""
    return f"{text}{_CONTINUED}global\n  set-var proc.start int({count})\n"


def plain(text: str) -> str:
    """The configuration without the lines that `continued` adds."""
    return text.partition(_CONTINUED)[0]


def split_servers(text: str) -> tuple[list[str], dict[tuple[str, str], str]]:
    """The lines of a configuration without its servers, and the servers: their parameters by backend and name.

    Parameters that the servers of a backend have in common, such as `send-proxy`, belong to the lines.
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
    """The parameters of `default-server`. HAProxy does not apply them to a server that is added later."""
    found = re.search(r"^\s*default-server\s+(.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def alerts(log: str, folder: str) -> str:
    """HAProxy's error lines, without process numbers and `folder`, up to MESSAGE_LIMIT characters."""
    lines = [_PROGRAM.sub("", line.replace(f"{folder}/", "")) for line in _ALERT.findall(log)]
    lines = [line for line in lines if not line.startswith(_SUMMARIES)] or lines
    message = "; ".join(lines) or " ".join(log.split()) or "HAProxy reports no reason"
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 3] + "..."
