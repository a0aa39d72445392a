"""A connection to a port of a pod through the API server: port-forwarding over a WebSocket."""

from __future__ import annotations

import io
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from websocket import ABNF, WebSocket, WebSocketBadStatusException, WebSocketException

from kanary.kube.errors import NotForwarded, Unreachable, from_response

# The only protocol that all versions since 1.20 support: frames begin with the number of a channel.
_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1


def open_websocket(url: str, headers: Mapping[str, str], configuration: Any, timeout: float) -> Any:
    """Connect with the official client's configuration; `timeout` (s) also applies to each read.

    The library's own function sets no time-out and sends the credentials to redirects. Raises ApiError and Unreachable.
    """
    proxy = urlsplit(configuration.proxy or "")
    websocket: Any = WebSocket(sslopt=_tls(configuration))
    try:
        websocket.connect(
            url.replace("http", "ws", 1),
            header=[f"{name}: {headers[name]}" for name in ("authorization", "User-Agent") if name in headers],
            subprotocols=[_PROTOCOL],
            suppress_origin=True,
            redirect_limit=0,
            timeout=timeout,
            # If this is None, the library reads the environment.
            http_proxy_host=proxy.hostname,
            http_proxy_port=proxy.port,
            http_proxy_auth=(proxy.username, proxy.password) if proxy.username else None,
        )
    except WebSocketBadStatusException as error:
        raise from_response(error.resp_body or b"", error.status_code, error.status_message or "") from error
    except (WebSocketException, OSError) as error:
        raise Unreachable(f"cannot forward a port through the API server at {urlsplit(url).netloc}: {error}") from error
    return websocket


def _tls(configuration: Any) -> dict[str, Any]:
    verified = {"cert_reqs": ssl.CERT_REQUIRED, "check_hostname": configuration.assert_hostname is not False}
    return {
        "ca_certs": configuration.ssl_ca_cert,
        "certfile": configuration.cert_file,
        "keyfile": configuration.key_file,
        "server_hostname": configuration.tls_server_name,
        **(verified if configuration.verify_ssl else {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}),
    }


class PodConnection:
    """One connection to a pod, with the methods of a socket that `http.client` uses.

    Reading raises NotForwarded if the pod's node cannot connect to the port; reading and sending raise Unreachable if
    the connection to the API server breaks.
    """

    def __init__(self, websocket: Any, pod: str) -> None:
        self._websocket = websocket
        self._pod = pod
        self._announced: set[int] = set()
        self._pending = b""
        self._readers = 0
        self._is_closed = False

    def sendall(self, data: bytes) -> None:
        """Send the data."""
        try:
            self._websocket.send_binary(bytes([_DATA]) + data)
        except (WebSocketException, OSError) as error:
            raise self._broken(error) from error

    def makefile(self, _mode: str) -> io.BufferedReader:
        """A reader of the pod's data."""
        self._readers += 1
        return io.BufferedReader(_Incoming(self._receive, self._reader_closed))

    def close(self) -> None:
        """Close the connection without a closing handshake, once its readers are closed.

        `http.client` closes a socket before it has read a response with `Connection: close`.
        """
        self._is_closed = True
        if not self._readers:
            self._websocket.shutdown()

    def _reader_closed(self) -> None:
        self._readers -= 1
        if self._is_closed:
            self.close()

    def _receive(self, size: int) -> bytes:
        """Up to `size` bytes, empty at the end."""
        while not self._pending:
            frame = self._frame()
            if not frame:
                return b""
            channel, data = frame[0], frame[1:]
            if channel not in self._announced:
                self._announced.add(channel)  # the first frame of each channel has the port's number
            elif channel == _ERROR:
                raise NotForwarded(f"pod {self._pod}: {data.decode(errors='replace').strip()}")
            else:
                self._pending = data
        data, self._pending = self._pending[:size], self._pending[size:]
        return data

    def _frame(self) -> bytes:
        try:
            opcode, data = self._websocket.recv_data()
        except (WebSocketException, OSError) as error:
            raise self._broken(error) from error
        return b"" if opcode == ABNF.OPCODE_CLOSE else bytes(data)

    def _broken(self, error: Exception) -> Unreachable:
        return Unreachable(f"the port-forward to pod {self._pod} broke: {error}")


class _Incoming(io.RawIOBase):
    def __init__(self, receive: Callable[[int], bytes], on_close: Callable[[], None]) -> None:
        self._receive = receive
        self._on_close = on_close

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._on_close()

    def readinto(self, buffer: Any) -> int:
        data = self._receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)
