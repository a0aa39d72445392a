"""Requests over real connections, to servers that are slow, silent, endless or no HTTP servers."""

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import CertificateBuilder, DNSName, Name, NameAttribute, SubjectAlternativeName
from cryptography.x509.oid import NameOID

from engine.model.checks import HttpUrl
from kanary.outbound.exchange import ANSWER_BYTES, Answer, ExchangeError, HttpRequest, exchange, trusted
from kanary.outbound.peers import Peer
from tests.unit.receiver import Behaviour, Receiver, drip, endless, hang, raw, receiving, reply
from tests.unit.responder import refusing

SOON = timedelta(seconds=0.4)
LATER = timedelta(seconds=20)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def send(
    receiver: Receiver,
    request: HttpRequest | None = None,
    limit: timedelta = LATER,
    *,
    addresses: tuple[str, ...] = ("127.0.0.1",),
    scheme: str = "http",
    host: str = "gate.shop",
) -> Answer:
    peer = Peer(HttpUrl(scheme, host, 8080, "/"), addresses, receiver.port)
    return asyncio.run(exchange(peer, request or HttpRequest("GET", "/x?y=1"), limit))


def test_an_answer_arrives_and_the_request_names_the_host_of_the_url() -> None:
    with receiving(reply(201, b"made", X_Test="1")) as receiver:
        answer = send(receiver, HttpRequest("POST", "/x", {"Content-Type": "text/plain"}, b"content"))
    assert (answer.status, answer.body, answer.headers["x-test"]) == (201, b"made", "1")
    (request,) = receiver.requests
    assert (request.line, request.body) == ("POST /x HTTP/1.1", b"content")
    assert (request.headers["host"], request.headers["content-type"]) == ("gate.shop:8080", "text/plain")
    assert request.headers["user-agent"].startswith("kanary/")


@pytest.mark.parametrize(
    "content",
    [
        CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
    ids=["chunked", "until the end", "after an early hint"],
)
def test_every_framing_of_http_is_understood(content: bytes) -> None:
    with receiving(raw(content)) as receiver:
        assert send(receiver).body == b"hello"


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with receiving(reply(200)) as other, receiving(reply(302, Location=f"http://127.0.0.1:{other.port}/")) as receiver:
        assert send(receiver).status == 302
        assert (len(receiver.requests), other.requests) == (1, [])


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (raw(b""), "gate.shop:8080 did not answer with HTTP"),
        (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "gate.shop:8080 did not answer with HTTP"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), "gate.shop:8080 did not answer with HTTP"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), "gate.shop:8080 did not answer with HTTP"),
        (raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000), "gate.shop:8080 did not answer with HTTP"),
        (endless(b"", b"x" * 1000), "gate.shop:8080 did not answer with HTTP"),
        (reply(200, b"x" * (ANSWER_BYTES + 1)), f"the answer of gate.shop:8080 has more than {ANSWER_BYTES} bytes"),
        (endless(CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n"), "the answer of gate.shop:8080 has more than"),
        (endless(b"HTTP/1.0 200 OK\r\n\r\n", b"x" * 1000), "the answer of gate.shop:8080 has more than"),
    ],
    ids=["nothing", "ssh", "half", "bad length", "long head", "endless", "large", "endless chunks", "endless body"],
)
def test_an_unusable_answer_is_an_error(behaviour: Behaviour, message: str) -> None:
    with receiving(behaviour) as receiver, pytest.raises(ExchangeError, match=message):
        send(receiver)


@pytest.mark.parametrize(
    "behaviour",
    [
        hang,
        drip(b"HTTP/1.1 200 OK\r\nX: y\r\n"),
        drip(CHUNKED + b"1\r\nx\r\n" * 1000),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["hang", "slow head", "slow body", "endless early hints"],
)
def test_the_time_limit_is_for_the_whole_answer(behaviour: Behaviour) -> None:
    started = time.monotonic()
    with receiving(behaviour) as receiver, pytest.raises(ExchangeError) as error:
        send(receiver, limit=SOON)
    assert str(error.value) == "gate.shop:8080 did not answer within 0.4 s"
    assert time.monotonic() - started < 10


def test_a_refused_connection_is_an_error_and_the_next_address_is_tried() -> None:
    with receiving(reply(200)) as receiver:
        assert send(receiver, addresses=("127.0.0.2", "127.0.0.1")).status == 200
        with refusing() as receiver.port, pytest.raises(ExchangeError, match=r"cannot reach gate\.shop:8080: "):
            send(receiver)


def test_a_server_without_tls_is_an_error() -> None:
    with receiving(raw(b"HTTP/1.1 200 OK\r\n\r\n")) as receiver, pytest.raises(ExchangeError, match="cannot reach"):
        send(receiver, scheme="https")


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A certificate of gate.shop with its key, which SSL_CERT_FILE can name; nothing trusts it yet."""
    key, name = generate_private_key(SECP256R1()), Name([NameAttribute(NameOID.COMMON_NAME, "gate.shop")])
    now = datetime.now(UTC)
    signed = (
        CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(SubjectAlternativeName([DNSName("gate.shop")]), critical=False)
        .sign(key, SHA256())
    )
    path = tmp_path / "gate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(signed.public_bytes(Encoding.PEM) + private)
    trusted.cache_clear()
    yield path
    trusted.cache_clear()


def with_tls(certificate: Path) -> Behaviour:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def behave(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(4096)
            secure.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    return behave


def test_a_certificate_has_to_be_trusted_and_of_the_host_of_the_url(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(with_tls(certificate)) as receiver:
        receiver.reads_requests = False
        with pytest.raises(ExchangeError, match=r"the certificate of gate\.shop:8080 is not valid: self-signed"):
            send(receiver, scheme="https")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        trusted.cache_clear()
        assert send(receiver, scheme="https").status == 200
        with pytest.raises(ExchangeError, match=r"the certificate of gate\.other:8080 is not valid: Hostname mismatch"):
            send(receiver, scheme="https", host="gate.other")
