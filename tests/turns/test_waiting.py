"""Answers in the background that wait: in their session's queue, while what they read is made to fit, and with a key that is gone; many followers, and slow ones."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.model import scripted, until, user_of
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Upstream, openai_chunks
from tests.turns.test_background import at, change, following, message
from tests.turns.test_context_in_turns import LONG, SMALL, Model, begun, fill


class Summarising:
    """A model that waits while it summarises; it is ``let``, or left."""

    def __init__(self) -> None:
        self.asked, self.let, self.left = threading.Event(), threading.Event(), threading.Event()
        self._answering = scripted("openai", Model())

    async def __call__(self, conversation: Conversation) -> None:
        if b"takes the place of" in conversation.seen.body and not self.let.is_set():
            self.asked.set()
            while not self.let.is_set():
                if conversation.reader.at_eof():
                    self.left.set()
                    return
                await asyncio.sleep(0.01)
        await self._answering(conversation)


@pytest.fixture
def summarising(server: Server, upstream: Upstream) -> tuple[Client, str, Summarising]:
    """A user with a session that has to be summarised next."""
    model = Summarising()
    user = user_of(server, upstream, "openai", Model())
    session = user.session()
    fill(user, session, 7)
    upstream.scripts[user.provider_key] = model
    return user, session, model


def test_who_asks_is_told_before_the_summary_is_made(summarising: tuple[Client, str, Summarising]):
    user, session, model = summarising
    body = {"provider": "openai", "model": SMALL, "text": LONG, "session_id": session, "background": True}
    told = user.post("/llm/text-completion/", body)
    assert told.status == 202, told
    assert model.asked.wait(10)
    answer_id = told.json["assistant_message_id"]
    assert message(user, answer_id)["status"] == "running"
    with following(user, answer_id) as response:
        assert response.readline() == b"id: 1\n"
        model.let.set()
        assert b"event: done" in response.read()
    assert message(user, answer_id)["status"] == "complete"


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
def test_one_is_cancelled_while_the_summary_is_made(
    summarising: tuple[Client, str, Summarising], neighbour: Server, elsewhere: bool
):
    user, session, model = summarising
    body = {"provider": "openai", "model": SMALL, "text": LONG, "session_id": session, "background": True}
    answer_id = user.post("/llm/text-completion/", body).json["assistant_message_id"]
    assert model.asked.wait(10)
    canceller = at(neighbour, user) if elsewhere else user
    cancelled = canceller.post(f"/messages/{answer_id}/cancel").json
    assert (cancelled["status"], cancelled["status_reason"]) == ("partial", "cancelled")
    assert model.left.wait(10)
    with following(user, answer_id) as response:
        assert b'"reason":"cancelled"' in response.read()


class Slow:
    """A model that says a word and waits until it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.asked = 0

    async def __call__(self, conversation: Conversation) -> None:
        self.asked += 1
        await conversation.head()
        for number, event in enumerate(openai_chunks("one ", "two")):
            while number == 2 and not self.let.is_set():
                await asyncio.sleep(0.01)
            await conversation.chunk(event)
        await conversation.end()


def test_who_leaves_the_queue_before_its_turn_asks_nothing(user: Client, upstream: Upstream):
    model = upstream.scripts[user.provider_key] = Slow()
    session = user.session()
    first = user.ask("first", session_id=session, background=True).json["assistant_message_id"]
    assert until(lambda: model.asked)
    body = {"provider": "openai", "model": "m", "text": "left", "session_id": session, "background": True}
    with begun(user, body):
        time.sleep(0.3)  # it waits
    time.sleep(0.2)
    model.let.set()
    assert until(lambda: message(user, first)["status"] == "complete")
    assert user.stream("third", session_id=session)[-1].event == "done"
    said = [each["content"] for each in user.get(f"/sessions/{session}/messages/").json if each["role"] == "user"]
    assert said == ["first", "third"]
    assert model.asked == 2


def test_one_whose_key_is_deleted_meanwhile_goes_on(user: Client, upstream: Upstream):
    model = upstream.scripts[user.provider_key] = Slow()
    session = user.session()
    answer_id = user.ask("hello", session_id=session, background=True).json["assistant_message_id"]
    assert until(lambda: model.asked)
    assert user.delete(f"/api-keys/{user.get('/api-keys/').json[0]['id']}").status == 204
    model.let.set()
    assert until(lambda: message(user, answer_id)["status"] == "complete")


def test_one_that_is_begun_anew_without_its_key_says_so(new_server: Callable[..., Server], upstream: Upstream):
    first = new_server()
    user = first.user()
    model = upstream.scripts[user.provider_key] = Slow()
    answer_id = user.ask("hello", session_id=user.session(), background=True).json["assistant_message_id"]
    assert until(lambda: model.asked)
    second = new_server(data_dir=first.data_dir)
    beside = at(second, user)
    key = beside.get("/api-keys/").json[0]["id"]
    followers = [Followed(beside, answer_id) for _ in range(3)]
    assert until(lambda: all(b"one" in follower.data for follower in followers))
    first.kill()
    assert beside.delete(f"/api-keys/{key}").status == 204
    change(first, "UPDATE running_turns SET worker_id = ''")  # nobody waits until it counts as dead
    assert until(lambda: message(beside, answer_id)["status"] == "partial", 15)
    assert message(beside, answer_id)["status_reason"] == "provider_key_missing"
    for follower in followers:
        follower.thread.join(10)
        assert b"event: error" in follower.data.split(b"\n\n")[-2]


class Followed:
    """Reads an answer in a thread of its own, to its end."""

    def __init__(self, client: Client, answer_id: int) -> None:
        self.data = b""
        self._client, self._answer_id = client, answer_id
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with following(self._client, self._answer_id) as response:
            while more := response.read1(65536):
                self.data += more


def test_two_hundred_follow_one_answer_from_two_processes(user: Client, neighbour: Server, upstream: Upstream):
    model = upstream.scripts[user.provider_key] = Slow()
    answer_id = user.ask("hello", session_id=user.session(), background=True).json["assistant_message_id"]
    clients = (user, at(neighbour, user))
    followers = [Followed(clients[number % 2], answer_id) for number in range(200)]
    assert until(lambda: all(b"one" in follower.data for follower in followers), 20)
    model.let.set()
    for follower in followers:
        follower.thread.join(20)
    assert len({follower.data for follower in followers}) == 1
    assert b"event: done" in followers[0].data
    assert model.asked == 1


@pytest.mark.parametrize("wrong", ["abc", "-5", "1.5", "9" * 30, "1e9", " ", "½", "0x10"])
def test_a_last_event_id_that_is_none(user: Client, upstream: Upstream, wrong: str):
    answer = user.ask("hello", session_id=user.session()).json["assistant_message"]["id"]
    found: Any = user.request(
        "GET", f"/messages/{answer}/stream", **{"Last-Event-ID": wrong.encode().decode("latin-1")}
    )
    assert found.status in (200, 422)
    assert (found.status == 422) == bool(wrong.strip())
