"""The peers' configurations, as text."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from bench.figures.split import worst_error
from bench.mixes import HUNDRED, SIX, TEN, TWO, Mix, address, route_of
from bench.peers.haproxy import best_integers, integers, kanary, plain, plain_without_keepalive, truncated
from bench.peers.kernel import rules, services
from bench.peers.nginx import text
from bench.processes import cpu_seconds
from bench.stats import Spread, figures, ratios

PORTS = (20000, 20001)
FEW_AGAINST_MANY = Mix((99, 1), (1, 50))

every_mix = pytest.mark.parametrize("mix", SIX, ids=str)


def weights_of(text: str) -> list[str]:
    return re.findall(r"^  server .* weight (\S+)$", text, re.MULTILINE)


@every_mix
def test_every_configuration_has_every_pod(mix: Mix) -> None:
    pods = sorted(f"{pod}:9000" for _, pods in mix.routes() for pod in pods)
    made = [make(mix, 9000, PORTS) for make in (kanary, plain, truncated, integers)]
    made += [text(mix, 9000, 20000, "module.so"), rules(mix, 9000, 20000), services(mix, 9000, 20000)]
    assert [sorted(set(re.findall(r"127\.\d+\.\d+\.\d+:9000", each))) for each in made] == [pods] * len(made)


def test_the_plain_configuration_has_the_threads_timeouts_keepalive_and_checks_of_kanarys() -> None:
    weighted, found = kanary(TWO, 9000, PORTS).splitlines(), plain(TWO, 9000, PORTS).splitlines()
    timeouts = "timeout connect", "timeout client", "timeout server"
    for setting in (*timeouts, "option clitcpka", "option srvtcpka", "thread-hard-limit", "default-server check"):
        line = next(line for line in weighted if line.strip().startswith(setting))
        assert line in found


def test_one_plain_configuration_differs_in_keepalive_only() -> None:
    found = set(plain(TWO, 9000, PORTS).splitlines()) ^ set(plain_without_keepalive(TWO, 9000, PORTS).splitlines())
    assert found == {"  option clitcpka", "  option srvtcpka"}


def test_the_cpu_time_of_a_process_is_that_of_its_own_clock() -> None:
    """Of one that runs nothing else and has no children."""
    program = "import time\nwhile time.process_time() < 0.2: pass\nprint(time.process_time(), flush=True)\ninput()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], text=True, **pipes) as process:
        assert process.stdin
        assert process.stdout
        clock = float(process.stdout.readline())
        assert cpu_seconds(process.pid) == pytest.approx(clock, abs=0.02)
        process.stdin.write("\n")


def test_the_originals_weights_are_fractions() -> None:
    assert weights_of(truncated(FEW_AGAINST_MANY, 9000, PORTS)) == ["99.0", *["0.02"] * 50]


def test_the_best_integers_are_exact_where_integers_can_be() -> None:
    assert best_integers(Mix((80, 20), (4, 1))) == [1, 1]
    assert best_integers(Mix((50, 50), (1, 10))) == [10, 1]


def test_the_best_integers_give_every_route_something() -> None:
    weights = best_integers(FEW_AGAINST_MANY)
    assert weights[1] == 1
    assert max(weights) <= 256


def test_each_rule_draws_from_what_the_former_rules_left() -> None:
    found = rules(Mix((50, 30, 20), (1, 1, 2)), 9000, 20000)
    assert re.findall(r"--probability (\S+) -j R\d", found) == ["0.5000000000", "0.6000000000"]
    assert re.findall(r"-A R2 .*--probability (\S+)", found) == ["0.5000000000"]


@every_mix
def test_ipvs_takes_all_weights(mix: Mix) -> None:
    weights = [int(weight) for weight in re.findall(r"-w (\d+)", services(mix, 9000, 20000))]
    assert all(0 < weight < 65536 for weight in weights)


def test_an_address_identifies_the_route() -> None:
    assert [route_of(address(route, pod)) for route in (0, 9) for pod in (0, 249, 250, 2499)] == [0] * 4 + [9] * 4
    assert len({address(0, pod) for pod in range(2500)}) == 2500


def test_the_worst_error_is_that_of_the_worst_route_in_the_worst_stretch() -> None:
    mix = Mix((50, 50), (1, 1))
    taken = [0, 1] * 50 + [0] * 60 + [1] * 40
    assert worst_error(taken, mix, 100) == 10
    assert worst_error(taken, mix, 200) == 10
    assert worst_error([0, 1] * 50, mix, 100) == 0


def test_a_failed_connection_counts_for_no_route() -> None:
    assert worst_error([0] * 50 + [None] * 50, Mix((50, 50), (1, 1)), 100) == 50


def test_ratios_are_taken_within_each_round() -> None:
    assert ratios([2, 40, 800], [1, 20, 400]) == Spread(2, 2, 2)
    assert str(Spread.of([1.0])) == "**1.00** (1.00 to 1.00)"


@pytest.mark.parametrize(("number", "text"), [(12345, "12,300"), (123.4, "123"), (12.34, "12.3"), (0.1234, "0.123")])
def test_figures_have_three_digits(number: float, text: str) -> None:
    assert figures(number) == text


def test_mixes_say_what_they_are() -> None:
    assert str(TWO) == "80/20 over 3/1 pods"
    assert str(TEN) == "10 routes of 10 over 1 to 10 pods"
    assert str(HUNDRED) == "100 routes of 1 over 1 pod each"
