"""The proxies of others: however they behave, a Kanary of another namespace is served as fast as without them."""

from __future__ import annotations

from tests.integration.neighbours import NEIGHBOURS, NOISE, add_neighbours, seconds_of_changes
from tests.integration.scene import Scene


def test_proxies_of_others_that_behave_badly_delay_a_change_by_a_factor_of_two_at_most(serving: Scene) -> None:
    alone = seconds_of_changes(serving)
    add_neighbours(serving)
    together = seconds_of_changes(serving, 2 * alone + NOISE)
    print(f"a change takes {alone:.3f} s alone, {together:.3f} s beside {2 * NEIGHBOURS} bad proxies")
    assert together <= 2 * alone + NOISE
