"""Former HAProxy processes, and the memory that they may take."""

from __future__ import annotations

import pytest

from engine.fleet.former_processes import (
    LEAST,
    MOST_LOST,
    leaking_descriptors,
    most_former,
    over_limit,
    processes_text,
)
from engine.fleet.reports import Report
from engine.model.placement import Resources, amount_of
from tests.unit.observations import DIGEST
from tests.unit.proxies import live
from tests.unit.snapshots import NOW


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (128, 128),
        ("128", 128),
        ("64Mi", 64 * 2**20),
        ("1Ki", 1024),
        ("1.5Gi", 1.5 * 2**30),
        ("2k", 2000),
        ("3M", 3e6),
        ("1e3", 1000),
        ("1e9999", float("inf")),
        ("1E", 1e18),
        ("500m", 0.5),
        (".5Ei", 2**59),
    ],
)
def test_quantities_are_read_as_kubernetes_does(quantity: int | str, expected: float) -> None:
    assert amount_of(quantity) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("resources", "servers", "expected"),
    [
        (Resources(), 0, 18),
        (Resources(), 5000, LEAST),
        (Resources(requests={}), 0, 18),
        (Resources(requests={"memory": "1Gi"}), 0, 292),
        (Resources(limits={"memory": "1Gi"}), 0, 73),
        (Resources(limits={"memory": "1Gi"}), 5000, 16),
        (Resources(limits={"memory": 1}), 0, LEAST),
        (Resources(limits={"memory": "1e9999"}), 0, 2**60 // (7 * 2**20)),
    ],
)
def test_former_processes_may_take_half_of_the_limit_or_twice_the_request(
    resources: Resources, servers: int, expected: int
) -> None:
    assert most_former(resources, servers) == expected


def test_the_proxy_with_the_most_former_processes_is_named_unless_it_is_stopping() -> None:
    few, many = (live(f"x-{count}", Report(DIGEST, draining=count)) for count in (19, 25))
    stopping = live("x-9", Report(DIGEST, draining=90), stopped=NOW)
    found = over_limit([few, live("x-0", None), many, stopping], 18)
    assert found is many
    assert processes_text(many, 1000) == "pod x-25 has 25 HAProxy processes of earlier reloads, with about 297 MiB"
    assert over_limit([few, many], 25) is None


def test_a_proxy_whose_haproxy_has_lost_many_descriptors_is_named() -> None:
    found = live("x-1", Report(DIGEST, draining=2, lost=MOST_LOST + 1))
    stopping = live("x-3", Report(DIGEST, lost=1000), stopped=NOW)
    assert leaking_descriptors([live("x-2", Report(DIGEST, draining=18, lost=MOST_LOST)), stopping, found]) is found
    assert leaking_descriptors([stopping]) is None
    assert processes_text(found, 0) == (
        "pod x-1 has 2 HAProxy processes of earlier reloads, with about 14 MiB, and 65 open files of ended ones"
    )
