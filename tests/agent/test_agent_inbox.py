"""Which of the configurations that anyone may send the agent accepts, and what the others cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from kanary_agent import inbox
from kanary_agent.inbox import ACCEPTED, BAD_REQUEST, BUSY, CONTINUE, NOT_NEWER, OTHER_KANARY, TOO_LARGE, Inbox, Offer
from kanary_agent.texts import Origin

from tests.agent.live import OPENSSL
from tests.waiting import await_that

KEY, OTHER_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
NEWEST = Origin("uid-1", 5)
OPERATOR, STRANGER = "10.0.0.1", "10.0.0.2"


class Box:
    """An inbox of a proxy that has the configuration NEWEST, and its clock."""

    def __init__(self, folder: Path) -> None:
        self.key = folder / "key.pem"
        self.mount(KEY)
        self.newest = NEWEST
        self.now = 100.0
        self.inbox = Inbox(str(self.key), str(folder / "inbox"), lambda: self.newest, str(OPENSSL))

    def mount(self, key: Ed25519PrivateKey) -> None:
        part = self.key.with_suffix(".part")
        part.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        part.rename(self.key)

    def send(self, content: bytes, key: Ed25519PrivateKey = KEY, host: str = OPERATOR, serial: int = 6) -> int:
        return self.inbox.receive(offer(content, key, serial), content, host, self.now)

    def taken(self) -> list[str]:
        """All that is accepted, when everything is verified."""
        found = []

        def is_done() -> bool:
            found.append(self.inbox.take(self.now))
            return not self.inbox.is_busy

        await_that(is_done, "everything is verified")
        return [text for text in found if text]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.inbox.stop()


def text(serial: int = 6, kanary: str = "uid-1", more: str = "") -> bytes:
    return f"# Kanary {kanary}, configuration {serial}. Manual changes are reverted.\nglobal\n{more}".encode()


def offer(content: bytes, key: Ed25519PrivateKey = KEY, serial: int = 6) -> Offer:
    return Offer(Origin("uid-1", serial), key.sign(content), len(content))


def test_a_signed_newer_configuration_is_accepted(box: Box) -> None:
    assert box.send(text()) == ACCEPTED
    assert box.taken() == [text().decode()]


def test_bytes_that_are_no_text_are_kept_as_they_are(box: Box) -> None:
    content = text(more="# \xff\r\n") + b"\xff\x00"
    assert box.send(content) == ACCEPTED
    assert [each.encode("utf-8", "surrogateescape") for each in box.taken()] == [content]


def test_a_forged_configuration_is_not_accepted(box: Box) -> None:
    assert box.send(text(), OTHER_KEY, STRANGER) == ACCEPTED
    assert box.taken() == []


def test_a_changed_configuration_is_not_accepted(box: Box) -> None:
    changed = text(more="# changed")
    assert box.inbox.receive(offer(text()), changed, STRANGER, box.now) == ACCEPTED
    assert box.taken() == []


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        (None, BAD_REQUEST),
        (Offer(Origin("uid-1", 6), b"", 2**20 + 1), TOO_LARGE),
        (Offer(Origin("uid-2", 6), b"", 9), OTHER_KANARY),
        (Offer(Origin("uid-1", 5), b"", 9), NOT_NEWER),
        (Offer(Origin("uid-1", 6), b"", 9), CONTINUE),
    ],
    ids=["no claims", "too large", "another Kanary", "a repetition", "a newer one"],
)
def test_claims_are_checked_before_anything_is_received(box: Box, claims: Offer | None, status: int) -> None:
    assert box.inbox.status_of(claims, STRANGER, box.now) == status


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"kanary-configuration": "uid-1", "kanary-signature": "00", "content-length": "1"},
        {"kanary-configuration": "uid-1 x", "kanary-signature": "00", "content-length": "1"},
        {"kanary-configuration": "uid-1 " + "9" * 3000 + "9" * 3000, "kanary-signature": "00", "content-length": "1"},
        {"kanary-configuration": "uid-1 6", "kanary-signature": "0g", "content-length": "1"},
        {"kanary-configuration": "uid-1 6", "kanary-signature": "00", "content-length": "-1"},
        {"kanary-configuration": "uid-1 6", "kanary-signature": "00"},
    ],
)
def test_headers_without_complete_claims_are_invalid(headers: dict[str, str]) -> None:
    assert inbox.read_offer(headers) is None


def test_the_headers_hold_the_claims() -> None:
    headers = {"kanary-configuration": "uid-1 6", "kanary-signature": "00ff", "content-length": "12"}
    assert inbox.read_offer(headers) == Offer(Origin("uid-1", 6), b"\x00\xff", 12)


def test_an_authentic_configuration_is_not_accepted_twice_nor_under_another_number(box: Box) -> None:
    assert box.send(text()) == ACCEPTED
    assert len(box.taken()) == 1
    box.newest = Origin("uid-1", 6)
    assert box.send(text()) == NOT_NEWER
    assert box.inbox.receive(offer(text(6), serial=7), text(6), STRANGER, box.now) == BAD_REQUEST
    assert box.taken() == []


def test_one_that_became_old_while_it_waited_is_not_verified(box: Box) -> None:
    assert box.send(text()) == ACCEPTED
    box.newest = Origin("uid-1", 7)
    assert box.taken() == []


def test_one_for_another_kanary_is_not_accepted_though_its_signature_is_right(box: Box) -> None:
    content = text(kanary="uid-2")
    assert box.inbox.receive(offer(content), content, STRANGER, box.now) == BAD_REQUEST


def test_without_a_key_nothing_is_accepted(box: Box) -> None:
    box.key.write_text("")
    assert box.send(text()) == BUSY


def test_a_damaged_key_accepts_nothing(box: Box) -> None:
    box.key.write_text("no key")
    assert box.send(text()) == ACCEPTED
    assert box.taken() == []


def test_a_host_waits_longer_after_each_false_signature_and_a_true_one_ends_that(box: Box) -> None:
    waits = []
    for _ in range(8):
        assert box.send(text(), OTHER_KEY) == ACCEPTED
        assert box.taken() == []
        began = box.now
        while box.send(text(), OTHER_KEY) == BUSY:
            box.now += 0.5
        waits.append(box.now - began)
        box.taken()
        box.now += 64
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1, 64)
    assert box.send(text()) == ACCEPTED
    assert len(box.taken()) == 1
    assert box.send(text(7), serial=7) == ACCEPTED


def test_a_new_key_ends_the_wait_of_the_operator_that_had_it_first(box: Box) -> None:
    assert box.send(text(), OTHER_KEY) == ACCEPTED
    assert box.taken() == []
    assert box.send(text(), OTHER_KEY) == BUSY
    box.mount(OTHER_KEY)
    assert box.send(text(), OTHER_KEY) == ACCEPTED
    assert len(box.taken()) == 1


def test_a_flood_of_false_signatures_delays_the_operator_by_a_few_verifications(box: Box) -> None:
    hosts = [f"10.0.1.{number}" for number in range(20)]
    accepted = [box.send(text(), OTHER_KEY, host) for host in hosts * 10]
    assert accepted.count(ACCEPTED) == inbox.WAITING * 10
    assert box.send(text()) == BUSY
    attempts, began = 0, time.monotonic()
    found: list[str] = []
    while not found:
        attempts += 1
        box.now += 0.05
        for host in hosts:
            box.send(text(), OTHER_KEY, host)
        # The operator tries again, among the others.
        box.send(text())
        found = box.taken()
        assert time.monotonic() - began < 60
    assert attempts <= len(hosts) / inbox.WAITING + 1


def test_a_newer_one_replaces_one_of_the_same_host_that_waits(box: Box) -> None:
    assert [box.send(text(serial), serial=serial) for serial in (6, 7, 8)] == [ACCEPTED] * 3
    assert box.taken() == [text(8).decode()]


def test_a_missing_openssl_is_survived(box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box.inbox = Inbox(str(box.key), str(tmp_path / "inbox"), lambda: NEWEST, str(tmp_path / "nothing"))
    assert box.send(text()) == ACCEPTED
    assert box.taken() == []
    assert "cannot verify a configuration" in capsys.readouterr().out
