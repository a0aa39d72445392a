"""Pods that go wrong."""

from __future__ import annotations

import asyncio
import socket
import time

from engine.render.config import Server
from tests.agent.moods import break_off
from tests.haproxy.pods import Pods, greet_and_echo
from tests.held.namespace import apply_rules


class UnrulyPods(Pods):
    """Pods that reset connections, drop packets or vanish when told. They refuse when killed, as all pods do."""

    def __init__(self) -> None:
        super().__init__(self._talk_as_told)
        self._resetting: set[Server] = set()
        self._conversations: dict[Server, set[asyncio.StreamWriter]] = {}
        self._backlogs: dict[Server, socket.socket] = {}
        self._accepting: set[asyncio.Task[object]] = set()

    def reset(self, *servers: Server) -> None:
        """From now on these accept each connection, and reset it before they say anything."""
        self._resetting |= set(servers)

    def drop(self, *servers: Server) -> None:
        """Nothing reaches these any more, nor comes from them."""
        drop_packets(*(server.address for server in servers))

    def let_through(self, *servers: Server) -> None:
        _filter("D", *(server.address for server in servers))

    def vanish(self, *servers: Server) -> None:
        """These are killed with their conversations, and their addresses lead nowhere."""
        self.kill(*servers)
        self._await(self._reset_conversations(servers))
        self.drop(*servers)

    def add_with_backlog(self, address: str, backlog: int) -> Server:
        """A pod that can stall, for which the kernel establishes about as many connections that it has not accepted."""
        listening = socket.create_server((address, 0), backlog=backlog)
        listening.setblocking(False)
        server = Server(*listening.getsockname()[:2])
        self._backlogs[server] = listening
        self._loop.call_soon_threadsafe(self._start_accepting, listening)
        return server

    def stall(self, server: Server, seconds: float) -> None:
        """Returns after that time, in which the pod accepts nothing."""
        listening = self._backlogs[server]
        self._loop.call_soon_threadsafe(self._loop.remove_reader, listening)
        time.sleep(seconds)
        self._loop.call_soon_threadsafe(self._start_accepting, listening)

    def _start_accepting(self, listening: socket.socket) -> None:
        self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.setblocking(False)
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._talk_as_told)
        accepting = self._loop.create_task(self._loop.connect_accepted_socket(lambda: protocol, connection))
        self._accepting.add(accepting)
        accepting.add_done_callback(self._accepting.discard)

    async def _talk_as_told(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = Server(*writer.get_extra_info("sockname")[:2])
        if server in self._resetting:
            break_off(writer)
            return
        conversations = self._conversations.setdefault(server, set())
        conversations.add(writer)
        try:
            await greet_and_echo(reader, writer)
        finally:
            conversations.discard(writer)

    async def _reset_conversations(self, servers: tuple[Server, ...]) -> None:
        for server in servers:
            for writer in self._conversations.get(server, ()):
                break_off(writer)


def drop_packets(*addresses: str) -> None:
    """From now on, nothing reaches these addresses, nor comes from them."""
    _filter("A", *addresses)


def _filter(change: str, *addresses: str) -> None:
    # Where packets come in: one that is dropped on its way out is an error to its sender.
    rules = [f"-{change} INPUT -{end} {address}/32 -j DROP" for address in addresses for end in ("d", "s")]
    apply_rules("\n".join(["*filter", *rules, "COMMIT"]) + "\n")
