"""Simulates verdicts on canaries: `python -m bench.verdicts [--rollouts N]`. Writes the tables of docs/verdicts.md.

Nothing is measured but numbers of connections, so they are the same on every machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from random import Random

from bench.choices import choices
from bench.failures import Failure, Stretch, failures
from bench.judges import Judge, fisher, kanary, mann_whitney, repeated_fisher, threshold
from bench.programs import ROOT
from bench.report import replace_section
from bench.session import say
from bench.stats import figures, table
from states.evidence import Analysis, Counts, Sample, Tolerance, VerdictKind, judge

PAGE = ROOT / "docs" / "verdicts.md"
MOST = 400_000
"""Connections of a rollout, to the canary and the others."""
LEVEL = 0.001
STEPS = 4
DEFAULTS = Analysis(LEVEL, Tolerance(ratio=1.5, fraction=0.001), detect=0.01)
STRICT = Analysis(LEVEL, Tolerance(ratio=1, fraction=0), detect=0.01)
SHARES = 0.01, 0.05, 0.2, 0.5
RISES = (0.001, 0.5), (0.001, 0.05), (0.001, 0.01), (0.001, 0.003), (0.01, 0.02)
"""The failing fractions of the others' connections and of a bad canary's."""
POWER = 0.95


def main() -> None:
    """Simulate and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.verdicts", description=__doc__)
    parser.add_argument("--rollouts", type=int, default=500, help="how many are simulated for each number")
    rollouts = parser.parse_args().rollouts
    for name, make in TABLES.items():
        say(name)
        replace_section(PAGE, name, make(rollouts))


def defaults(rollouts: int) -> str:
    """How many connections it takes with the defaults until a bad canary fails."""
    convict = kanary(DEFAULTS, STEPS)
    rows = [[_rise(rise), *(_needed(convict, rise, share, rollouts) for share in SHARES)] for rise in RISES]
    return table(["others → canary fail", *map(_per_cent, SHARES)], rows)


def passing(_: int) -> str:
    """How many connections a step of a good canary needs until it passes."""
    cases = [(rate, detect) for detect in (0.01, 0.05) for rate in (0, 0.001, 0.003)]
    rows = [
        [_per_cent(rate), _per_cent(detect), *(_until_passed(rate, detect, share) for share in SHARES)]
        for rate, detect in cases
    ]
    return table(["all fail", "`detect`", *map(_per_cent, SHARES)], rows)


def peers(rollouts: int) -> str:
    """How many connections it takes until a bad canary is convicted, for each way to judge."""
    judges: list[Judge] = [kanary(STRICT, 1), threshold, mann_whitney]
    rows = [
        [
            _rise(rise),
            _per_cent(share),
            _needed(judges[0], rise, share, rollouts),
            _fixed_horizon(rise, share, rollouts),
            *(_needed(each, rise, share, rollouts) for each in judges[1:]),
        ]
        for rise in RISES
        for share in SHARES
    ]
    header = ["others → canary fail", "share", "Kanary", "Fisher, one look", "threshold", "Mann-Whitney U"]
    return table(header, rows)


def false_alarms(rollouts: int) -> str:
    """How many rollouts of a version that fails as often as the others are ended, for each way to judge."""
    judges: dict[str, Judge] = {
        "Kanary, `falseAlarms: 0.001`": kanary(STRICT, 1),
        "Kanary, `falseAlarms: 0.05`": kanary(Analysis(0.05, STRICT.tolerance, STRICT.detect), 1),
        "Kanary, defaults, the first of 4 steps": kanary(DEFAULTS, STEPS),
        "Fisher's exact test at 0.001, repeated": repeated_fisher(LEVEL),
        "Fisher's exact test at 0.05, repeated": repeated_fisher(0.05),
        "threshold of 1 %": threshold,
        "Mann-Whitney U test at 0.01, repeated": mann_whitney,
    }
    histories: dict[str, list[Stretch]] = {
        "0.1 % fail": [_alike(200_000, 0.001)],
        "1 % fail": [_alike(200_000, 0.01)],
        "0.1 %, and 10 % of 5,000 connections": [_alike(97_500, 0.001), _alike(5_000, 0.1), _alike(97_500, 0.001)],
        "rises from 0.1 % to 2 % and falls again": [
            _alike(10_000, 0.001 * 20 ** (1 - abs(part - 9.5) / 9.5)) for part in range(20)
        ],
    }
    rows = [
        [name, *(str(_convicted(each, history, rollouts)) for history in histories.values())]
        for name, each in judges.items()
    ]
    return table([f"of {rollouts} rollouts", *histories], rows)


def _needed(convict: Judge, rise: tuple[float, float], share: float, rollouts: int) -> str:
    """The median and 95 %."""
    found = sorted(_convictions(convict, [_bad(rise)], share, rollouts))
    middle, most = (found[min(int(part * rollouts), rollouts - 1)] for part in (0.5, POWER))
    return f"{_connections(middle)}; {_connections(most)}"


def _convictions(convict: Judge, history: Sequence[Stretch], share: float, rollouts: int) -> list[int]:
    """After how many connections; more than MOST for never."""
    total = sum(stretch.connections for stretch in history)
    made = (failures(history, share, Random(number)) for number in range(rollouts))
    return [convict(each, share, total) or MOST + 1 for each in made]


def _convicted(convict: Judge, history: Sequence[Stretch], rollouts: int) -> int:
    return sum(found <= MOST for found in _convictions(convict, history, 0.2, rollouts))


def _fixed_horizon(rise: tuple[float, float], share: float, rollouts: int) -> str:
    """After how many connections Fisher's exact test convicts with POWER if it is done once; to 2 %."""

    def is_enough(connections: int) -> bool:
        history = [_bad(rise, connections)]
        return (
            _convictions(partial(_once, connections), history, share, rollouts).count(connections) >= POWER * rollouts
        )

    high = 10
    while not is_enough(high):
        high *= 2
        if high > MOST:
            return _connections(high)
    low = high // 2
    while high - low > max(1, high / 50):
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return _connections(high)


def _once(connections: int, found: Iterable[Failure], share: float, _: int) -> int | None:
    is_canary = [failure.is_canary for failure in found]
    to_canary, failed = round(connections * share), sum(is_canary)
    counts = Counts(to_canary, failed), Counts(connections - to_canary, len(is_canary) - failed)
    return connections if failed <= to_canary and fisher(*counts) < LEVEL else None


def _until_passed(rate: float, detect: float, share: float) -> str:
    """With as many failures as are expected."""
    analysis = Analysis(LEVEL, DEFAULTS.tolerance, detect)

    def is_passed(connections: int) -> bool:
        canary, others = (
            Counts(round(part), round(part * rate)) for part in (connections * share, connections * (1 - share))
        )
        return judge([Sample(canary, others, share)], analysis, STEPS).kind is VerdictKind.PASSED

    low, high = 0, 1
    while not is_passed(high):
        low, high = high, 2 * high
    while high - low > max(1, high / 100):
        middle = (low + high) // 2
        low, high = (low, middle) if is_passed(middle) else (middle, high)
    return _connections(high)


def _alike(connections: int, rate: float) -> Stretch:
    return Stretch(connections, rate, rate)


def _bad(rise: tuple[float, float], connections: int = MOST) -> Stretch:
    others, canary = rise
    return Stretch(connections, canary, others)


def _rise(rise: tuple[float, float]) -> str:
    return " → ".join(map(_per_cent, rise))


def _per_cent(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def _connections(number: int) -> str:
    return "never" if number > MOST else figures(number) if number >= 1000 else str(number)  # noqa: PLR2004 -- below, all digits are few


TABLES: dict[str, Callable[[int], str]] = {
    "defaults": defaults,
    "passing": passing,
    "peers": peers,
    "false_alarms": false_alarms,
    "choices": lambda rollouts: choices(max(1, rollouts // 5)),
}
"""By the name of their place in the page; each made from a number of rollouts."""


if __name__ == "__main__":
    main()
