"""The setting KANARY_ALLOWED_HOSTS: hosts outside of a Kanary's namespace that its checks may use."""

import re
from dataclasses import dataclass
from typing import Self

_ENTRY = re.compile(
    r"(?P<host>(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*|\[[0-9a-f:.]+\])(:(?P<port>\d{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """One entry of the setting."""

    host: str
    """In lower case. `*.example.com` stands for every name below example.com, but not for example.com."""
    port: int | None
    """None for every port."""

    def has(self, host: str, port: int) -> bool:
        """Whether the entry allows this host, in lower case, and this port."""
        fits = host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host
        return fits and self.port in (None, port)


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """All entries of the setting."""

    entries: tuple[AllowedHost, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Entries such as `hooks.slack.com:443, *.example.com`. Raises ValueError for an invalid one."""
        return cls(tuple(_entry(part.strip()) for part in text.split(",") if part.strip()))

    def have(self, host: str, port: int) -> bool:
        """Whether any entry allows this host, in lower case, and this port."""
        return any(entry.has(host, port) for entry in self.entries)


def _entry(text: str) -> AllowedHost:
    match = _ENTRY.fullmatch(text.lower())
    port = int(match["port"]) if match and match["port"] else None
    if not match or port not in (None, *range(1, 65_536)):
        raise ValueError(
            f"expected hosts such as hooks.slack.com, *.example.com or 10.0.0.1:9090, separated by commas, not {text!r}"
        )
    return AllowedHost(match["host"].strip("[]"), port)
