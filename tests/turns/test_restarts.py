"""Answers and their followers when processes end in good order: nothing is given up for that, and whoever follows is told to come again."""

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rini.canon import PartStop, Text
from rini.errors import AnswerBrokeOffError
from rini.turns import runs
from rini.turns.following import Streams
from rini.turns.lasting import MOST_ATTEMPTS, adopt
from tests.attack.test_core_turns import House
from tests.support.model import codec_of, events_of, reply, until
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Upstream
from tests.turns.test_background import at, begin, followed, following, message, read_until
from tests.wire.openai_responses import spec


@pytest.fixture(params=["sqlite", "postgres"])
def house(request: pytest.FixtureRequest, tmp_path: Path, upstream: Upstream) -> Iterator[Any]:
    url = f"sqlite:///{tmp_path / 'turns.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")
    made = House(url, tmp_path, upstream)
    yield made
    made.database.close()


class Model:
    """Says two words, and ends when it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.asked = 0

    async def __call__(self, conversation: Conversation) -> None:
        self.asked += 1
        encoder = codec_of("openai", conversation.seen.path).stream_encoder()
        await conversation.head()
        for event in events_of(reply(Text("one two")), 2):
            while isinstance(event, PartStop) and not self.let.is_set():
                await asyncio.sleep(0.01)
            if data := encoder.feed(event):
                await conversation.chunk(data)
        await conversation.chunk(encoder.close())
        await conversation.end()


async def till(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def left(house: Any) -> int:
    """Begin an answer in a process that ends, and return its id."""
    async with house.turns() as turns:
        return (await turns.background.start(house.ask(background=True))).answer_id


def test_an_answer_outlasts_any_number_of_restarts(house: Any, upstream: Upstream):
    model = upstream.scripts[house.key] = Model()

    async def main() -> int:
        answer_id = await left(house)
        for restart in range(2 * MOST_ATTEMPTS):
            asked = model.asked
            (ask,) = await house.database.write(adopt, "w", left_only=True)
            assert ask.completes == answer_id
            async with house.turns() as turns:
                await turns.background.resume(ask)
                await till(lambda asked=asked: model.asked > asked)
                if restart == 2 * MOST_ATTEMPTS - 1:
                    model.let.set()
                    await till(lambda: house.kept()[-1].status != "running")
        return answer_id

    asyncio.run(main())
    answer = house.kept()[-1]
    assert (answer.status, answer.content) == ("complete", "one two")


def test_an_answer_that_ends_its_processes_is_given_up(house: Any, upstream: Upstream):
    upstream.scripts[house.key] = Model()

    async def main() -> None:
        answer_id = await left(house)
        # Left once in good order; that does not count.
        for _ in range(MOST_ATTEMPTS):
            assert len(await house.database.write(adopt, "w", left_only=True)) == 1
            await house.database.write(runs.lose, answer_id, "w")  # as the journal of a dead process tells
        assert await house.database.write(adopt, "w", left_only=True) == []

    asyncio.run(main())
    answer = house.kept()[-1]
    assert (answer.status, answer.status_reason) == ("partial", "interrupted")


def test_who_follows_is_told_of_each_restart(house: Any, upstream: Upstream):
    upstream.scripts[house.key] = Model()

    async def main() -> None:
        answer_id = await left(house)
        for _ in range(3):
            streams = Streams(house.database, "other")
            await house.database.write(adopt, "w", left_only=True)
            events = streams.follow(house.user_id, answer_id)
            assert await anext(events) == []
            await house.database.write(runs.leave, answer_id, "w")
            await house.database.write(adopt, "another", left_only=True)
            with pytest.raises(AnswerBrokeOffError, match="anew"):
                async with asyncio.timeout(10):
                    await anext(events)
            await house.database.write(runs.leave, answer_id, "another")

    asyncio.run(main())


@contextmanager
def getting(client: Client, path: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(client.url.removeprefix("http://"), timeout=30)
    connection.request("GET", path, headers={"Authorization": f"Bearer {client.token}"})
    yield connection.getresponse()
    connection.close()


# -- followers of a process that ends -----------------------------------------------------------------


@pytest.fixture
def ending(new_server: Callable[..., Server], shared_server: Callable[..., Server]) -> Server:
    """A process that ends soon after it is told to, beside another on the same database."""
    beside = shared_server()
    return new_server(data_dir=beside.data_dir, RINI_SHUTDOWN_GRACE_SECONDS="0.2", **beside.settings)


def test_a_follower_whose_process_ends_is_told_to_come_again(
    ending: Server, shared_server: Callable[..., Server], upstream: Upstream
):
    beside = shared_server()
    user = beside.user()
    model = upstream.scripts[user.provider_key] = Model()
    answer_id = begin(user, user.session())
    with following(at(ending, user), answer_id) as response:
        read_until(response, b'"one')
        assert ending.stop() == 0
        last = response.read().decode().strip().split("\n\n")[-1]
    # It has no number: what the client had before is what it goes on from.
    name, data = last.split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["code"] == "shutting_down"
    model.let.set()
    assert until(lambda: message(user, answer_id)["status"] == "complete")
    assert [number for number, _, _ in followed(user, answer_id, 2)] == [3, 4, 5]
    assert model.asked == 1


def test_the_follower_of_a_response_is_told_so_too(
    ending: Server, shared_server: Callable[..., Server], upstream: Upstream
):
    beside = shared_server()
    user = beside.user()
    model = upstream.scripts[user.provider_key] = Model()
    begun = user.post("/v1/responses", {"model": "openai/gpt-4o-mini", "input": "hi", "background": True}).json
    with getting(at(ending, user), f"/v1/responses/{begun['id']}?stream=true") as response:
        read_until(response, b'"one')
        assert ending.stop() == 0
        (last,) = spec.events_in(response.read().split(b"\n\n")[-2] + b"\n\n")
    assert (last["type"], last["code"]) == ("error", "shutting_down")
    assert spec.event_faults(last) == []
    model.let.set()
    assert until(lambda: user.get(f"/v1/responses/{begun['id']}").json["status"] == "completed")
    rest = user.get(f"/v1/responses/{begun['id']}?stream=true&starting_after={last['sequence_number']}")
    assert next(event["sequence_number"] for event in spec.events_in(rest.body)) == last["sequence_number"] + 1
    assert b"two" in rest.body
