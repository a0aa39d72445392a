"""Asks the OSV database for known vulnerabilities of the pinned dependencies; fails if there are any.

Without a connection to it, the dependencies are not audited: this is said and is no failure.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path

SERVICE = "https://api.osv.dev/v1/querybatch"
"""https://google.github.io/osv.dev/post-v1-querybatch/: one request for all packages."""
PINS = Path(__file__).parents[1] / "constraints.txt"
IGNORED: Mapping[str, str] = {}
"""Vulnerabilities that do not concern Kanary, by id, each with the reason."""

_SECONDS = 20
_BAD_REQUEST = 400


class NotAuditedError(Exception):
    """The service did not answer; as text, why."""


def pins(text: str) -> list[tuple[str, str]]:
    """The name and version of each package. Raises ValueError for a line that pins none."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if unpinned := [line for line in lines if "==" not in line]:
        raise ValueError(f"not pinned to a version: {', '.join(unpinned)}; run make constraints")
    return [(name, version) for name, _, version in (line.partition("==") for line in lines)]


def vulnerabilities(packages: list[tuple[str, str]], service: str = SERVICE) -> Iterator[tuple[str, str]]:
    """Each known vulnerability, with its package and version. Raises NotAuditedError."""
    queries = [{"package": {"ecosystem": "PyPI", "name": name}, "version": version} for name, version in packages]
    body = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(service, body, {"Content-Type": "application/json"})  # noqa: S310  our own URL
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as response:  # noqa: S310
            results = json.load(response)["results"]
        found = [[str(each["id"]) for each in result.get("vulns", ())] for result in results]
    except urllib.error.HTTPError as error:
        if error.code == _BAD_REQUEST:
            raise
        raise NotAuditedError(f"{service} responded with status {error.code}") from error
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAuditedError(f"{service} cannot be read: {error!r}") from error
    if len(found) != len(packages):
        raise NotAuditedError(f"{service} responded for {len(found)} of {len(packages)} packages")
    for (name, version), ids in zip(packages, found, strict=True):
        yield from ((f"{name} {version}", each) for each in ids if each not in IGNORED)


def main(service: str = SERVICE) -> int:
    """Print what is found; returns the exit code."""
    packages = pins(PINS.read_text(encoding="utf-8"))
    try:
        found = list(vulnerabilities(packages, service))
    except NotAuditedError as error:
        print(f"audit: the {len(packages)} dependencies were NOT audited: {error}", file=sys.stderr)
        return 0
    for package, vulnerability in found:
        print(f"audit: {package}: {vulnerability} (https://osv.dev/vulnerability/{vulnerability})")
    if found:
        print("audit: run make constraints, or say in IGNORED of scripts/audit.py why it does not concern Kanary")
    else:
        print(f"audit: no known vulnerability in {len(packages)} dependencies")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
