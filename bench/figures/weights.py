"""Many changes of weights in a running proxy: what clients lose, and what they see of each."""

from __future__ import annotations

import sys

from bench.programs import ROOT
from bench.session import Session, say
from bench.stats import table

WINDOW = 100

_TEXT = f"""
One proxy with three routes over 6 pods. Its weights change again and again, to any whole weights, in the way of the
agent. One client opens connections all the time, one after the other; after each change {WINDOW} of them are compared
with the weights. Others hold a connection each. The tests do the same with fewer changes
(`tests/agent/test_agent_weights.py`).
"""


def measure(session: Session) -> str:
    """The section."""
    # The agent is a program of its own, and no package of this environment.
    sys.path.append(str(ROOT / "images" / "haproxy" / "agent"))
    from tests.agent.live import live  # noqa: PLC0415
    from tests.agent.reweighting import HELD, change_weights  # noqa: PLC0415
    from tests.haproxy.pods import Pods  # noqa: PLC0415
    from tests.haproxy.proxies import config_of  # noqa: PLC0415

    changes = session.scale.changes
    say(f"weights: {changes} changes")
    with Pods() as pods:
        config = config_of(pods.route(100, 2), pods.route(0, 1), pods.route(0, 3), drain_seconds=1)
        with live(config) as proxy:
            found = change_weights(proxy, changes, WINDOW)
    rows = [
        ["changes of weights", f"{changes:,}", ""],
        ["new connections", f"{found.served + found.failed:,}", ""],
        ["of these failed", *_none(found.failed)],
        [f"of {HELD} held connections cut", *_none(found.cut)],
        ["new HAProxy processes", *_none(found.processes)],
        [f"windows of {WINDOW} connections that did not have exactly the weights", *_none(found.inexact)],
    ]
    return f"{_TEXT.strip()}\n\n{table(['', 'count', 'bar: 0'], rows)}"


def _none(count: int) -> list[str]:
    return [f"{count:,}", "missed" if count else "met"]
