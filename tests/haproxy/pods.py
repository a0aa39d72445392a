"""TCP servers on loopback that stand for pods: each says which one it is."""

from __future__ import annotations

import asyncio
import ctypes
import select
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from engine.model.weight import read_weight
from engine.render.config import Pool, Server
from tests.haproxy.proxies import free_port
from tests.waiting import PATIENCE

# Every form that the port of a backend has: a name, a number, and a name of digits only.
_PORTS = "http", "9090", "_9090"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def greet_and_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks first, with the pod's address; echoes; says "bye" after the client's last byte."""
    address, port = writer.get_extra_info("sockname")[:2]
    writer.write(f"{address} {port}\n".encode())
    try:
        while data := await reader.read(4096):
            writer.write(data)
        writer.write(b"bye")
        await writer.drain()
    except ConnectionError:
        pass  # A client that only wanted to know the pod's name is gone by now.
    finally:
        writer.close()


class Pods:
    """Pods at addresses of their own in 127/8, served by one thread until the context ends.

    All have the same port, which nobody else takes: not even while a pod is killed, where it would revive the pod.
    """

    def __init__(self, talk: Talk = greet_and_echo) -> None:
        self._talk = talk
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listeners: dict[Server, asyncio.Server] = {}
        self._routes = 0
        self._port = free_port()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._await(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def route(self, weight: float, pods: int) -> Pool:
        """A route to as many new pods, in a /24 of its own."""
        self._routes += 1
        servers = tuple(self.add(f"127.{self._routes}.0.{number}") for number in range(1, pods + 1))
        return Pool(f"app-v{self._routes}:{_PORTS[self._routes % 3]}", read_weight(weight), servers)

    def add(self, address: str) -> Server:
        server = Server(address, self._port)
        self._listeners[server] = self._await(asyncio.start_server(self._talk, address, self._port, backlog=1024))
        return server

    def kill(self, *servers: Server) -> None:
        """From now on these refuse connections. Those that they have are kept."""
        for server in servers:
            self._await(self._close(self._listeners.pop(server)))

    def revive(self, *servers: Server) -> None:
        for server in servers:
            self.add(server.address)

    def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=PATIENCE)

    async def _close(self, listener: asyncio.Server) -> None:
        # When a listener closes, the kernel resets what it has established and the listener has not accepted yet.
        for listening in listener.sockets:
            _drop_handshakes(listening)
        while any(map(_has_waiting, listener.sockets)):
            await asyncio.sleep(0)
        # What asyncio has accepted in this turn it starts to serve in the next one, which a closed listener prevents.
        await asyncio.sleep(0)
        listener.close()

    async def _end(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        conversations = asyncio.all_tasks() - {asyncio.current_task()}
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)


def _drop_handshakes(listening: socket.socket) -> None:
    """Establishes no more connections; a client's next try finds the listener closed."""
    # Classic BPF, on the TCP header: if its flags (byte 13) have SYN, keep 0 bytes of the packet, else all.
    steps = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    attach_filter = 26  # SO_ATTACH_FILTER
    listening.setsockopt(socket.SOL_SOCKET, attach_filter, struct.pack("HP", len(steps), ctypes.addressof(program)))


def _has_waiting(listening: socket.socket) -> bool:
    """Whether connections are established that it has not accepted."""
    ready = select.poll()
    ready.register(listening, select.POLLIN)
    return bool(ready.poll(0))
