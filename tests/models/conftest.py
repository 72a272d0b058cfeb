"""A database with a user, and a listing that asks the scripted upstream, in this process."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from rini.accounts import provider_keys, users
from rini.accounts.key_cache import KeyCache
from rini.accounts.keyring import Keyring
from rini.db import Database
from rini.db.migrate import migrate
from rini.inference.target import Router
from rini.inference.window import Windows
from rini.kit.http import Transport
from rini.models.listing import Listing
from rini.models.naming import ModelNames
from rini.usage.prices import Prices
from tests.support.upstream import Conversation, Script, Upstream

_numbers = itertools.count()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path_factory.mktemp('models') / 'rini.db'}"
    migrate(url)
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def user_id(database: Database) -> int:
    return database.write_sync(users.create)


@dataclass
class World:
    """What a listing stands on, for one user."""

    database: Database
    upstream: Upstream
    user_id: int
    keys: KeyCache = field(init=False)
    boxed: tuple[Any, ...] = ()
    windows: Windows = field(default_factory=Windows)

    def __post_init__(self) -> None:
        self.keys = KeyCache(Keyring([os.urandom(32)]), self.database)

    def key(self, provider: str, script: Script, base_url: str | None = None) -> tuple[str, int]:
        """Store a key whose calls ``script`` answers; return its value and its id."""
        value = f"sk-models-{next(_numbers)}-{os.urandom(4).hex()}"
        self.upstream.scripts[value] = script
        row = self.database.write_sync(
            provider_keys.store, self.keys.keyring, self.user_id, provider, value, None, base_url
        )
        self.keys.forget(self.user_id)
        return value, row.id

    def run(self, use: Callable[[Listing], Awaitable[Any]]) -> Any:
        """Return what ``use`` returns of a new listing."""

        async def main() -> Any:
            url = self.upstream.url
            allowed = frozenset({f"127.0.0.1:{self.upstream.port}"})
            async with Transport(allowed_private_hosts=allowed) as transport:
                router = Router(self.keys, {"openai": f"{url}/v1", "anthropic": url, "google": url}, None)
                names = ModelNames(self.database, [model.id.removeprefix("local/") for model in self.boxed])
                listing = Listing(router, transport, names, Prices(), self.windows, self.boxed)
                try:
                    return await asyncio.wait_for(use(listing), 20)
                finally:
                    listing.close()

        return asyncio.run(main())

    def ids(self, *may_call: Any) -> list[str]:
        return [model.id for model in self.run(lambda listing: listing.of(self.user_id, *may_call))]


@pytest.fixture
def world(database: Database, upstream: Upstream, user_id: int) -> World:
    return World(database, upstream, user_id)


def answering(body: Any, status: int = 200) -> Script:
    """Return a script that answers whatever is asked with ``body``."""

    async def script(conversation: Conversation) -> None:
        await conversation.whole(body, status)

    return script


def openai_list(*names: str) -> Script:
    return answering({"object": "list", "data": [{"id": name, "object": "model", "created": 7} for name in names]})


def at_paths(**bodies: Any) -> Script:
    """Return a script that answers by the last part of the path; 404 for others."""

    async def script(conversation: Conversation) -> None:
        name = conversation.seen.path.partition("?")[0].rpartition("/")[2]
        if name in bodies:
            await conversation.whole(bodies[name])
        else:
            await conversation.whole({"error": {"message": "no such model", "type": "invalid_request_error"}}, 404)

    return script
