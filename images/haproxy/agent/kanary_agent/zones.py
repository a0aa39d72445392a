"""Has a proxy prefer the servers of its own zone.

A configuration names the servers and proxies of each zone in comments (`engine/render/zones.py`). The servers of other
zones become backups: HAProxy uses them while no other server of their route is up. The shares of the routes do not
depend on it. A server of an unknown zone counts as one of this zone, and so do all if that of the proxy is unknown.
"""

import re
from functools import lru_cache

FAR = "_far"
"""Ends the name of a backup: a running worker cannot change the parameters of a server, but can replace it."""
_ZONE = re.compile(r"^# zone \S+: (.*)$", re.MULTILINE)
_SERVER = re.compile(r"^(  server (\S+):\d+\S*)( .*)$", re.MULTILINE)


# Each step of the agent needs it, and a text may have a megabyte.
@lru_cache(maxsize=2)
def preferring_own_zone(text: str, pod: str) -> str:
    """The configuration for the proxy with this uid: the same if its zone is unknown, or the text is such a result."""
    zones = [set(members.split()) for members in _ZONE.findall(text)]
    own = next((members for members in zones if pod in members), None)
    if own is None:
        return text
    others = set[str]().union(*zones) - own

    def marked(line: re.Match[str]) -> str:
        name, address, parameters = line.groups()
        is_far = address in others and not name.endswith(FAR)
        return f"{name}{FAR}{parameters} backup" if is_far else line[0]

    return _SERVER.sub(marked, text)
