import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.traces.world import World

STORIES = Path(__file__).with_name("stories")


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world whose story, once the test is over, has to be the one in `stories/`.

    `KANARY_TELL=1 pytest tests/traces` writes the stories anew, to be read as part of the change.
    """
    world = World()
    yield world
    path = STORIES / f"{request.node.name.removeprefix('test_')}.txt"
    if os.environ.get("KANARY_TELL"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(world.text, encoding="utf-8")
    assert world.text == path.read_text(encoding="utf-8")


@pytest.fixture
def there() -> World:
    """A version, and the Service `myapp` with the selector of its pods."""
    world = World()
    world.create_service("myapp-v1", 1)
    port = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}
    world.create_service("myapp", 1, port=port, selector={"app": "myapp"})
    return world
