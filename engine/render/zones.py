"""Which pods are in which zone, as comments of a configuration, from which the agent of each proxy reads its own zone.

So all proxies have the same configuration, and a change of zones is no change of the split.
"""

import re
from collections.abc import Iterable, Iterator

Zones = tuple[tuple[str, tuple[str, ...]], ...]
"""Each zone with its members, all in alphabetical order: addresses of servers, and uids of proxies' pods."""

_ZONE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
"""The value of a label."""
_MEMBER = re.compile(r"[-0-9A-Za-z.:]+")


def is_zone(name: str) -> bool:
    """Whether this may be the name of a zone."""
    return _ZONE.fullmatch(name) is not None


def by_zone(members: Iterable[tuple[str, str]]) -> Zones:
    """The members of each zone, from pairs of zone and member. Those of an unknown zone, '', are left out."""
    found: dict[str, set[str]] = {}
    for zone, member in members:
        if zone:
            found.setdefault(zone, set()).add(member)
    return tuple((zone, tuple(sorted(found[zone]))) for zone in sorted(found))


def pairs(zones: Zones) -> Iterator[tuple[str, str]]:
    """The opposite of `by_zone`."""
    return ((zone, member) for zone, members in zones for member in members)


def require_valid(zones: Zones) -> None:
    """Raise ValueError for a name or a member that could be anything but a word in a comment."""
    for zone, member in pairs(zones):
        if not is_zone(zone) or not _MEMBER.fullmatch(member):
            raise ValueError(f"{member!r} in zone {zone!r} is not an address or a uid in a zone")


def zone_lines(zones: Zones) -> Iterator[str]:
    """The comments. `kanary_agent/zones.py` reads them."""
    for zone, members in zones:
        yield f"# zone {zone}: {' '.join(members)}"
