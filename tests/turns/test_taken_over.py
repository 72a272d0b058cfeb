"""An answer in the background that another process took over, or that cannot begin: what each of the processes does then."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from rini.api import signs_of_life
from rini.api.native_follow import Follower
from rini.db import seconds_ago
from rini.errors import ProviderKeyMissingError, TurnCancelledError
from rini.kit.clock import now
from rini.turns import runs, workers
from rini.turns.following import Streams, store_held, stored
from rini.turns.lasting import adopt
from rini.turns.tables import running_turns
from rini.turns.tables import workers as worker_table
from tests.attack.test_core_turns import House
from tests.support.upstream import Conversation, Upstream, openai_chunks, openai_reply


@pytest.fixture(params=["sqlite", "postgres"])
def house(request: pytest.FixtureRequest, tmp_path: Path, upstream: Upstream) -> Iterator[Any]:
    url = f"sqlite:///{tmp_path / 'turns.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")
    made = House(url, tmp_path, upstream)
    yield made
    made.database.close()


class Model:
    """An upstream that goes on when it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()

    async def __call__(self, conversation: Conversation) -> None:
        await conversation.head()
        for number, event in enumerate(openai_chunks("one ", "two")):
            while number == 2 and not self.let.is_set():
                await asyncio.sleep(0.01)
            await conversation.chunk(event)
        await conversation.end()


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


def give(house: Any, answer_id: int, worker_id: str) -> None:
    """Let another worker have the answer."""
    mine = running_turns.update().where(running_turns.c.answer_id == answer_id)
    house.database.write_sync(lambda connection: connection.execute(mine.values(worker_id=worker_id)))


def test_a_process_that_was_taken_for_dead_books_its_call_and_stores_nothing(house: Any, upstream: Upstream):
    model = upstream.scripts[house.key] = Model()

    async def main() -> int:
        async with house.turns() as turns:
            loaded = await turns.background.start(house.ask(background=True))
            await until(lambda: upstream.calls(house.key))
            give(house, loaded.answer_id, "other")
            model.let.set()
            await until(house.booked)
            return loaded.answer_id

    answer_id = asyncio.run(main())
    assert [(row.status, row.content) for row in house.kept()] == [("complete", "q"), ("running", "")]
    assert house.database.read_sync(stored, answer_id) == []
    assert house.database.read_sync(runs.held_by, "other") == {answer_id}
    assert [(row.outcome, row.message_id) for row in house.booked()] == [("complete", None)]


def test_events_of_an_answer_that_another_process_has_are_not_stored(house: Any):
    async def main() -> int:
        async with house.turns() as turns:
            return (await turns.background.start(house.ask(background=True))).answer_id

    answer_id = asyncio.run(main())  # closed at once: it is left to others
    assert house.database.read_sync(runs.held_by, "") == {answer_id}
    house.database.write_sync(store_held, "w", [(answer_id, 0, b"late")])
    assert house.database.read_sync(stored, answer_id) == []
    # Neither is it left once more by the journal of a process that died, when somebody has it by now.
    give(house, answer_id, "other")
    house.database.write_sync(runs.leave, answer_id, "w")
    assert house.database.read_sync(runs.held_by, "other") == {answer_id}


def test_no_process_takes_over_what_it_has_itself(house: Any, upstream: Upstream):
    model = upstream.scripts[house.key] = Model()

    async def main() -> None:
        async with house.turns() as turns:
            loaded = await turns.background.start(house.ask(background=True))
            # It has not given a sign of life for a while.
            assert await house.database.write(adopt, "w", left_only=False) == []
            taken = await house.database.write(adopt, "other", left_only=False)
            assert [ask.completes for ask in taken] == [loaded.answer_id]
            model.let.set()

    asyncio.run(main())


def test_what_cannot_be_begun_again_is_told_with_the_answer(house: Any, monkeypatch: pytest.MonkeyPatch):
    async def main() -> None:
        async with house.turns() as turns:
            loaded = await turns.background.start(house.ask(background=True))
        give(house, loaded.answer_id, "w")
        async with house.turns() as turns:

            async def no_key(*_args: Any) -> None:
                raise ProviderKeyMissingError("There is none.")

            monkeypatch.setattr(turns._beginning._router, "target", no_key)
            ask = house.ask(background=True, completes=loaded.answer_id)
            await turns.background.resume(msgspec.structs.replace(ask, messages=()))
            await until(lambda: house.kept()[-1].status == "partial")

    asyncio.run(main())
    assert house.kept()[-1].status_reason == ProviderKeyMissingError.code
    assert house.database.read_sync(runs.held_by, "w") == frozenset()


def test_a_fault_before_it_begins_reaches_whoever_asked(house: Any, monkeypatch: pytest.MonkeyPatch):
    async def main() -> None:
        async with house.turns() as turns:

            async def broken(*_args: Any) -> None:
                raise ZeroDivisionError

            monkeypatch.setattr(turns._beginning._router, "target", broken)
            with pytest.raises(ZeroDivisionError):
                await turns.background.start(house.ask(background=True))

    asyncio.run(main())
    assert house.kept() == []


def test_a_question_that_interrupts_ends_one_that_has_not_begun(house: Any, monkeypatch: pytest.MonkeyPatch):
    async def whole(conversation: Conversation) -> None:
        await conversation.whole(openai_reply("answer"))

    house.upstream.scripts[house.key] = whole

    async def main() -> None:
        async with house.turns() as turns:
            find, found = turns._beginning._router.target, asyncio.Event()

            async def slowly(*args: Any) -> Any:
                await found.wait()
                return await find(*args)

            monkeypatch.setattr(turns._beginning._router, "target", slowly)
            first = asyncio.create_task(turns.take(house.ask()))
            await asyncio.sleep(0)
            second = asyncio.create_task(turns.take(house.ask(if_busy="interrupt")))
            await asyncio.sleep(0)
            found.set()
            with pytest.raises(TurnCancelledError):
                await first
            await second

    asyncio.run(main())
    assert [(row.role, row.status) for row in house.kept()] == [
        ("user", "complete"),
        ("user", "complete"),
        ("assistant", "complete"),
    ]


def test_who_follows_a_silent_answer_gets_comments(house: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(signs_of_life, "SIGN_OF_LIFE_SECONDS", 0.02)
    model = upstream.scripts[house.key] = Model()
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def main() -> None:
        async with house.turns() as turns:
            loaded = await turns.background.start(house.ask(background=True))
            follower = Follower(Streams(house.database, "other"), house.database)
            follow = asyncio.create_task(follower.follow(house.user_id, loaded.answer_id, send, 0, None))
            await until(lambda: sent.count(b": still here\n\n") > 1)
            model.let.set()
            await follow

    asyncio.run(main())
    events = b"".join(part for part in sent if not part.startswith(b":"))
    assert [line for line in events.split(b"\n") if line.startswith(b"id: ")] == [b"id: %d" % n for n in range(1, 6)]


def test_signs_of_life_are_told_by_the_databases_clock(house: Any):
    worker = workers.Worker(house.database)
    asyncio.run(worker.appear())

    def found(condition: Any) -> int:
        query = sa.select(sa.func.count()).select_from(worker_table).where(condition)
        return house.database.read_sync(lambda connection: connection.execute(query).scalar_one())

    assert found(workers.is_alive) == 1
    assert found(worker_table.c.seen_at < seconds_ago(sa.literal(30.0))) == 0
    seen = house.database.read_sync(lambda connection: connection.execute(sa.select(worker_table.c.seen_at)).scalar())
    assert abs((now() - seen).total_seconds()) < 60
    asyncio.run(worker.appear())
    assert found(sa.true()) == 1
