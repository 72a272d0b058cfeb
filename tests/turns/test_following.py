"""A streamed answer is followed again from any event on, while it runs and after, from any process; answers in the background; cancelling."""

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.model import until
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Upstream, openai_chunks

WORDS = [f"word{number} " for number in range(40)]


class Slow:
    """An upstream that stops after some words until it is let."""

    def __init__(self, stops_after: int = 10) -> None:
        self.open = threading.Event()
        self.stops_after = stops_after
        self.calls = 0

    async def __call__(self, conversation: Conversation) -> None:
        self.calls += 1
        await conversation.head()
        for number, event in enumerate(openai_chunks(*WORDS)):
            while number == self.stops_after and not self.open.is_set():
                await asyncio.sleep(0.01)
            await conversation.chunk(event)
        await conversation.end()


@contextmanager
def following(client: Client, message_id: int, query: str = "", **headers: str) -> Iterator[http.client.HTTPResponse]:
    host, port = client.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    sent = {"Authorization": f"Bearer {client.token}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    connection.request("GET", f"/messages/{message_id}/stream{query}", headers=sent)
    yield connection.getresponse()
    connection.close()


def followed(client: Client, message_id: int, query: str = "", **headers: str) -> bytes:
    with following(client, message_id, query, **headers) as response:
        data = response.read()
        assert response.status == 200, data
        return data


def first_seen(client: Client, session: str, **fields: Any) -> tuple[bytes, int]:
    """Stream an answer and return its bytes and its id."""
    host, port = client.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    body = {"text": "hello", "provider": "openai", "model": "m", "stream": True, "session_id": session} | fields
    headers = {"Authorization": f"Bearer {client.token}", "Content-Type": "application/json"}
    connection.request("POST", "/llm/text-completion/", json.dumps(body), headers)
    data = connection.getresponse().read()
    connection.close()
    return data, json.loads(data.split(b"data: ", 2)[1].split(b"\n")[0])["assistant_message_id"]


def split(data: bytes) -> list[bytes]:
    return [each + b"\n\n" for each in data.split(b"\n\n") if each]


def test_an_answer_is_streamed_again_as_it_was(user: Client):
    data, answer_id = first_seen(user, user.session())
    events = split(data)
    assert followed(user, answer_id) == data
    for after in (1, 2, len(events) - 1):
        assert followed(user, answer_id, f"?after={after}") == b"".join(events[after:])
        assert followed(user, answer_id, Last_Event_ID=str(after)) == b"".join(events[after:])
    assert followed(user, answer_id, f"?after={len(events)}") == b""
    assert followed(user, answer_id, "?after=999999") == b""


def test_an_answer_that_was_not_streamed_is_followed_from_its_beginning(user: Client):
    answer = user.ask("hello", session_id=user.session()).json
    answer_id = answer["assistant_message"]["id"]
    names = [line for line in followed(user, answer_id).decode().splitlines() if line.startswith("event")]
    assert names == ["event: start", "event: text", "event: usage", "event: done"]
    done = json.loads(split(followed(user, answer_id))[-1].split(b"data: ")[1])
    assert done == answer
    with following(user, answer_id, "?after=1") as response:
        assert (response.status, json.loads(response.read())["code"]) == (410, "stream_gone")


@pytest.mark.parametrize("wrong", ["?after=x", "?after=-1", "?after=1e3", "?after=99999999999"])
def test_what_is_no_number_of_an_event(user: Client, wrong: str):
    _, answer_id = first_seen(user, user.session())
    with following(user, answer_id, wrong) as response:
        assert response.status == 422


def test_who_may_follow_what(server: Server, user: Client):
    session = user.session()
    _, answer_id = first_seen(user, session)
    question = user.get(f"/messages/{answer_id}").json["parent_message_id"]
    for client, message_id, status in ((server.user(), answer_id, 404), (user, question, 422), (user, 10**12, 404)):
        with following(client, message_id) as response:
            assert response.status == status
        assert client.post(f"/messages/{message_id}/cancel").status == (200 if status == 422 else 404)


@pytest.fixture
def other(user: Client, neighbour: Server) -> Client:
    """The same user, before another process."""
    return Client(neighbour.url, user.token, user.provider_key)


def test_an_answer_is_followed_while_it_runs_here_and_from_another_process(
    user: Client, other: Client, upstream: Upstream
):
    slow = Slow()
    upstream.scripts[user.provider_key] = slow
    session = user.session()
    with user.open_stream("hello", session_id=session) as reader:
        events = iter(reader)
        answer_id = next(events).data["assistant_message_id"]
        next(events)
        with following(user, answer_id) as here, following(other, answer_id, "?after=3") as there:
            assert here.readline() == b"id: 1\n"
            assert there.readline() == b"id: 4\n"
            slow.open.set()
            rest_here, rest_there = here.read(), there.read()
        list(events)
    whole = followed(user, answer_id)
    assert b"id: 1\n" + rest_here == whole
    assert b"id: 4\n" + rest_there == b"".join(split(whole)[3:])
    assert slow.calls == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_in_the_background_goes_on_when_its_client_left(user: Client, upstream: Upstream, streamed: bool):
    slow = Slow()
    upstream.scripts[user.provider_key] = slow
    session = user.session()
    if streamed:
        with user.open_stream("hello", session_id=session, background=True) as reader:
            answer_id = next(iter(reader)).data["assistant_message_id"]
    else:
        begun = user.ask("hello", session_id=session, background=True)
        assert begun.status == 202
        answer_id = begun.json["assistant_message_id"]
        assert begun.json["user_message"]["content"] == "hello"
    assert user.get(f"/messages/{answer_id}").json["status"] == "running"
    slow.open.set()
    assert until(lambda: user.get(f"/messages/{answer_id}").json["status"] == "complete")
    assert user.get(f"/messages/{answer_id}").json["content"] == "".join(WORDS)
    assert split(followed(user, answer_id))[-1].startswith(b"id: 43\nevent: done")
    assert len(user.get("/usage/records/").json) == 1


def test_what_cannot_begin_in_the_background_says_so_at_once(user: Client, upstream: Upstream):
    assert user.ask("hello", background=True).status == 422
    answer = user.post(
        "/llm/text-completion/",
        {"text": "x", "provider": "anthropic", "model": "m", "session_id": user.session(), "background": True},
    )
    assert (answer.status, answer.json["code"]) == (400, "provider_key_missing")


def test_a_background_answer_whose_provider_fails_is_kept_with_the_reason(user: Client, upstream: Upstream):
    async def failing(conversation: Conversation) -> None:
        await conversation.whole({"error": {"message": "slow down"}}, 429)

    upstream.scripts[user.provider_key] = failing
    session = user.session()
    answer_id = user.ask("hello", session_id=session, background=True).json["assistant_message_id"]
    assert until(lambda: user.get(f"/messages/{answer_id}").json["status"] == "partial")
    assert user.get(f"/messages/{answer_id}").json["status_reason"] == "provider_rate_limited"
    last = split(followed(user, answer_id))[-1]
    assert b"event: error" in last
    assert b"provider_rate_limited" in last
    assert user.get(f"/sessions/{session}").json["head_message_id"] is None


@pytest.mark.parametrize("elsewhere", [False, True])
def test_any_running_answer_is_cancelled(user: Client, other: Client, upstream: Upstream, elsewhere: bool):
    slow = Slow()
    upstream.scripts[user.provider_key] = slow
    session = user.session()
    with user.open_stream("hello", session_id=session) as reader:
        events = iter(reader)
        answer_id = next(events).data["assistant_message_id"]
        next(events)
        cancelled = (other if elsewhere else user).post(f"/messages/{answer_id}/cancel").json
        assert (cancelled["status"], cancelled["status_reason"]) == ("partial", "cancelled")
        last = list(events)[-1]
        assert (last.event, last.data["code"]) == ("error", "turn_cancelled")
    assert cancelled["content"].startswith("word0 ")
    again = user.post(f"/messages/{answer_id}/cancel").json
    assert again == cancelled
    assert split(followed(other, answer_id))[-1].startswith(b"id: ")
    slow.open.set()
    assert [row["outcome"] for row in user.get("/usage/records/").json] == ["cancelled"]


def test_many_follow_one_answer(user: Client, upstream: Upstream):
    slow = Slow()
    upstream.scripts[user.provider_key] = slow
    session = user.session()
    answer_id = user.ask("hello", session_id=session, background=True).json["assistant_message_id"]
    seen: list[bytes] = []
    threads = [threading.Thread(target=lambda: seen.append(followed(user, answer_id))) for _ in range(30)]
    for thread in threads:
        thread.start()
    slow.open.set()
    for thread in threads:
        thread.join()
    assert len(seen) == 30
    assert len(set(seen)) == 1


def test_a_message_that_is_deleted_is_not_followed_any_more(user: Client, upstream: Upstream):
    slow = Slow()
    upstream.scripts[user.provider_key] = slow
    session = user.session()
    answer_id = user.ask("hello", session_id=session, background=True).json["assistant_message_id"]
    with following(user, answer_id) as response:
        assert response.readline() == b"id: 1\n"
        assert user.delete(f"/sessions/{session}").status == 204
        slow.open.set()
        assert b"not_found" in response.read()


def test_what_ran_in_a_process_that_was_killed(new_server, upstream):
    """In the background it begins anew in the next process; before a client it is followed to where it broke off."""
    first = new_server()
    user, left = first.user(), first.user()
    slow = Slow()
    upstream.scripts |= {user.provider_key: slow, left.provider_key: Slow()}
    session = user.session(system_prompt="Be brief.")
    answer_id = user.ask("hello", session_id=session, background=True).json["assistant_message_id"]
    with left.open_stream("hello", session_id=left.session()) as reader:
        events = iter(reader)
        broken_id = next(events).data["assistant_message_id"]
        for _ in range(5):
            next(events)
        assert until(lambda: slow.calls == 1)
        assert until(lambda: b"word3" in following_some(user, answer_id))
        first.kill()
    again = new_server(data_dir=first.data_dir)
    user.url = left.url = again.url
    found = split(followed(left, broken_id))
    assert b"event: error" in found[-1]
    assert b'"reason":"interrupted"' in found[-1]
    assert left.get(f"/messages/{broken_id}").json["status_reason"] == "interrupted"
    assert until(lambda: slow.calls == 2, 15)
    slow.open.set()
    assert until(lambda: user.get(f"/messages/{answer_id}").json["status"] == "complete", 10)
    assert user.get(f"/messages/{answer_id}").json["content"] == "".join(WORDS)
    assert split(followed(user, answer_id))[-1].startswith(b"id: 43\nevent: done")
    asked = [json.loads(seen.body)["messages"] for seen in upstream.calls(user.provider_key)]
    assert asked[0] == asked[1]
    assert sorted(row["outcome"] for row in user.get("/usage/records/").json) == ["complete", "interrupted"]
    assert user.get(f"/sessions/{session}").json["head_message_id"] == answer_id
    assert len(user.get(f"/sessions/{session}/messages/").json) == 2


def following_some(client: Client, message_id: int) -> bytes:
    """Return what comes of an answer at once."""
    with following(client, message_id) as response:
        return b"".join(response.readline() for _ in range(24))


def test_a_background_answer_outlasts_a_process_that_ends(new_server, shared_server, upstream):
    beside = shared_server()
    first = new_server(data_dir=beside.data_dir, RINI_SHUTDOWN_GRACE_SECONDS="0.3", **beside.settings)
    user = first.user()
    slow = Slow()
    upstream.scripts[user.provider_key] = slow
    session = user.session()
    answer_id = user.ask("hello", session_id=session, background=True).json["assistant_message_id"]
    assert until(lambda: slow.calls == 1)
    other = Client(beside.url, user.token, user.provider_key)
    first.stop()
    assert until(lambda: slow.calls == 2, 15)
    slow.open.set()
    assert until(lambda: other.get(f"/messages/{answer_id}").json["status"] == "complete", 10)
    assert sorted(row["outcome"] for row in other.get("/usage/records/").json) == ["complete", "interrupted"]


def test_a_background_answer_is_completed_when_its_process_ends_in_time(new_server, shared_server, upstream):
    beside = shared_server()
    first = new_server(data_dir=beside.data_dir, **beside.settings)
    user = first.user()
    slow = Slow()
    upstream.scripts[user.provider_key] = slow
    session = user.session()
    answer_id = user.ask("hello", session_id=session, background=True).json["assistant_message_id"]
    assert until(lambda: slow.calls == 1)
    opening = threading.Timer(0.5, slow.open.set)
    opening.start()
    first.stop()
    opening.join()
    again = Client(beside.url, user.token)
    assert again.get(f"/messages/{answer_id}").json["status"] == "complete"
    assert slow.calls == 1
