"""The measurement of many Kanaries: what is counted, and how it is compared with the bars."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
from kanary_agent.counters import Counts
from kanary_agent.routes import _rounded

from bench.scale import agent, rows
from bench.scale.api import Api, Json, writes_in
from bench.scale.fleet import Fleet
from bench.scale.player import Player
from tests.bench.test_bench_smoke import can_run
from tests.e2e.kind import ROOT
from tests.modern.conftest import PROGRAMS

_METRICS = """
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",group="",resource="configmaps",subresource="",verb="APPLY"} 3
apiserver_request_total{code="201",group="",resource="configmaps",subresource="",verb="APPLY"} 1
apiserver_request_total{code="409",group="",resource="configmaps",subresource="",verb="APPLY"} 7
apiserver_request_total{code="200",group="",resource="kanaries",subresource="status",verb="PATCH"} 2
apiserver_request_total{code="200",group="",resource="kanaries",subresource="",verb="WATCH"} 9
apiserver_request_total{code="200",group="",resource="leases",subresource="",verb="PUT"} 50
"""


@pytest.fixture
def player(tmp_path: Path) -> Player:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("clusters: [{cluster: {server: 'http://127.0.0.1:1'}}]")
    return Player(Api(kubeconfig))


def test_only_successful_writes_of_the_operators_work_are_counted() -> None:
    assert writes_in(_METRICS) == {"APPLY configmaps": 4, "PATCH kanaries/status": 2}


def test_a_bar_applies_to_its_number_of_kanaries() -> None:
    measured = {1_000: {"idle": 1.5, "restart_writes": 0}, 3_000: {"idle": 4.5, "restart_writes": 2}}
    idle, writes = (line.split(" | ")[1:] for line in rows.many(measured).splitlines()[2:])
    assert idle == ["1.50 %, **missed**", "4.50 %", "1 % at 1,000 |"]
    assert writes == ["0, met", "2, **missed**", "0 |"]


def test_a_configuration_with_a_later_address_ends_the_earlier_waits(player: Player) -> None:
    first, second, third = (player.wait_for("web", f"10.0.0.{number}") for number in (1, 2, 11))
    player.see_config("web", "  server 10.0.0.2:9000 10.0.0.2:9000\n")
    assert [wait.seconds is None for wait in (first, second, third)] == [False, False, True]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 1_000, 2**21 - 1, 2**21, 3 * 2**20])
def test_played_agents_report_counts_when_real_ones_do(count: int) -> None:
    assert _rounded(Counts(count, 0, 0, 0, 0), count) == (agent.rounded(count), 0, agent.rounded(count))


class Server:
    """Accepts every change, as generation 2."""

    async def patch(self, *_: object) -> Json:
        return {"metadata": {"generation": 2}}


def test_a_changed_kanary_is_not_ready_with_the_status_of_before() -> None:
    fleet = Fleet(cast(Api, Server()))
    fleet.states["web"] = {"generation": 1, "status": {"phase": "Ready", "observedGeneration": 1}}

    async def change() -> None:
        await fleet.await_ready(["web"], seconds=0)
        await fleet.change_weight("web", 30)
        await fleet.await_ready(["web"], seconds=0)

    with pytest.raises(TimeoutError, match="1 Kanaries are not Ready"):
        asyncio.run(change())


@pytest.mark.skipif(
    not can_run() or not (PROGRAMS / "made-from").exists(), reason="needs root on Debian, and `make modern`"
)
def test_a_few_kanaries_are_measured() -> None:
    command = [sys.executable, "-m", "bench.scale", "--kanaries", "3", "--seconds", "4", "--only", "restart", "changes"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cells = {line.split(" | ")[0][2:]: line.split(" | ")[1] for line in done.stdout.splitlines()}
    assert cells["a restart: writes"] == "0, met"
