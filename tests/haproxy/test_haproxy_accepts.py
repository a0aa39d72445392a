from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings

from engine.render.config import OnEmptyRoute, Pool, ProxyConfig, Server
from engine.render.haproxy import render
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
    checked = verdict(render(ProxyConfig(routes, OnEmptyRoute.REDISTRIBUTE, 3600, 60)).text, folder)
    assert checked.returncode == 0, checked.stderr


def test_the_check_notices_a_warning(folder: Path) -> None:
    """The control: what the property above relies on."""
    routes = (Pool("app:http", 100, (Server("10.0.0.1", 80),)),)
    text = render(ProxyConfig(routes, OnEmptyRoute.REDISTRIBUTE, 3600, 60)).text
    assert verdict(text.replace("  timeout connect 500ms\n", ""), folder).returncode != 0
