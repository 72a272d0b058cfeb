"""One conversation, many questions at once: branches, the queue at a branch's tip, more answers to a question."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.model import until
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Script, Upstream, openai_chunks, openai_reply


class Gate:
    """An upstream that answers, in words that say what it was asked, when it is let."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.seen: list[list[str]] = []

    async def __call__(self, conversation: Conversation) -> None:
        body = conversation.seen.json
        self.seen.append([message["content"] for message in body["messages"]])
        text = f"re: {self.seen[-1][-1]}"
        if body.get("stream"):
            await conversation.head()
            first, *others = openai_chunks("re:", " " + text.removeprefix("re: "))
            await conversation.chunk(first)
            await conversation.chunk(others[0])
            while not self.open.is_set():
                await asyncio.sleep(0.01)
            for event in others[1:]:
                await conversation.chunk(event)
            await conversation.end()
            return
        while not self.open.is_set():
            await asyncio.sleep(0.01)
        await conversation.whole(openai_reply(text))


@pytest.fixture
def gate(script: Callable[[Script], None]) -> Gate:
    made = Gate()
    script(made)
    return made


def tree(user: Client, session: str) -> dict[str, tuple[str | None, str]]:
    """Return each message's text with that of its parent and its status."""
    rows = user.get(f"/sessions/{session}/messages/?limit=1000").json
    texts = {row["id"]: row["content"] for row in rows}
    return {row["content"]: (texts.get(row["parent_message_id"]), row["status"]) for row in rows}


def head(user: Client, session: str) -> int | None:
    return user.get(f"/sessions/{session}").json["head_message_id"]


def leave_at_once(user: Client, body: dict[str, Any]) -> None:
    """Send a question, stay a little, and leave before anything is answered."""
    host, port = user.url.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    head = (
        f"POST /llm/text-completion/ HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {user.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode() + data)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def running(user: Client, session: str) -> list[Any]:
    return [row for row in user.get(f"/sessions/{session}/messages/").json if row["status"] == "running"]


def test_questions_at_the_tip_come_one_after_the_other(user: Client, gate: Gate):
    session = user.session()
    with ThreadPoolExecutor() as pool:
        asked = []
        for text in ("a", "b", "c"):
            asked.append(pool.submit(user.ask, text, session_id=session))
            assert until(lambda: len(gate.seen) == 1)
        assert len(running(user, session)) == 1
        gate.open.set()
        answers = [each.result() for each in asked]
    assert [answer.status for answer in answers] == [200] * 3
    first, second, third = (seen[-1] for seen in gate.seen)
    assert {first, second, third} == {"a", "b", "c"}
    assert gate.seen[2] == [first, f"re: {first}", second, f"re: {second}", third]
    assert head(user, session) in {answer.json["assistant_message"]["id"] for answer in answers}


def test_questions_below_a_named_parent_are_siblings_and_wait_for_nobody(user: Client, gate: Gate):
    session = user.session()
    gate.open.set()
    root = user.ask("root", session_id=session).json["assistant_message"]["id"]
    gate.open.clear()
    gate.seen.clear()
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(user.ask, text, session_id=session, parent_message_id=root) for text in "abc"]
        assert until(lambda: len(gate.seen) == 3)
        gate.open.set()
        assert [each.result().status for each in asked] == [200] * 3
    kept = tree(user, session)
    assert {kept[text][0] for text in "abc"} == {"re: root"}
    assert {kept[f"re: {text}"][0] for text in "abc"} == set("abc")


def test_a_question_that_does_not_want_to_wait_is_told_who_is_answered(user: Client, gate: Gate):
    session = user.session()
    with user.open_stream("first", session_id=session) as reader:
        events = iter(reader)
        answer_id = next(events).data["assistant_message_id"]
        refused = user.ask("second", session_id=session, if_busy="reject")
        gate.open.set()
        assert list(events)[-1].event == "done"
    assert (refused.status, refused.json["code"], refused.json["message_id"]) == (409, "session_busy", answer_id)
    assert set(tree(user, session)) == {"first", "re: first"}
    assert user.ask("third", session_id=session, if_busy="reject").status == 200


def test_a_question_may_interrupt_the_one_before(user: Client, gate: Gate):
    session = user.session()
    with user.open_stream("first", session_id=session) as reader:
        events = iter(reader)
        start = next(events)
        next(events)
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(user.ask, "second", session_id=session, if_busy="interrupt")
            last = list(events)[-1]
            assert (last.event, last.data["code"]) == ("error", "turn_cancelled")
            gate.open.set()
            answer = asked.result()
    assert answer.json["response_text"] == "re: second"
    kept = user.get(f"/messages/{start.data['assistant_message_id']}").json
    assert (kept["status"], kept["status_reason"], kept["content"]) == ("partial", "interrupted", "re:")
    assert answer.json["user_message"]["parent_message_id"] == kept["id"]


def test_a_running_answer_is_no_parent(user: Client, gate: Gate):
    session = user.session()
    with user.open_stream("first", session_id=session) as reader:
        answer_id = next(iter(reader)).data["assistant_message_id"]
        for path, body in (
            ("/llm/text-completion/", {"text": "x", "session_id": session, "parent_message_id": answer_id}),
            (f"/sessions/{session}/messages/", {"role": "user", "content": "x", "parent_message_id": answer_id}),
        ):
            refused = user.post(path, {"provider": "openai", "model": "m"} | body if "text" in body else body)
            assert (refused.status, refused.json["code"]) == (409, "answer_running")
        gate.open.set()


def test_a_client_that_leaves_makes_room_for_the_next_question(user: Client, gate: Gate):
    session = user.session()
    with user.open_stream("first", session_id=session) as reader:
        next(iter(reader))
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(user.ask, "second", session_id=session)
            reader.close()
            gate.open.set()
            answer = asked.result()
    assert answer.json["response_text"] == "re: second"
    assert not running(user, session)


def test_a_question_that_waits_and_leaves_is_not_stored(user: Client, gate: Gate):
    session = user.session()
    with user.open_stream("first", session_id=session) as first:
        next(iter(first))
        leave_at_once(user, {"text": "second", "session_id": session, "provider": "openai", "model": "m"})
        gate.open.set()
        list(first)
    assert user.ask("third", session_id=session).status == 200
    assert set(tree(user, session)) == {"first", "re: first", "third", "re: third"}


def test_the_head_stays_where_its_user_moved_it_meanwhile(user: Client, gate: Gate):
    session = user.session()
    gate.open.set()
    first = user.ask("first", session_id=session).json
    gate.open.clear()
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(user.ask, "second", session_id=session)
        assert until(lambda: running(user, session))
        note = user.post(
            f"/sessions/{session}/messages/",
            {"role": "user", "content": "note", "parent_message_id": first["assistant_message"]["id"]},
        ).json
        gate.open.set()
        assert asked.result().status == 200
    assert head(user, session) == note["id"]


def test_a_question_is_answered_once_more(user: Client, gate: Gate):
    gate.open.set()
    session = user.session()
    user.ask("before", session_id=session)
    first = user.ask("question", session_id=session).json
    again = user.post(f"/messages/{first['assistant_message']['id']}/regenerate", {}).json
    other = user.post(f"/messages/{first['user_message']['id']}/regenerate", {"model": "another"}).json
    assert gate.seen[1] == gate.seen[2] == gate.seen[3]
    parents = [each["assistant_message"]["parent_message_id"] for each in (first, again, other)]
    assert parents == [first["user_message"]["id"]] * 3
    assert again["user_message"] == first["user_message"]
    assert head(user, session) == other["assistant_message"]["id"]
    assert len(user.get(f"/sessions/{session}/messages/").json) == 6
    streamed = user.stream(path=f"/messages/{other['assistant_message']['id']}/regenerate")
    assert streamed[-1].data["assistant_message"]["parent_message_id"] == first["user_message"]["id"]


def test_a_question_is_asked_in_other_words(user: Client, gate: Gate):
    gate.open.set()
    session = user.session()
    first = user.ask("one", session_id=session).json
    user.ask("two", session_id=session)
    edited = user.post(f"/messages/{first['user_message']['id']}/edit", {"text": "uno"}).json
    assert gate.seen[-1] == ["uno"]
    assert edited["user_message"]["parent_message_id"] is None
    assert user.ask("due", session_id=session).status == 200
    assert gate.seen[-1] == ["uno", "re: uno", "due"]
    assert tree(user, session)["two"] == ("re: one", "complete")


def test_several_models_answer_side_by_side(user: Client, gate: Gate):
    session = user.session()
    gate.open.set()
    question = user.ask("question", session_id=session).json["user_message"]
    gate.open.clear()
    gate.seen.clear()
    models = [{"provider": "openai", "model": name} for name in ("first", "second")]
    models.append({"provider": "anthropic", "model": "none"})
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(user.post, f"/messages/{question['id']}/compare", {"models": models})
        assert until(lambda: len(gate.seen) == 2)
        gate.open.set()
        answers = asked.result().json["answers"]
    assert [each["model"] for each in answers] == ["first", "second", "none"]
    stored = [each["answer"]["assistant_message"] for each in answers[:2]]
    assert {each["parent_message_id"] for each in stored} == {question["id"]}
    assert answers[2]["error"]["code"] == "provider_key_missing"
    assert head(user, session) == stored[0]["id"]
    assert not running(user, session)


def test_several_models_stream_together(user: Client, gate: Gate):
    gate.open.set()
    session = user.session()
    question = user.ask("question", session_id=session).json["user_message"]
    models = [{"provider": "openai", "model": name} for name in ("first", "second")]
    with user.open_stream(path=f"/messages/{question['id']}/compare", models=models, messages=[]) as reader:
        events = list(reader)
    assert [event.id for event in events] == [str(number) for number in range(1, len(events) + 1)]
    assert events[-1].event == "end"
    for number in (0, 1):
        own = [event for event in events if event.data.get("answer") == number]
        assert [own[0].event, own[-1].event] == ["start", "done"]
        assert "".join(event.data["text"] for event in own if event.event == "text") == "re: question"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"models": []}, "models"),
        ({}, "Object missing required field `models`."),
        ({"models": [{"provider": "openai", "model": "m"}] * 9}, "models"),
        ({"models": [{"provider": "openai", "model": "m"}, {"provider": "nobody", "model": "m"}]}, "provider"),
    ],
)
def test_what_cannot_be_compared(user: Client, gate: Gate, body: dict[str, Any], said: str):
    gate.open.set()
    question = user.ask("question", session_id=user.session()).json["user_message"]
    answer = user.post(f"/messages/{question['id']}/compare", body)
    assert (answer.status, answer.json["detail"].partition(":")[0]) == (422, said)


@pytest.mark.parametrize("action", ["regenerate", "edit", "compare"])
def test_nobody_elses_message_is_asked_about(server: Server, user: Client, gate: Gate, action: str):
    gate.open.set()
    question = user.ask("question", session_id=user.session()).json["user_message"]["id"]
    body = {"text": "x", "models": [{"provider": "openai", "model": "m"}]}
    stranger = server.user()
    assert stranger.post(f"/messages/{question}/{action}", body).status == 404
    for wrong in (0, -1, "x", 2**63, "%20", 10**30):
        assert user.post(f"/messages/{wrong}/{action}", body).status == 404


def test_whoever_answered_nobody_knows(user: Client):
    session = user.session()
    note = user.post(f"/sessions/{session}/messages/", {"role": "user", "content": "x"}).json
    answer = user.post(f"/messages/{note['id']}/regenerate", {})
    assert (answer.status, answer.json["detail"].partition(":")[0]) == (422, "provider")
    said = user.post(f"/sessions/{session}/messages/", {"role": "assistant", "content": "x"}).json
    assert user.post(f"/messages/{said['id']}/edit", {"text": "x"}).status == 422


MANY = 50


@pytest.mark.parametrize("named", [True, False])
def test_fifty_clients_at_once_over_two_processes(user: Client, neighbour: Server, upstream: Upstream, named: bool):
    other = Client(neighbour.url, user.token, user.provider_key)

    async def answer(conversation: Conversation) -> None:
        await conversation.whole(openai_reply(f"re: {conversation.seen.json['messages'][-1]['content']}"))

    upstream.scripts[user.provider_key] = answer
    session = user.session()
    parent = user.ask("root", session_id=session).json["assistant_message"]["id"]
    place = {"parent_message_id": parent} if named else {}
    texts = [f"q{number}" for number in range(MANY)]
    with ThreadPoolExecutor(MANY) as pool:
        answers = list(
            pool.map(
                lambda pair: (user, other)[pair[0] % 2].ask(pair[1], session_id=session, **place), enumerate(texts)
            )
        )
    assert {reply.status for reply in answers} == {200}
    rows = user.get(f"/sessions/{session}/messages/?limit=1000").json
    assert len(rows) == 2 * MANY + 2
    kept = tree(user, session)
    for text in texts:
        assert kept[f"re: {text}"] == (text, "complete")
    above = [kept[text][0] for text in texts]
    if named:
        assert set(above) == {"re: root"}
    else:
        # One branch: each question stands below another one's answer, and none beside another.
        assert len(set(above)) == MANY
        assert len(user.get(f"/messages/{head(user, session)}/history").json) == 2 * MANY + 2


def test_an_answer_that_says_nothing_is_the_branchs_tip_all_the_same(user: Client, script: Callable[[Script], None]):
    async def nothing(conversation: Conversation) -> None:
        await conversation.whole(openai_reply(""))

    script(nothing)
    session = user.session()
    first = user.ask("first", session_id=session).json
    assert head(user, session) == first["assistant_message"]["id"]
    second = user.ask("second", session_id=session).json
    assert second["user_message"]["parent_message_id"] == first["assistant_message"]["id"]
