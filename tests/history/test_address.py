"""Database URLs: which are accepted, and that passwords are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from kanary.history.address import parse_address
from kanary.history.database import open_database
from kanary.history.faults import BadAddressError, FaultReason, HistoryError
from kanary.history.queries import ChangeQuery
from kanary.history.reader import Reader
from tests.history.postgres import PASSWORD, QUOTED_PASSWORD, Server


@pytest.mark.parametrize("text", ["sqlite:////var/lib/kanary/history.db", "/var/lib/kanary/history.db"])
def test_a_url_or_a_path_names_a_file(text: str) -> None:
    address = parse_address(text)
    assert address.path == Path("/var/lib/kanary/history.db")
    assert str(address) == "/var/lib/kanary/history.db"


def test_a_relative_path_is_told_in_full() -> None:
    assert str(parse_address("sqlite:///history.db")) == str(Path.cwd() / "history.db")


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql", "postgres"])
def test_a_server_is_named_without_its_password(scheme: str) -> None:
    address = parse_address(f"{scheme}://kanary:secret@db.shop:5433/history?sslmode=require&sslpassword=hidden")
    assert address.path is None
    assert str(address) == repr(address) == "postgresql://kanary@db.shop:5433/history"
    assert address.url.drivername == "postgresql+psycopg"
    assert address.scrub("secret hidden said") == "*** *** said"


def test_a_password_is_taken_out_however_it_is_written() -> None:
    address = parse_address(f"postgresql://kanary:{QUOTED_PASSWORD}@db/history")
    assert address.scrub(f"a {PASSWORD} b {QUOTED_PASSWORD} c") == "a *** b *** c"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite://history.db",
        "sqlite:////a.db?mode=ro",
        "sqlite:////a\0b.db",
        "mysql://kanary:secret@db/history",
        "postgresql://kanary:secret@db:port/history",
        "://kanary:secret@",
        "postgresql+psycopg:/kanary:secret@db/history",
        "postgresql//kanary:secret@db/history",
        "postgresql:kanary:secret",
        "postgresql/secret",
        "kanary:secret@db/history",
        "sqlite:/history.db",
    ],
)
def test_what_is_no_address_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(BadAddressError) as caught:
        parse_address(text)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("password", ["s3c@ret", "@ret", "s3c@", "s3c/@ret"])
def test_an_at_sign_of_a_password_is_to_be_escaped_and_nothing_of_the_password_is_told(password: str) -> None:
    with pytest.raises(BadAddressError) as caught:
        parse_address(f"postgresql+psycopg://kanary:{password}@db.invalid/history")
    assert str(caught.value) == "the database URL has more than one @: write those of a password as %40"


@pytest.mark.parametrize("path", ["history.db", "data/history.db", "./a@b.db", "/data/a:b@c.db", "../a:b.db"])
def test_what_is_plainly_a_path_is_a_file(path: str) -> None:
    assert parse_address(path).path == Path(path).absolute()


def test_a_wrong_password_is_not_told(postgres: Server) -> None:
    url = postgres.url("postgres", password="wr0ng%2Fword")
    for use in (lambda: open_database(url), lambda: Reader(url).changes(ChangeQuery())):
        with pytest.raises(HistoryError) as caught:
            use()
        assert caught.value.fault.reason is FaultReason.UNAVAILABLE
        assert "password authentication failed" in str(caught.value)
        assert "wr0ng" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a b%20?c#d&mode=memory"
    folder.mkdir()
    database = open_database(str(folder / "history.db"))
    database.close()
    assert (folder / "history.db").exists()
