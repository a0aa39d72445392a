"""Configurations that the operator sends. Any pod of the cluster can reach the agent, so each has a signature.

The operator's public key is mounted beside the configuration. Only `openssl` verifies, one configuration at a time.
The head of a request is checked first: it must contain the uid of the Kanary, which only its readers can know, and a
newer serial. After a false signature a host must wait before it can send again, so that a flood costs little and does
not block the operator.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

from kanary_agent import files, texts
from kanary_agent.program import Program
from kanary_agent.texts import Origin

MAX_BYTES = 2**20
"""The largest ConfigMap."""
WAITING = 4
"""How many configurations may wait for their verification, each from another host."""
VERIFY_SECONDS = 5
"""Time-out. A verification takes some milliseconds."""
BLAME_SECONDS = (1, 64)
"""How long a host waits after its first false signature, and at most; the time doubles with each."""
BLAMED_HOSTS = 256

ACCEPTED, CONTINUE = 202, 100
BAD_REQUEST, OTHER_KANARY, NOT_NEWER, TOO_LARGE, BUSY = 400, 403, 409, 413, 503


class Offer(NamedTuple):
    """What the head of a request claims about its configuration."""

    origin: Origin
    signature: bytes
    length: int


def read_offer(headers: dict[str, str]) -> Offer | None:
    """The offer in the headers of a request, by their names in lower case; None if they are invalid."""
    kanary, _, serial = headers.get("kanary-configuration", "").partition(" ")
    try:
        origin, length = Origin(kanary, int(serial)), int(headers["content-length"])
        return Offer(origin, bytes.fromhex(headers["kanary-signature"]), length) if length >= 0 else None
    except (KeyError, ValueError):
        return None


class Inbox:
    """Verifies configurations with the key in the file `key`, in `folder`.

    `newest` returns the origin of the newest configuration that the agent has: only newer ones are accepted.
    """

    def __init__(self, key: str, folder: str, newest: Callable[[], Origin], openssl: str = "openssl") -> None:
        self._key = files.Watched(key)
        self._latest_key: str | None = None
        self._folder = folder
        self._newest = newest
        self._openssl = openssl
        self._waiting: dict[str, tuple[Offer, bytes]] = {}
        """By host, in the order of arrival."""
        self._verification: tuple[Program, str, str] | None = None
        """The process, and the host and the text that it verifies."""
        self.proven_host = ""
        """The host that has sent the last authentic configuration."""
        self._blamed: dict[str, tuple[int, float]] = {}
        """By host: how many false signatures in a row it has sent, and when it may send again."""

    @property
    def is_busy(self) -> bool:
        """Whether a verification runs or waits."""
        return self._verification is not None or bool(self._waiting)

    def status_of(self, offer: Offer | None, host: str, now: float) -> int:
        """The HTTP status for this offer, from its claims alone: CONTINUE if its configuration may be sent."""
        if offer is None:
            return BAD_REQUEST
        if offer.length > MAX_BYTES:
            return TOO_LARGE
        self._forgive_if_key_changed()
        newest = self._newest()
        if not newest.kanary or offer.origin.kanary != newest.kanary:
            return OTHER_KANARY
        if offer.origin.serial <= newest.serial:
            return NOT_NEWER
        is_early = now < self._blamed.get(host, (0, 0.0))[1]
        is_full = len(self._waiting) >= WAITING and host not in self._waiting
        return BUSY if is_early or is_full or not self._key.text() else CONTINUE

    def receive(self, offer: Offer, content: bytes, host: str, now: float) -> int:
        """Have a configuration verified; returns the HTTP status. It replaces one of this host that still waits."""
        status = self.status_of(offer, host, now)
        if status != CONTINUE:
            return status
        if texts.origin_of(_text(content)) != offer.origin:
            self._blame(host, now)
            return BAD_REQUEST
        self._waiting[host] = offer, content
        return ACCEPTED

    def take(self, now: float) -> str:
        """An authentic configuration that has arrived, or ''."""
        if self._verification:
            return self._conclude(*self._verification, now)
        if self._waiting:
            host = next(iter(self._waiting))
            try:
                self._verify(*self._waiting.pop(host), host, now)
            except OSError as error:
                # The disk is full, or there is no memory for a process. The operator sends it again.
                print(f"cannot verify a configuration: {error}", flush=True)
        return ""

    def stop(self) -> None:
        """Stop a verification that runs."""
        if self._verification:
            self._verification[0].stop()

    def _verify(self, offer: Offer, content: bytes, host: str, now: float) -> None:
        if self.status_of(offer, host, now) != CONTINUE:
            # A newer one, or a false signature, has arrived meanwhile.
            return
        os.makedirs(self._folder, exist_ok=True)
        text, signature, log = (os.path.join(self._folder, name) for name in ("haproxy.cfg", "signature", "log"))
        files.write(text, content)
        files.write(signature, offer.signature)
        command = [self._openssl, "pkeyutl", "-verify", "-pubin", "-inkey", self._key.path, "-rawin"]
        program = Program([*command, "-in", text, "-sigfile", signature], log, now + VERIFY_SECONDS)
        self._verification = program, host, _text(content)

    def _conclude(self, program: Program, host: str, text: str, now: float) -> str:
        try:
            code = program.code(now)
        except TimeoutError:
            code = -1
        if code is None:
            return ""
        self._verification = None
        if code == 0:
            self._blamed.pop(host, None)
            self.proven_host = host
            return text
        if code > 0:
            self._blame(host, now)
        print(f"not verified: a configuration from {host}, code {code}", flush=True)
        return ""

    def _forgive_if_key_changed(self) -> None:
        """An operator with a new key sends false signatures until the kubelet mounts it."""
        key = self._key.text()
        if key != self._latest_key:
            self._latest_key = key
            self._blamed.clear()

    def _blame(self, host: str, now: float) -> None:
        times = self._blamed.pop(host, (0, 0.0))[0] + 1
        least, most = BLAME_SECONDS
        self._blamed[host] = times, now + min(least * 2 ** (times - 1), most)
        if len(self._blamed) > BLAMED_HOSTS:
            del self._blamed[next(iter(self._blamed))]


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")
