"""What is remembered between requests stays small, and is never what was just changed."""

import asyncio
import threading
from contextlib import suppress

import pytest

from rini.accounts import users
from rini.accounts.access import Access, bearer_token
from rini.accounts.key_cache import KeyCache
from rini.accounts.tokens import TokenIssuer
from rini.db import Database
from rini.db.migrate import migrate
from rini.errors import NotAuthenticatedError


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path / 'caches.db'}"
    migrate(url)
    database = Database(url)
    yield database
    database.close()


def test_one_token_written_in_many_ways_takes_no_memory(database):
    issuer = TokenIssuer(b"k" * 64, "HS256", 60)
    access = Access(issuer, database)
    token = issuer.issue(database.write_sync(users.create))
    for spaces in range(0, 40_000, 500):
        for written in (f"Bearer {' ' * spaces}{token}", f"bearer {token}{' ' * spaces}"):
            access.check_sync(bearer_token(written.encode()))
        with suppress(NotAuthenticatedError):
            access.check_sync(token + "=" * spaces)
    assert len(access._seen) == 1
    assert access.known(token) is not None


def test_no_more_tokens_are_remembered_than_fit(database, monkeypatch):
    monkeypatch.setattr("rini.accounts.access.REMEMBERED_TOKENS", 3)
    issuer = TokenIssuer(b"k" * 64, "HS256", 60)
    access = Access(issuer, database)
    tokens = [issuer.issue(database.write_sync(users.create)) for _ in range(5)]
    for token in tokens:
        access.check_sync(token)
    assert list(access._seen) == tokens[2:]


class _Between:
    """A database in which something happens after a read, before whoever asked goes on."""

    def __init__(self, database, then):
        self._database = database
        self._then = then

    async def read(self, *args):
        found = await self._database.read(*args)
        self._then()
        return found

    def read_sync(self, *args):
        found = self._database.read_sync(*args)
        self._then()
        return found


@pytest.mark.parametrize("sync", [False, True])
def test_a_user_deleted_while_its_token_is_checked_is_refused_next(database, sync):
    issuer = TokenIssuer(b"k" * 64, "HS256", 60)
    user_id = database.write_sync(users.create)
    token = issuer.issue(user_id)

    def delete():
        database.write_sync(users.delete, user_id)
        access.forget(user_id)

    access = Access(issuer, _Between(database, delete))
    if sync:
        access.check_sync(token)
    else:
        asyncio.run(access.check(token))
    assert access.known(token) is None
    with pytest.raises(NotAuthenticatedError):
        access.check_sync(token)


def test_a_key_stored_while_another_is_opened_is_used_next():
    values = ["old", "new"]

    class Keys:
        async def read(self, *_args):
            value = values[0]
            if value == "old":
                # Another request stores a key in a thread just now.
                thread = threading.Thread(target=lambda: (values.pop(0), cache.forget(1)))
                thread.start()
                thread.join()
            return value

    cache = KeyCache(None, Keys())
    assert asyncio.run(cache.open(1, "openai")) == "old"
    assert asyncio.run(cache.open(1, "openai")) == "new"
    assert asyncio.run(cache.open(1, "openai")) == "new"
