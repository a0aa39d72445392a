"""The subresource portforward of pods: a WebSocket whose channels lead to a port of the loopback address."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from base64 import b64encode
from hashlib import sha1
from http.server import BaseHTTPRequestHandler

from websocket import ABNF
from websocket._abnf import frame_buffer

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = b"\0", b"\1"


def forward(handler: BaseHTTPRequestHandler, pod: str, port: int) -> None:
    """Takes over the handler's connection until either side ends it."""
    _accept(handler)
    client = handler.connection
    for channel in (_DATA, _ERROR):
        _send(client, channel + struct.pack("<H", port))
    try:
        server = socket.create_connection(("127.0.0.1", port), timeout=30)
    except OSError as error:
        message = f"error forwarding port {port} to pod {pod}: dial tcp4 127.0.0.1:{port}: connect: {error.strerror}"
        _send(client, _ERROR + message.encode())
        _send(client, b"", ABNF.OPCODE_CLOSE)
        return
    with server:
        back = threading.Thread(target=_answers, args=(server, client), daemon=True)
        back.start()
        _requests(client, server)
        with contextlib.suppress(OSError):  # The server may have ended it first.
            server.shutdown(socket.SHUT_RDWR)
        back.join()


def _accept(handler: BaseHTTPRequestHandler) -> None:
    assert handler.headers["Sec-WebSocket-Protocol"] == _PROTOCOL
    key = sha1(handler.headers["Sec-WebSocket-Key"].encode() + _GUID).digest()
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Sec-WebSocket-Accept", b64encode(key).decode())
    handler.send_header("Sec-WebSocket-Protocol", _PROTOCOL)
    handler.end_headers()
    handler.close_connection = True


def _requests(client: socket.socket, server: socket.socket) -> None:
    frames = frame_buffer(lambda size: _received(client, size), skip_utf8_validation=True)
    with contextlib.suppress(OSError):
        while (frame := frames.recv_frame()).opcode != ABNF.OPCODE_CLOSE:
            if frame.data[:1] == _DATA:
                server.sendall(frame.data[1:])


def _received(connection: socket.socket, size: int) -> bytes:
    data = connection.recv(size)
    if not data:
        raise ConnectionError
    return data


def _answers(server: socket.socket, client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := server.recv(16_384):
            _send(client, _DATA + data)
        _send(client, b"", ABNF.OPCODE_CLOSE)
        client.shutdown(socket.SHUT_RDWR)


def _send(client: socket.socket, data: bytes, opcode: int = ABNF.OPCODE_BINARY) -> None:
    frame = ABNF.create_frame(data, opcode)
    frame.mask_value = 0  # Only clients mask.
    client.sendall(frame.format())
