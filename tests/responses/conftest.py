"""One running server for the tests of responses and conversations, with users who have a key of every provider."""

from collections.abc import Iterator

import pytest

from tests.support.dialects import World, user_of_all
from tests.support.server import Server
from tests.support.upstream import Upstream


@pytest.fixture(scope="session", params=("sqlite", "postgres"))
def stored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> Iterator[Server]:
    """The server, once on SQLite and once on Postgres."""
    settings = {"RINI_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{upstream.port}", "RINI_LOG_LEVEL": "error"}
    if request.param == "postgres":
        settings["RINI_DATABASE_URL"] = request.getfixturevalue("new_postgres_url")()
    server = Server(tmp_path_factory.mktemp("responses"), settings, upstream.url).start()
    yield server
    server.stop()


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
