"""The address of the database: a URL that may contain a password, which is never shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from kanary.history.faults import BadAddressError

_POSTGRESQL = ("postgresql+psycopg", "postgresql", "postgres")
_FORMS = "sqlite:////path/of/history.db or postgresql+psycopg://user:password@host/database"


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """The address of a database. Its text has no password."""

    url: URL
    path: Path | None
    """The file of an SQLite database; None for PostgreSQL."""

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        url = self.url
        where = {key: value for key, value in url.query.items() if key in ("host", "port")}
        shown = URL.create("postgresql", url.username, None, url.host, url.port, url.database, where)
        return shown.render_as_string()

    __repr__ = __str__

    def scrub(self, text: str) -> str:
        """The text of a driver or a library, with the secrets of this URL replaced by `***`."""
        named = (value for key, value in self.url.query.items() if "password" in key and isinstance(value, str))
        secrets = {secret for secret in (self.url.password, *named) if secret}
        for secret in sorted(secrets | {quote(secret, safe="") for secret in secrets}, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def parse_address(text: str) -> Address:
    """Parse a URL or the path of an SQLite file. Raises BadAddressError, whose message does not repeat the text."""
    if "://" not in text:
        # This may be a URL with a password. Paths are shown, so it must not count as one.
        if not text.startswith(("/", ".")) and ("@" in text or ":" in text or text.startswith("postgres")):
            raise BadAddressError(f"invalid database URL, expected {_FORMS}; begin the path of a file with / or ./")
        return _sqlite_file(text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise BadAddressError(f"invalid database URL, expected {_FORMS}") from None
    if url.drivername in _POSTGRESQL:
        if text.count("@") > 1:
            # The text between the two would count as part of the host, which is shown.
            raise BadAddressError("the database URL has more than one @: write those of a password as %40")
        return Address(url.set(drivername="postgresql+psycopg"), None)
    if url.drivername != "sqlite":
        raise BadAddressError(f"unsupported database {url.drivername}, expected {_FORMS}")
    if url.query or url.host:
        raise BadAddressError(f"invalid SQLite URL, expected {_FORMS}: four slashes, and no options")
    return _sqlite_file(url.database or "")


def _sqlite_file(text: str) -> Address:
    if not text.strip() or text == ":memory:" or "\0" in text:
        raise BadAddressError(f"the database URL names no file, expected {_FORMS}")
    # Absolute, so that messages name the file from any working directory.
    path = Path(text).absolute()
    return Address(URL.create("sqlite", database=str(path)), path)
