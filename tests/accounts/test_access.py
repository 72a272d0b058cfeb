"""Access tokens in one process and in several: what is remembered, for how long, and when a use is written."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from rini.accounts import access, access_tokens, last_uses, users
from rini.accounts.access import Access
from rini.accounts.tokens import TokenIssuer
from rini.db import Database
from rini.db.migrate import migrate
from rini.errors import NotAuthenticatedError, TooManyTokensError
from rini.kit.clock import now


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'access.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def user_id(database: Database) -> int:
    return database.write_sync(users.create)


def new_access(database: Database) -> Access:
    return Access(TokenIssuer(b"k" * 64, "HS256", 60), database)


def stored(database: Database, user_id: int, **fields) -> tuple[str, int]:
    token = access_tokens.new_token()
    given = {"name": "x", "models": None, "expires_at": None} | fields
    return token, database.write_sync(access_tokens.store, user_id, token, **given).id


def until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_a_token_is_long_and_is_not_stored(database: Database, user_id: int, tmp_path):
    token, token_id = stored(database, user_id)
    assert len(token) == 5 + 43
    assert database.read_sync(access_tokens.get, user_id, token_id).hint == token[-4:]
    files = [file for file in tmp_path.iterdir() if file.is_file()]
    assert not any(token.encode() in file.read_bytes() for file in files)


def test_who_it_is_and_what_it_may_call_come_with_the_token(database: Database, user_id: int):
    token, token_id = stored(database, user_id, models=["openai/*", "*/x"])
    checking = new_access(database)
    assert checking.known(token) is None
    caller = checking.check_sync(token)
    assert (caller.user_id, caller.token_id, caller.models) == (user_id, token_id, ("openai/*", "*/x"))
    assert checking.known(token) is caller


def test_it_ends_when_it_says_so_also_where_it_was_just_seen(database: Database, user_id: int):
    token, _ = stored(database, user_id, expires_at=now() + timedelta(seconds=0.4))
    checking = new_access(database)
    checking.check_sync(token)
    assert until(lambda: checking.known(token) is None, access.CHECKED_FOR_SECONDS / 2)
    with pytest.raises(NotAuthenticatedError, match="expired"):
        checking.check_sync(token)


@pytest.mark.parametrize("gone", ["token", "user"])
def test_what_is_deleted_here_counts_at_once_and_elsewhere_in_seconds(
    database: Database, user_id: int, gone: str, monkeypatch: pytest.MonkeyPatch
):
    token, token_id = stored(database, user_id)
    here, elsewhere = new_access(database), new_access(database)
    monkeypatch.setattr(access, "CHECKED_FOR_SECONDS", 0.3)
    here.check_sync(token)
    elsewhere.check_sync(token)
    if gone == "token":
        database.write_sync(access_tokens.delete, user_id, token_id)
        here.forget_token(token_id)
    else:
        database.write_sync(users.delete, user_id)
        here.forget(user_id)
    assert here.known(token) is None
    assert until(lambda: elsewhere.known(token) is None)
    for each in (here, elsewhere):
        with pytest.raises(NotAuthenticatedError):
            each.check_sync(token)


def test_a_token_deleted_while_it_is_checked_is_refused_next(database: Database, user_id: int):
    token, token_id = stored(database, user_id)

    class Between:
        def read_sync(self, unit):
            found = database.read_sync(unit)
            database.write_sync(access_tokens.delete, user_id, token_id)
            checking.forget_token(token_id)
            return found

        write_sync = staticmethod(database.write_sync)

    checking = new_access(Between())
    checking.check_sync(token)
    assert checking.known(token) is None


def test_others_are_not_forgotten_with_it(database: Database, user_id: int):
    first, first_id = stored(database, user_id)
    second, _ = stored(database, user_id)
    checking = new_access(database)
    checking.check_sync(first)
    checking.check_sync(second)
    checking.forget_token(first_id)
    assert checking.known(first) is None
    assert checking.known(second) is not None


@pytest.mark.parametrize(
    "token",
    [
        "rini_",
        "rini_" + "x" * 42,
        "rini_" + "x" * 44,
        "rini_" + "x" * 5000,
        "rini_" + "é" * 43,
        "x" * 5000,
        "é",
        "",
        " ",
    ],
)
def test_what_is_no_token_asks_no_database(token: str):
    with pytest.raises(NotAuthenticatedError):
        new_access(None).check_sync(token)


def test_of_two_tokens_at_the_same_time_the_hundredth_and_first_is_refused(new_postgres_url: Callable[[], str]):
    """SQLite has one writer anyway."""
    url = new_postgres_url().replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    database = Database(url)
    user_id = database.write_sync(users.create)
    for _ in range(access_tokens.MOST_TOKENS - 1):
        stored(database, user_id)
    refused: list[TooManyTokensError] = []

    def make() -> None:
        try:
            stored(database, user_id)
        except TooManyTokensError as error:
            refused.append(error)

    engine = sa.create_engine(url)
    second = threading.Thread(target=make)
    with engine.begin() as storing:
        access_tokens.store(storing, user_id, access_tokens.new_token(), "first", None, None)
        second.start()
        second.join(0.3)  # if it did not wait for the first one, it is stored by now
    second.join(10)
    assert len(refused) == 1
    assert database.read_sync(access_tokens.page, user_id, 0, 1)[1] == access_tokens.MOST_TOKENS
    engine.dispose()
    database.close()


# The last use.


def test_a_use_is_written_at_most_once_a_minute(database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch):
    token, token_id = stored(database, user_id)
    _, unused = stored(database, user_id)
    moment = now()
    monkeypatch.setattr(last_uses, "now", lambda: moment)
    checking = new_access(database)

    def last_use():
        return database.read_sync(access_tokens.get, user_id, token_id).last_used_at

    checking.check_sync(token)
    assert until(lambda: last_use() == moment)
    assert database.read_sync(access_tokens.get, user_id, unused).last_used_at is None
    first, moment = moment, moment + timedelta(seconds=59)
    checking.check_sync(token)
    checking._last_uses._writer.shutdown()  # all that was to be written is
    assert last_use() == first

    checking = new_access(database)
    moment = first - timedelta(seconds=5)
    checking.check_sync(token)
    checking._last_uses._writer.shutdown()
    assert last_use() == first  # the time of another process, which is behind
    checking = new_access(database)
    moment = first
    checking.check_sync(token)
    moment = first + timedelta(seconds=61)
    checking.check_sync(token)
    assert until(lambda: last_use() == moment)


def test_a_check_does_not_wait_for_the_write(database: Database, user_id: int):
    token, token_id = stored(database, user_id)
    free = threading.Event()
    writing = threading.Event()

    class Slow:
        read_sync = staticmethod(database.read_sync)

        def write_sync(self, *args):
            writing.set()
            free.wait(10)
            database.write_sync(*args)

    checking = new_access(Slow())
    checking.check_sync(token)
    assert writing.wait(10)
    assert database.read_sync(access_tokens.get, user_id, token_id).last_used_at is None
    free.set()
    assert until(lambda: database.read_sync(access_tokens.get, user_id, token_id).last_used_at is not None)


def test_uses_take_bounded_memory(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(last_uses, "REMEMBERED_USES", 10)
    busy = threading.Event()

    class Stuck:
        def write_sync(self, *_args):
            busy.wait(10)

    uses = last_uses.LastUses(Stuck())
    for token_id in range(100):
        uses.note(token_id)
    assert len(uses._noted) == 10
    assert len(uses._waiting) <= 10
    assert uses._writer._work_queue.qsize() <= 1
    busy.set()
    uses._writer.shutdown()


def test_a_database_that_is_closed_fails_no_check(tmp_path):
    url = f"sqlite:///{tmp_path / 'closed.db'}"
    migrate(url)
    database = Database(url)
    uses = last_uses.LastUses(database)
    database.close()
    uses.note(1)
    uses._writer.shutdown()
