"""A turn that is left, or breaks, at each of its moments: what the provider did is stored and booked once."""

import asyncio
import os
import threading
from contextlib import asynccontextmanager, suppress

import pytest
import sqlalchemy as sa

from rini.accounts import users
from rini.canon import Message, Text
from rini.db import Database
from rini.db.migrate import migrate
from rini.errors import NotFoundError, StorageUnavailableError
from rini.inference.target import Target
from rini.inference.window import Windows
from rini.kit.http import Transport
from rini.providers.catalog import PROVIDERS
from rini.sessions import messages, repository
from rini.turns.following import Streams
from rini.turns.images import Images
from rini.turns.journal import Journal
from rini.turns.recovery import recover
from rini.turns.register import Register
from rini.turns.settle import settle as real_settle
from rini.turns.turn import Turns
from rini.turns.values import Ask
from rini.usage.ledger import Ledger
from rini.usage.prices import Prices
from rini.usage.tables import usage_records
from tests.support.upstream import Conversation, openai_chunks, openai_reply


class _Router:
    def __init__(self, url, key):
        provider = PROVIDERS["openai"]
        self._target = Target(provider, provider.codec, f"{url}/v1", provider.authenticate(key), None, True)

    async def target(self, *_args):
        return self._target


class _Flaky:
    """A database whose units of one name fail, as if it was away."""

    def __init__(self, database):
        self._database = database
        self.away = ""

    async def write(self, unit, *args):
        result = await self._database.write(unit, *args)
        if unit.__name__ == self.away:
            raise StorageUnavailableError("away")
        return result


class House:
    """The parts of a turn, wired."""

    def __init__(self, url, folder, upstream):
        migrate(url)
        self.database = Database(url)
        self.flaky = _Flaky(self.database)
        self.folder = folder
        self.upstream = upstream
        self.key = f"sk-{os.urandom(8).hex()}"
        self.user_id = self.database.write_sync(users.create)
        self.session = self.database.write_sync(repository.create, self.user_id, None, None, "auto").id

    @asynccontextmanager
    async def turns(self, toolbox=None):
        self.ledger = Ledger(self.flaky)
        self.journal = Journal(self.folder / "run")
        async with Transport() as transport:
            router = _Router(self.upstream.url, self.key)
            turns = Turns(
                self.flaky,
                router,
                transport,
                self.ledger,
                Prices(),
                Windows(),
                self.journal,
                Images(None),
                toolbox,
                Register(self.flaky, "w"),
                Streams(self.flaky, "w"),
                memory_tokens=2000,
                queue_seconds=60,
            )
            yield turns
            await turns.close()
            await self.ledger.close()
        self.journal.close()

    def ask(self, **changes):
        return Ask(
            user_id=self.user_id,
            provider="openai",
            model="m",
            messages=(Message("user", (Text("q"),)),),
            endpoint="/x",
            **({"session_id": self.session} | changes),
        )

    def booked(self):
        return self.database.read_sync(lambda connection: connection.execute(sa.select(usage_records)).all())

    def kept(self):
        return self.database.read_sync(messages.page, self.user_id, self.session, 0, 100)[0]


@pytest.fixture(params=["sqlite", "postgres"])
def house(request, tmp_path, upstream):
    url = f"sqlite:///{tmp_path / 'turns.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")
    made = House(url, tmp_path, upstream)
    yield made
    made.database.close()


class Listener:
    def __init__(self, fail_at=None):
        self.seen = 0
        self._fail_at = fail_at

    async def begin(self, begun):
        pass

    async def piece(self, data, events):
        del data
        self.seen += len(events)
        if self.seen == self._fail_at:
            raise ZeroDivisionError


async def _whole(conversation: Conversation) -> None:
    await conversation.whole(openai_reply("answer"))


async def _stream(conversation: Conversation) -> None:
    await conversation.head()
    for event in openai_chunks("one ", "two ", "three"):
        await conversation.chunk(event)
        await asyncio.sleep(0.01)
    await conversation.end()


def _hold(_connection, held, until):
    held.release()
    until.wait(5)


def _delete_and_hold(connection, user_id, session, held, until):
    repository.delete(connection, user_id, session)
    held.release()
    until.wait(5)


@pytest.mark.parametrize("deleted", [False, True])
def test_a_client_that_leaves_while_the_answer_is_stored(house, deleted):
    house.upstream.scripts[house.key] = _whole

    async def main():
        async with house.turns() as turns:
            reached = asyncio.Event()
            real = house.database.write

            async def write(unit, *args):
                if unit.__name__ == "settle":
                    for _ in range(
                        1 if house.database.is_sqlite else 4
                    ):  # writers, or it might come before the deletion
                        await asyncio.to_thread(held.acquire, timeout=5)
                    reached.set()
                return await real(unit, *args)

            house.database.write = write
            held = threading.Semaphore(0)
            free = threading.Event()
            task = asyncio.create_task(turns.take(house.ask()))
            while not house.upstream.calls(house.key):
                await asyncio.sleep(0)
            holding = [asyncio.create_task(real(_hold, held, free)) for _ in range(3)]
            first = (
                real(_delete_and_hold, house.user_id, house.session, held, free) if deleted else real(_hold, held, free)
            )
            holding.append(asyncio.create_task(first))
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert house.journal._calls, "the answer is not stored yet, and a kill would lose it"
            free.set()
            await asyncio.gather(*holding)
            house.database.write = real
        assert not house.journal._calls

    asyncio.run(asyncio.wait_for(main(), 20))
    (row,) = house.booked()
    if deleted:
        assert (row.outcome, row.message_id) == ("complete", None)
    else:
        assert [message.content for message in house.kept()] == ["q", "answer"]
        assert row.message_id == house.kept()[1].id
    assert not list((house.folder / "run").iterdir())


def test_a_client_that_leaves_when_the_database_does_too(house):
    house.upstream.scripts[house.key] = _stream

    async def main():
        async with house.turns() as turns:
            listener = Listener()
            task = asyncio.create_task(turns.take(house.ask(), listener))
            while listener.seen < 2:
                await asyncio.sleep(0)
            house.flaky.away = "settle"
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert house.journal._calls, "nobody knows whether it is stored: the next start looks"

    asyncio.run(asyncio.wait_for(main(), 20))
    for _ in range(2):
        recover(house.database, Prices(), house.folder / "run")
        assert len(house.booked()) == 1
    assert [message.status for message in house.kept()] == ["complete", "partial"]
    assert not list((house.folder / "run").iterdir())


def test_a_fault_of_the_servers_own_is_booked(house):
    house.upstream.scripts[house.key] = _stream

    async def main():
        async with house.turns() as turns:
            with pytest.raises(ZeroDivisionError):
                await turns.take(house.ask(), Listener(fail_at=3))
            assert not house.journal._calls

    asyncio.run(asyncio.wait_for(main(), 20))
    (row,) = house.booked()
    question, answer = house.kept()
    assert (row.outcome, row.message_id, row.usage_estimated) == ("interrupted", answer.id, True)
    assert (answer.status, answer.parent_message_id) == ("partial", question.id)
    assert answer.content


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stateless", [False, True])
def test_cancelled_at_every_moment(house, stream, stateless):
    """Whatever the moment: one row for each call that the provider saw, no message twice, and nothing in the journal."""
    house.upstream.scripts[house.key] = _stream if stream else _whole
    turns_made = 0

    async def main():
        nonlocal turns_made
        async with house.turns() as turns:
            for moment in range(60):
                ask = house.ask(session_id=None) if stateless else house.ask()
                task = asyncio.create_task(turns.take(ask, Listener() if stream else None))
                for _ in range(moment):
                    await asyncio.sleep(0 if moment % 3 else 0.0007)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                turns_made += 1
            await turns.close()
            assert not house.journal._calls

    asyncio.run(asyncio.wait_for(main(), 60))
    rows = house.booked()
    assert len({row.call_id for row in rows}) == len(rows)
    assert len(rows) >= len(house.upstream.calls(house.key))
    kept = house.kept()
    answers = [message.parent_message_id for message in kept if message.role == "assistant"]
    assert len(set(answers)) == len(answers)
    known = {message.id for message in kept} | {None}
    assert all(row.message_id in known for row in rows)


def test_a_row_never_names_a_message_that_was_rolled_back(house):
    house.upstream.scripts[house.key] = _whole

    async def main():
        async with house.turns() as turns:
            real = house.database.write

            def settle(connection, turn):
                real_settle(connection, turn)
                raise StorageUnavailableError("rolled back")

            async def write(unit, *args):
                return await real(settle if unit.__name__ == "settle" else unit, *args)

            house.database.write = write
            with pytest.raises(StorageUnavailableError):
                await turns.take(house.ask())
            house.database.write = real

    asyncio.run(asyncio.wait_for(main(), 20))
    (row,) = house.booked()
    question, answer = house.kept()
    assert row.message_id == question.id
    # Its client was told that nothing was stored, and yet what the model said is not lost.
    assert (answer.status, answer.status_reason) == ("partial", "storage_unavailable")
    assert answer.content


def test_sessions_are_deleted_while_their_answers_are_stored(house):
    house.upstream.scripts[house.key] = _whole

    async def main():
        found = []
        async with house.turns() as turns:
            for round_ in range(12):
                session = await house.database.write(repository.create, house.user_id, None, None, "auto")
                asks = [turns.take(house.ask(session_id=session.id)) for _ in range(6)]
                waiting = asyncio.gather(*asks, return_exceptions=True)
                await asyncio.sleep(0.002 * round_)
                await house.database.write(repository.delete, house.user_id, session.id)
                found += await waiting
        return found

    results = asyncio.run(asyncio.wait_for(main(), 30))
    broken = [each for each in results if isinstance(each, Exception) and not isinstance(each, NotFoundError)]
    assert not broken
    assert len(house.booked()) == len(house.upstream.calls(house.key))
