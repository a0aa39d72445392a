"""Promise 6 on the API server of Kubernetes, in processes of their own: `make modern` makes it.

One machine has all programs, and what they need together also delays changes: the control has an operator of its own
for each namespace, so that no other namespace can delay the measured changes in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from statistics import median

import pytest

from bench.scale.tenants import CROWD, TENANT, Measured, measured
from tests.bench.test_bench_smoke import can_run
from tests.modern.conftest import PROGRAMS
from tests.tables import Table, Tell

pytestmark = pytest.mark.skipif(
    not can_run() or not (PROGRAMS / "made-from").exists(), reason="needs root on Debian, and `make modern`"
)
CHANGES = Table(
    "Promise 6: a change beside a busy namespace, on the API server of Kubernetes (CPU: cores in use meanwhile)",
    (
        "other namespace",
        "operator",
        "alone",
        "beside it",
        "ratio",
        "slowest",
        "changes",
        "took",
        *("CPU: its operator", "all others", "idle"),
        *("afterwards", "ratio"),
    ),
)
IS_FULL = os.environ.get("KANARY_PROMISES") == "full"
CASES = {
    **{f"{count} Kanaries, all created at once": (count, 0) for count in ((150, 500) if IS_FULL else (150,))},
    "1,000 edits a minute": (1, 500 if IS_FULL else 200),
}
ALLOWANCE = 0.05
"""Seconds by which the machine may be busier at the end of a run than at its start."""
ROUNDS = 3
"""The machine may be busier with other tests in one of two measurements."""


@pytest.mark.parametrize("case", CASES)
def test_a_shared_operator_delays_no_change_twice_as_long_as_one_of_its_own(tell: Tell, case: str) -> None:
    for _ in range(ROUNDS):
        own, shared = (measured(PROGRAMS, *CASES[case], namespaces) for namespaces in ((TENANT, CROWD), ()))
        is_delayed_later = median(shared.after) > 2 * median(shared.alone) + ALLOWANCE
        if median(shared.beside) <= 2 * median(own.beside) and not is_delayed_later:
            break
    tell(CHANGES, case, "of its own", *cells(own))
    tell(CHANGES, case, "shared", *cells(shared))
    assert median(shared.beside) <= 2 * median(own.beside)
    assert not is_delayed_later


def cells(found: Measured) -> Sequence[str]:
    alone, beside, after = median(found.alone), median(found.beside), median(found.after)
    cpu = (f"{each:.2f}" for each in (found.operator_cpu, found.others_cpu, found.idle_cpu))
    seconds = (f"{alone:.3f} s", f"{beside:.3f} s", f"{beside / alone:.1f}", f"{max(found.beside):.3f} s")
    return (*seconds, str(len(found.beside)), f"{found.seconds:.0f} s", *cpu, f"{after:.3f} s", f"{after / alone:.1f}")
