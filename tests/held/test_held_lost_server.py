"""An API server that vanishes without a sign: no watch waits for its read time-out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kanary.kube import client
from kanary.kube.client import ClusterClient, Timeouts, Unreachable
from kanary.kube.resources import SERVICES
from tests.held.unruly import drop_packets
from tests.unit.responder import Stream, responding, write_kubeconfig
from tests.waiting import PATIENCE

LOST_SECONDS = 6
EVENT = b'{"type":"ADDED","object":{"metadata":{"name":"web","resourceVersion":"1"}}}\n'


def test_a_watch_ends_if_the_server_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_LOST_SECONDS", LOST_SECONDS)
    with responding() as server:
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", server.url)
        cluster = ClusterClient.connect(kubeconfig=kubeconfig, timeouts=Timeouts(watch=PATIENCE))
        server.say(Stream((EVENT,), then="hang"))
        events = iter(cluster.watch(SERVICES, "1", timeout_seconds=PATIENCE))
        assert next(events)[1]["metadata"]["name"] == "web"
        drop_packets("127.0.0.1")
        began = time.monotonic()
        with pytest.raises(Unreachable, match="timed out"):
            next(events)
        assert time.monotonic() - began < PATIENCE / 2
