"""Reading configurations and messages of HAProxy, and adding to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from kanary_agent import files, texts

from engine.render.config import Pool, ProxyProtocol, Server
from engine.render.haproxy import render
from tests.agent.configs import reweighted
from tests.haproxy.proxies import config_of

LOG = """\
[NOTICE]   (12361) : haproxy version is 3.0.11-1+deb13u4
[NOTICE]   (12361) : path to executable is /usr/sbin/haproxy
[ALERT]    (12361) : config : parsing [/run/kanary/check/haproxy.cfg:2] : unknown keyword 'bogus' in 'global' section
[ALERT]    (12361) : config : parsing [/run/kanary/check/haproxy.cfg:3] : unknown fetch method 'nope'
[ALERT]    (12361) : config : Error(s) found in configuration file : /run/kanary/check/haproxy.cfg
[ALERT]    (12361) : config : Fatal errors found in configuration.
[WARNING]  (12361) : Loading failure!
"""


def test_the_digest_of_a_rendered_configuration_is_read_from_it() -> None:
    config = config_of(Pool("app:_9090", 100, (Server("127.0.0.1", 80),)))
    assert texts.digest_of(render(config).text) == render(config).digest


def test_the_last_digest_counts_as_it_does_for_haproxy() -> None:
    assert texts.digest_of("global\n set-var proc.digest str(a1)\nglobal\n set-var proc.digest str(b2)\n") == "b2"


@pytest.mark.parametrize("text", ["", "global\n", "# set-var proc.digest str(a1)\n"])
def test_a_text_without_a_digest_has_none(text: str) -> None:
    assert texts.digest_of(text) == ""


def test_plain_removes_what_continued_adds() -> None:
    text = "global\n  set-var proc.start int(0)\n\ndefaults\n  mode tcp\n"
    for counts in ({"proc.start": 7}, {}):
        added = texts.continued(text, counts, "/run/kanary/servers.state")
        assert ("set-var proc.start int(7)" in added) == bool(counts)
        assert "defaults\n  load-server-state-from-file global\n" in added
        assert texts.plain(added) == texts.plain(text) == text


def test_alerts_are_haproxys_lines_without_folders_process_numbers_and_summaries() -> None:
    assert texts.alerts(LOG, "/run/kanary/check") == (
        "config : parsing [haproxy.cfg:2] : unknown keyword 'bogus' in 'global' section; "
        "config : parsing [haproxy.cfg:3] : unknown fetch method 'nope'"
    )


def test_the_summary_is_used_if_there_is_no_other_line() -> None:
    assert texts.alerts("[ALERT]    (1) : config : Fatal errors found in configuration.\n", "/run") == (
        "config : Fatal errors found in configuration."
    )


def test_a_log_without_alerts_is_used_unchanged() -> None:
    assert texts.alerts("Segmentation\n  fault\n", "/run") == "Segmentation fault"
    assert texts.alerts("", "/run") != ""


def test_many_alerts_are_cut_to_the_limit_of_a_status() -> None:
    message = texts.alerts(LOG * 100, "/run/kanary/check")
    assert len(message) == texts.MESSAGE_LIMIT
    assert message.startswith("config : parsing [haproxy.cfg:2]")


def test_any_bytes_survive_being_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)))
    text = files.Watched(str(path)).text()
    assert text is not None
    files.write(str(path), text)
    assert path.read_bytes() == bytes(range(256))


def test_servers_are_split_from_all_other_lines_without_their_common_parameters() -> None:
    one, other = Server("127.0.0.1", 80), Server("::1", 81)
    config = config_of(Pool("app:_9090", 100, (one,)), ipv6=True)
    moved = replace(config, routes=(Pool("app:_9090", 100, (other,)),))
    announced = replace(config, routes=(Pool("app:_9090", 100, (other,), ProxyProtocol.V2),))
    first, second, third = (texts.parts_of(render(each).text) for each in (config, moved, announced))
    assert first.servers.keys() == {("a", "127.0.0.1:80")}
    assert second.servers["a", "::1:81"].startswith("[::1]:81 tcp-ut 240s check inter 2s ")
    assert third.servers["a", "::1:81_V2"].startswith("[::1]:81 send-proxy-v2 tcp-ut 240s check inter 2s ")
    assert first.fixed == second.fixed == third.fixed
    assert "  option clitcpka" in first.fixed


def test_a_server_has_the_parameters_of_the_defaults_and_its_own() -> None:
    text = """\
defaults
  default-server check inter 2s
backend a
  server x 10.0.0.1:80 send-proxy
backend b
  server x 10.0.0.1:80 weight 2
"""
    assert texts.parts_of(text).servers == {
        ("a", "x"): "10.0.0.1:80 send-proxy check inter 2s",
        ("b", "x"): "10.0.0.1:80 weight 2 check inter 2s",
    }


def test_weights_are_split_from_all_other_lines() -> None:
    pools = [Pool(f"app-v{number}:http", 50, (Server(f"127.0.0.{number}", 80),)) for number in (1, 2)]
    config = config_of(*pools)
    first, second = (render(each).text for each in (config, reweighted(config, 0, 100)))
    assert texts.parts_of(first).fixed == texts.parts_of(second).fixed
    assert texts.split_of(first) != texts.split_of(second) == "b" * 1000 + "000100000001"
    assert texts.parts_of(second).variables["proc.split"] == f"str({texts.split_of(second)})"
