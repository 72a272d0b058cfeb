"""One running server for the SDKs' tests, with a user who has a key of every provider."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.dialects import World, user_of_all
from tests.support.server import Server
from tests.support.upstream import Upstream


@pytest.fixture(scope="session")
def world_of_all(shared_server: Callable[..., Server], upstream: Upstream) -> Iterator[World]:
    """The server."""
    with user_of_all(shared_server(RINI_LOG_LEVEL="error"), upstream) as made:
        yield made


@pytest.fixture(name="world")
def user_of_each_test(world_of_all: World) -> World:
    """The same user for all tests; what reached the providers is forgotten before each."""
    for key in world_of_all.keys.values():
        world_of_all.upstream.seen.pop(key, None)
    return world_of_all
