"""One running server for the tests of responses and conversations, with users who have a key of every provider."""

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import DATABASES
from tests.support.dialects import World, user_of_all
from tests.support.server import Server
from tests.support.upstream import Upstream


@pytest.fixture(scope="session", params=DATABASES)
def stored(request: pytest.FixtureRequest, shared_server: Callable[..., Server]) -> Server:
    """The server, once on SQLite and once on Postgres."""
    return shared_server(request.param, RINI_LOG_LEVEL="error")


@pytest.fixture
def world(stored: Server, upstream: Upstream) -> Iterator[World]:
    """A new user of it."""
    with user_of_all(stored, upstream) as made:
        yield made


@pytest.fixture(scope="session")
def refused(stored: Server, upstream: Upstream) -> Iterator[World]:
    """A user of it who has nothing, and is refused whatever it asks for."""
    with user_of_all(stored, upstream) as made:
        yield made
