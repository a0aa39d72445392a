from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from kanary_agent.rollback_plan import rolled_back

from engine.model.weight import read_weight
from engine.render.config import Balance, OnEmptyRoute, Pool, ProxyConfig, Server
from engine.render.haproxy import render
from engine.render.rollback import RollbackPlan
from tests.haproxy.proxies import HAPROXY
from tests.haproxy.strategies import configs


def verdict(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What HAProxy says to a configuration when even warnings are errors."""
    file = folder / "haproxy.cfg"
    file.write_text(text)
    return subprocess.run([HAPROXY, "-dW", "-c", "-f", file], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checked")


@settings(max_examples=50, deadline=None)
@given(configs())
def test_haproxy_accepts_every_configuration_without_a_warning(folder: Path, config: ProxyConfig) -> None:
    checked = verdict(render(config).text, folder)
    assert checked.returncode == 0, checked.stderr


def test_haproxy_accepts_five_thousand_servers_and_a_hundred_routes_of_the_longest_names(folder: Path) -> None:
    routes = tuple(
        Pool(f"{'v' * 61}{route:02}:_{'9' * 15}", 1, tuple(Server(f"10.0.{route}.{pod}", 80) for pod in range(50)))
        for route in range(100)
    )
    names = [route.backend for route in routes]
    good, canaries = dict.fromkeys(names[:50], read_weight(2)), {name: {7: 0.1, 8: 1 / 3} for name in names[50:]}
    plan = RollbackPlan(good, canaries, tuple(good), 3, 1e-6, 1.5, 0.001)
    config = ProxyConfig(routes, OnEmptyRoute.REDISTRIBUTE, 3600, 60, watched=8, rollback=plan)
    text = render(config).text
    assert rolled_back(text) != text
    for each in (text, rolled_back(text)):
        checked = verdict(each, folder)
        assert checked.returncode == 0, checked.stderr


def test_the_check_notices_a_warning(folder: Path) -> None:
    """The control: what the property above relies on."""
    routes = (Pool("app:http", 100, (Server("10.0.0.1", 80),)),)
    text = render(ProxyConfig(routes, OnEmptyRoute.REDISTRIBUTE, 3600, 60)).text
    assert verdict(text.replace("  timeout connect 500ms\n", ""), folder).returncode != 0


@pytest.mark.parametrize(
    "versions",
    [
        "version_atleast(3.2-dev0) && version_before(3.2.19)",
        "version_atleast(3.3-dev0) && version_before(3.4)",
    ],
)
def test_versions_that_hang_with_leastconn_refuse_it_and_no_other(folder: Path, versions: str) -> None:
    """With this version among them: it refuses leastconn alone, and says what to do."""
    routes = (Pool("app:http", 100, (Server("10.0.0.1", 80),)),)
    for balance in Balance:
        text = render(ProxyConfig(routes, OnEmptyRoute.REDISTRIBUTE, 3600, 60, balance=balance)).text
        assert verdict(text, folder).returncode == 0
        checked = verdict(text.replace(versions, "version_atleast(3.0)"), folder)
        assert (checked.returncode != 0) == (balance is Balance.LEAST_CONNECTIONS)
        assert ("use another version, or balance roundrobin" in checked.stderr) == (checked.returncode != 0)
