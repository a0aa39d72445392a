"""Connections that proxies have counted in a step are added up, each at most once."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.fleet.tally import LEDGERS, Tally, add, begin, is_split
from states.evidence import Counts

STABLE, CANARY = "myapp-v1:http", "myapp-v2:http"
WEIGHTS = {STABLE: Decimal(90), CANARY: Decimal(10)}
EMPTY = begin({**WEIGHTS, "myapp-v3:http": Decimal(0)})


def counted(stable: int, canary: int, *, failed: tuple[int, int] = (0, 0)) -> dict[str, Counts]:
    return {STABLE: Counts(stable, failed[0]), CANARY: Counts(canary, failed[1])}


def test_the_counts_of_all_proxies_are_added() -> None:
    tally = add(EMPTY, {"a": counted(900, 100, failed=(0, 2)), "b": counted(450, 50, failed=(1, 0))})
    assert (tally.of(STABLE), tally.of(CANARY), tally.left_out) == (Counts(1350, 1), Counts(150, 2), 0)


def test_routes_of_weight_0_are_not_compared() -> None:
    tally = add(EMPTY, {"a": {**counted(9, 1), "myapp-v3:http": Counts(5, 5)}})
    assert tally.of("myapp-v3:http") == Counts()
    assert set(tally.routes) == {STABLE, CANARY}


def test_only_what_a_proxy_has_counted_since_its_last_report_is_added() -> None:
    tally = add(EMPTY, {"a": counted(90, 10)})
    assert add(tally, {"a": counted(90, 10)}) is tally
    assert add(tally, {"a": counted(180, 20, failed=(0, 1))}).of(CANARY) == Counts(20, 1)


def test_a_proxy_that_is_gone_keeps_what_it_has_given() -> None:
    tally = add(add(EMPTY, {"a": counted(90, 10)}), {"b": counted(9, 1)})
    assert tally.of(STABLE) == Counts(99)


def test_a_report_from_before_the_last_one_adds_nothing() -> None:
    tally = add(EMPTY, {"a": counted(90, 10)})
    assert add(tally, {"a": counted(45, 5)}) is tally
    assert add(tally, {}) is tally


def test_a_proxy_that_has_lost_its_counts_starts_another_ledger() -> None:
    assert add(add(EMPTY, {"a": counted(90, 10)}), {"a2": counted(45, 5)}).of(CANARY) == Counts(15)


def test_the_connections_of_an_outage_are_left_out_with_their_failures() -> None:
    tally = add(EMPTY, {"a": counted(90, 10)})
    during = add(tally, {"a": counted(90, 110, failed=(3, 1))})
    assert (during.of(STABLE), during.of(CANARY), during.left_out) == (Counts(90), Counts(10), 100)
    after = add(during, {"a": counted(180, 120, failed=(4, 1))})
    assert (after.of(STABLE), after.of(CANARY), after.left_out) == (Counts(180, 1), Counts(20), 100)


def test_late_failures_of_connections_that_were_left_out_never_exceed_the_others() -> None:
    tally = add(EMPTY, {"a": counted(0, 100)})
    assert add(tally, {"a": counted(9, 101, failed=(0, 90))}).of(CANARY) == Counts(1, 1)


@pytest.mark.parametrize(
    ("connections", "expected"),
    [((900, 100), True), ((897, 103), True), ((896, 104), True), ((895, 105), False), ((0, 4), False), ((0, 3), True)],
)
def test_a_split_may_differ_by_three_connections_and_a_hundredth_of_a_share(
    connections: tuple[int, int], expected: bool
) -> None:
    assert is_split(connections, [Decimal(90), Decimal(10)]) is expected


def test_the_ledgers_are_bounded() -> None:
    tally = add(EMPTY, {f"gone-{number}": counted(9, 1) for number in range(LEDGERS)})
    assert len(tally.ledgers) == LEDGERS
    tally = add(tally, {"new": counted(9, 1)})
    assert (set(tally.ledgers), tally.of(CANARY)) == ({"new"}, Counts(LEDGERS + 1))


def test_it_is_small_and_the_same_after_it_was_stored() -> None:
    tally = add(EMPTY, {"9f3a12bc": counted(900, 100, failed=(0, 1))})
    text = tally.model_dump_json(by_alias=True)
    # The API server sorts the keys of a map.
    assert Tally.model_validate(json.loads(json.dumps(json.loads(text), sort_keys=True))) == tally
    assert '"ledgers":{"9f3a12bc":[900,100,0,1]}' in text


def test_a_ledger_without_the_counts_of_each_route_is_rejected_by_name() -> None:
    with pytest.raises(ValidationError, match=r"ledger a has 2 counts: it must have 2 for each route"):
        Tally(routes=EMPTY.routes, ledgers={"a": (1, 1)})


# Any history

rounds = st.integers(0, 30)
events = st.lists(st.tuples(st.integers(0, 3), rounds, st.integers(0, 3), st.booleans()), max_size=60)


@given(events, st.data())
def test_each_connection_is_counted_at_most_once_in_any_order_of_reports(
    events: list[tuple[int, int, int, bool]], data: st.DataObject
) -> None:
    """Proxies count whole rounds of the schedule, lose their ledgers, and their reports arrive late or twice."""
    true, ledgers = [0, 0, 0, 0], {proxy: (f"{proxy}", [0, 0, 0, 0]) for proxy in range(4)}
    sent: list[tuple[str, list[int]]] = []
    for proxy, count, failures, is_lost in events:
        ledger, counts = (f"{ledgers[proxy][0]}+", [0, 0, 0, 0]) if is_lost else ledgers[proxy]
        grown = [9 * count, count, min(failures, count), min(failures, count)]
        true = [total + more for total, more in zip(true, grown, strict=True)]
        ledgers[proxy] = ledger, [total + more for total, more in zip(counts, grown, strict=True)]
        sent.append((ledger, ledgers[proxy][1]))
    tally = EMPTY
    for ledger, (*connections, stable_failed, canary_failed) in data.draw(st.permutations(sent + sent[::2])):
        former = tally
        tally = add(tally, {ledger: counted(*connections, failed=(stable_failed, canary_failed))})
        for backend in (STABLE, CANARY):
            assert tally.of(backend).connections >= former.of(backend).connections
            assert tally.of(backend).failed >= former.of(backend).failed
    # Every report arrives at last, so that nothing is missing either.
    assert (tally.of(STABLE), tally.of(CANARY)) == (Counts(true[0], true[2]), Counts(true[1], true[3]))


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=30))
def test_whatever_the_split_is_every_connection_is_counted_or_left_out(grown: list[tuple[int, int]]) -> None:
    tally, stable, canary = EMPTY, 0, 0
    for more in grown:
        stable, canary = stable + more[0], canary + more[1]
        tally = add(tally, {"a": counted(stable, canary)})
    total = tally.of(STABLE).connections + tally.of(CANARY).connections + tally.left_out
    assert total == stable + canary
