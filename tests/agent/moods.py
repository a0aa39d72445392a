"""Pods that end their conversations in ways of their own, and clients that do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable, Iterator

from engine.render.config import Server
from tests.haproxy.pods import Pods, Talk, greet_and_echo
from tests.haproxy.proxies import Proxy

RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Visit = Callable[[socket.socket], object]


class MoodyPods(Pods):
    """Pods that talk as they are told, and greet and echo before that."""

    def __init__(self) -> None:
        super().__init__(self._talk_by_mood)
        self._moods: dict[Server, Talk] = {}

    def put(self, mood: Talk, *servers: Server) -> None:
        self._moods.update(dict.fromkeys(servers, mood))

    async def _talk_by_mood(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = Server(*writer.get_extra_info("sockname")[:2])
        with contextlib.suppress(ConnectionError):
            await self._moods.get(server, greet_and_echo)(reader, writer)
        writer.close()


# What pods do


async def reset_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    break_off(writer)


async def reset_when_asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    break_off(writer)


async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # To close what has bytes that were not read would be to reset it, and on a busy machine some are there by now.
    writer.write_eof()
    await swallow(reader, writer)


async def close_when_asked(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(100)


async def answer_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(100))


async def answer_and_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(100))
    # What is in flight when it resets is lost.
    await asyncio.sleep(0.002)
    break_off(writer)


async def answer_and_reset_when_confirmed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(100))
    await reader.read(100)
    break_off(writer)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)


async def swallow(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(100):
        pass


async def swallow_and_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await swallow(reader, writer)
    break_off(writer)


async def reset_some(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await (reset_at_once if random.random() < 0.3 else answer_and_close)(reader, writer)


def break_off(writer: asyncio.StreamWriter) -> None:
    """Resets the connection."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()


# What clients do


def ask(connection: socket.socket) -> bool:
    """Whether there is an answer."""
    connection.sendall(b"hello\n")
    return connection.recv(100) != b""


def ask_and_wait_for_the_end(connection: socket.socket) -> None:
    connection.sendall(b"hello\n")
    while connection.recv(100):
        pass


def ask_and_confirm(connection: socket.socket) -> None:
    connection.sendall(b"hello\n")
    connection.recv(100)
    connection.sendall(b"thanks\n")
    while connection.recv(100):
        pass


def listen(connection: socket.socket) -> None:
    connection.recv(100)


def send_the_last_byte_first(connection: socket.socket) -> None:
    connection.sendall(b"hello\n")
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(100):
        pass


def tell(connection: socket.socket) -> None:
    connection.sendall(b"hello\n" * 300)


def leave(_: socket.socket) -> None:
    pass


def reset(connection: socket.socket) -> None:
    connection.sendall(b"hello\n")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


def visits(proxy: Proxy, visit: Visit, count: int) -> Iterator[bool]:
    """How each of so many visits, one after the other, went."""
    for _ in range(count):
        went_well = False
        with contextlib.suppress(ConnectionError), proxy.connect() as connection:
            went_well = bool(visit(connection))
        yield went_well


def failures(proxy: Proxy, count: int) -> int:
    """How many of so many clients that ask get no answer."""
    return count - sum(visits(proxy, ask, count))
