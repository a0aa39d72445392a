"""A network of the test's own, in which load and packet rules trouble nobody else."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

IPTABLES_RESTORE = Path(__file__).with_name("iptables-restore")

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """The calling thread, and whatever it starts, is in a new network namespace until the context ends."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _call("unshare", CLONE_NEWNET)
        try:
            _bring_loopback_up()
            yield
        finally:
            _call("setns", before, CLONE_NEWNET)
    finally:
        os.close(before)


def why_not() -> str:
    """Why this user can have no network of its own; empty if it can."""
    if os.geteuid() != 0:
        return "needs root, who may make a network namespace"
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode != 0:
        return "needs a root that may make a network namespace"
    # Installed, where it is missing, while there still is a network to get it from.
    found = subprocess.run([IPTABLES_RESTORE, "--version"], check=False, capture_output=True)
    if found.returncode != 0:
        return f"needs iptables: {found.stderr.decode().strip()}"
    # Tried in a namespace of its own: this host's rules are none of a test's business.
    command = ["unshare", "--net", str(IPTABLES_RESTORE), "--noflush"]
    tried = subprocess.run(command, input=b"*nat\nCOMMIT\n", check=False, capture_output=True)
    return f"needs iptables with NAT: {tried.stderr.decode().strip()}" if tried.returncode != 0 else ""


def apply_rules(text: str) -> None:
    """Changes the packet rules of this network, all at once, as kube-proxy does."""
    subprocess.run([IPTABLES_RESTORE, "--noflush"], input=text.encode(), check=True)


def _bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        (flags,) = struct.unpack_from("h", answer, 16)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def _call(name: str, *arguments: int) -> None:
    # Python has these from 3.12 on.
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
