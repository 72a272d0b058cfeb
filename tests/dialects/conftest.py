"""One running server for the SDKs' tests, with a user who has a key of every provider."""

from collections.abc import Iterator

import pytest

from tests.support.dialects import World, world
from tests.support.upstream import Upstream


@pytest.fixture(scope="session")
def world_of_all(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[World]:
    """The server."""
    with world(tmp_path_factory.mktemp("dialects"), upstream) as made:
        yield made


@pytest.fixture(name="world")
def user_of_each_test(world_of_all: World) -> World:
    """The same user for all tests; what reached the providers is forgotten before each."""
    for key in world_of_all.keys.values():
        world_of_all.upstream.seen.pop(key, None)
    return world_of_all
