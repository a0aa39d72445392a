"""Each example has the results of its README, with the commands of its README."""

from pathlib import Path

import pytest
import yaml

from tests.e2e.readme import Expectation, Reader
from tests.e2e.scene import SLACK_PER_PROXY, Scene, moves_of
from tests.e2e.stacks import EXAMPLES

pytestmark = pytest.mark.cluster


@pytest.fixture
def reader(scene: Scene, tmp_path: Path) -> Reader:
    return Reader(scene.kubectl, tmp_path)


def split(proxies: int = 0, **shares: int) -> Expectation:
    """A count of 1,000 connections over this number of proxies; 0 for a split that must be exact."""
    return lambda counted: counted.connections == 1000 and counted.is_split(within=SLACK_PER_PROXY * proxies, **shares)


def test_one_file_in_any_order_becomes_ready_and_splits_exactly(scene: Scene) -> None:
    scene.apply(*yaml.safe_load_all((EXAMPLES / "simple-stack.yml").read_text()))
    scene.kubectl("wait", "--for=condition=Ready", "kanary/simple-kanary-rule", "--timeout=150s", timeout=160)

    assert scene.columns("simple-kanary-rule").startswith(
        "simple-kanary-rule Ready myapp-v1:http=80 myapp-v2:9090=20 2/2 "
    )
    counted = scene.count_at_one_proxy("simple-kanary-rule", 1000)
    assert counted.is_split(v1=80, v2=20), counted
    scene.wait_for_split("myapp", proxies=2, v1=80, v2=20)


def test_one_file_in_reverse_order_passes_every_phase(scene: Scene) -> None:
    documents = list(yaml.safe_load_all((EXAMPLES / "simple-stack.yml").read_text()))
    scene.apply(*reversed(documents))
    status = scene.wait_until_ready("simple-kanary-rule", {"myapp-v1": 2, "myapp-v2": 1})

    moves = [(move["from"], move["to"]) for move in moves_of(status)]
    # A pod that becomes ready later than the others has the middle repeated.
    assert moves[:2] == [("Pending", "Rendering"), ("Rendering", "Rolling")]
    assert moves[-1] == ("Rolling", "Ready")
    assert status["revision"] == 1


def test_a_second_port_is_split_by_the_same_weights(scene: Scene) -> None:
    scene.apply(*yaml.safe_load_all((EXAMPLES / "several-ports.yml").read_text()))
    scene.wait_until_ready("shop", {"shop-v1": 2, "shop-v2": 1})
    for port in (80, 8081):
        scene.wait_for_split("shop", port=port, proxies=2, v1=80, v2=20)


def test_weights_move_step_by_step(reader: Reader) -> None:
    readme = EXAMPLES / "01-weights" / "README.md"
    printed = reader.follow(readme, split(v1=100), split(2, v1=90, v2=10), split(2, v1=50, v2=50), split(v2=100))

    assert "web-v1:http=0 web-v2:http=100" in printed[-1]


def test_three_versions_of_unequal_size_get_their_shares(scene: Scene, reader: Reader) -> None:
    reader.follow(EXAMPLES / "02-three-versions" / "README.md", split(2, v1=70, v2=20, v3=10))

    scene.wait_until_ready("search", {"search-v1": 1, "search-v2": 3, "search-v3": 2})
    scene.wait_for_split("search", proxies=2, v1=70, v2=20, v3=10)


def test_an_empty_route_follows_its_policy(reader: Reader) -> None:
    reader.follow(
        EXAMPLES / "03-empty-route" / "README.md",
        split(v1=100),
        split(v1=80, v2=20),
        lambda fail: fail.versions == {"v1": 800} and sum(fail.errors.values()) == 200,
    )


def test_the_settings_of_the_proxies_are_what_their_deployment_has(scene: Scene, reader: Reader) -> None:
    printed = reader.follow(EXAMPLES / "04-proxy-settings" / "README.md", split(3, v1=90, v2=10))

    assert "3/3" in printed[0]
    assert scene.columns("feed").startswith("feed Ready feed-v1:http=90 feed-v2:http=10 1/1 ")
    configuration = scene.configuration("feed")
    assert "hard-stop-after 20s" in configuration
    assert "timeout tunnel 7200s" in configuration


def test_a_rollout_reaches_a_good_version_and_leaves_a_bad_one(reader: Reader) -> None:
    printed = reader.follow(
        EXAMPLES / "05-rollout" / "README.md",
        lambda good: not good.errors and good.versions.keys() == {"v1", "v2"},
        lambda bad: 0 < sum(bad.errors.values()) < 200 and bad.versions.keys() == {"v2"},
        split(v2=100),
    )
    assert "pay-v1:http=0 pay-v2:http=100" in printed[1]
    assert "RolledBack" in printed[2]
    assert "failed connections were those of pay-v3:http, which had 10 % of the connections" in printed[2]
