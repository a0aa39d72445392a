"""One HTTP request to a known address, with bounds for its time and for the size of the answer."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache

import h11

from kanary.outbound.peers import Peer
from kanary.version import VERSION

ANSWER_BYTES = 65_536
_HEAD_BYTES = 16_384
_READ_BYTES = 16_384


class ExchangeError(Exception):
    """There is no usable answer; as text, the reason."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is sent."""

    method: str
    path: str
    """With the query."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was received. A redirect is an answer: it is not followed."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes


async def exchange(peer: Peer, request: HttpRequest, limit: timedelta) -> Answer:
    """Send the request to the first address that accepts the connection. Raises ExchangeError."""
    where, seconds = peer.url.authority, limit.total_seconds()
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await _connect(peer)
            try:
                return await _exchange(reader, writer, peer, request)
            finally:
                writer.transport.abort()
    except TimeoutError as error:
        raise ExchangeError(f"{where} did not answer within {seconds:g} s") from error
    except ssl.SSLCertVerificationError as error:
        raise ExchangeError(f"the certificate of {where} is not valid: {error.verify_message}") from error
    except OSError as error:
        raise ExchangeError(f"cannot reach {where}: {error.strerror or error}") from error
    except h11.RemoteProtocolError as error:
        raise ExchangeError(f"{where} did not answer with HTTP: {error}") from error


async def _connect(peer: Peer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    *others, last = peer.addresses
    for address in others:
        try:
            return await _connect_to(address, peer)
        except OSError:
            continue
    return await _connect_to(last, peer)


async def _connect_to(address: str, peer: Peer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if peer.url.scheme == "http":
        return await asyncio.open_connection(address, peer.port)
    return await asyncio.open_connection(address, peer.port, ssl=trusted(), server_hostname=peer.url.host)


@cache
def trusted() -> ssl.SSLContext:
    """The certificate authorities of the system, or of the file that SSL_CERT_FILE names; it takes 30 ms to load."""
    return ssl.create_default_context()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer, request: HttpRequest
) -> Answer:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
    headers = {
        "Host": peer.url.authority,
        "User-Agent": f"kanary/{VERSION}",
        "Accept": "application/json",
        "Connection": "close",
        "Content-Length": str(len(request.body)),
        **request.headers,
    }
    head = h11.Request(method=request.method, target=request.path, headers=list(headers.items()))
    for part in (head, h11.Data(request.body), h11.EndOfMessage()):
        writer.write(http.send(part) or b"")
    # Not drained first: a server may answer before it has read everything.
    answer, body = None, bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Response):
            answer = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > ANSWER_BYTES:
                raise ExchangeError(f"the answer of {peer.url.authority} has more than {ANSWER_BYTES} bytes")
        elif answer and isinstance(event, h11.EndOfMessage):
            found = {name.decode().lower(): value.decode("latin-1") for name, value in answer.headers}
            return Answer(answer.status_code, found, bytes(body))
