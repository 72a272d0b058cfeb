"""What is deleted is not written any more: the call of its model ends, in whichever process, and what it took is booked."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.model import until
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Upstream, openai_chunks


class Endless:
    """A model that says a word and waits; ``left`` counts the callers that closed their connections."""

    def __init__(self) -> None:
        self.left = 0
        self.asked = 0
        self.over = threading.Event()

    async def __call__(self, conversation: Conversation) -> None:
        self.asked += 1
        await conversation.head()
        for event in openai_chunks("one ", finish=None):
            await conversation.chunk(event)
        try:
            await conversation.until_left(15)
        except TimeoutError:
            return
        self.left += 1


@pytest.fixture
def model(user: Client, upstream: Upstream) -> Endless:
    made = upstream.scripts[user.provider_key] = Endless()
    return made


@pytest.fixture
def other(user: Client, neighbour: Server) -> Client:
    return Client(neighbour.url, user.token, user.provider_key)


def begin(user: Client, session: str, model: Endless, **fields: Any) -> int:
    begun = user.ask("hello", session_id=session, background=True, **fields)
    assert begun.status == 202, begun
    assert until(lambda: model.asked)
    return begun.json["assistant_message_id"]


def booked(user: Client) -> Any:
    """The rows of the user's calls, once there are any."""
    return until(lambda: user.get("/usage/records/").json)


def delete_session(client: Client, session: str, _answer_id: int) -> None:
    assert client.delete(f"/sessions/{session}").status == 204


def delete_subtree(client: Client, _session: str, answer_id: int) -> None:
    question = client.get(f"/messages/{answer_id}").json["parent_message_id"]
    assert client.delete(f"/messages/{question}?count=2").status == 204


def delete_answer(client: Client, _session: str, answer_id: int) -> None:
    assert client.delete(f"/messages/{answer_id}").status == 204


def delete_conversation(client: Client, session: str, _answer_id: int) -> None:
    assert client.delete(f"/v1/conversations/conv_{session.replace('-', '')}").status == 200


DELETE = [delete_session, delete_subtree, delete_answer, delete_conversation]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
@pytest.mark.parametrize("delete", DELETE)
def test_the_call_of_a_deleted_answer_ends_and_is_booked(
    user: Client, other: Client, model: Endless, delete: Callable[..., None], elsewhere: bool
):
    session = user.session()
    answer_id = begin(user, session, model)
    delete(other if elsewhere else user, session, answer_id)
    assert until(lambda: model.left, 8)
    (row,) = booked(user)
    assert (row["outcome"], row["session_id"]) == ("cancelled", session)
    assert row["completion_tokens"] >= 0
    assert user.get(f"/messages/{answer_id}").status == 404


def test_the_client_of_a_deleted_answer_is_told(user: Client, model: Endless):
    session = user.session()
    with user.open_stream("hello", session_id=session) as reader:
        events = iter(reader)
        next(events)
        next(events)
        assert user.delete(f"/sessions/{session}").status == 204
        last = list(events)[-1]
    assert (last.event, last.data["code"]) == ("error", "not_found")
    assert model.left == 1 or until(lambda: model.left)


def test_all_that_is_written_for_a_deleted_user_ends(server: Server, upstream: Upstream):
    gone = server.user()
    model = upstream.scripts[gone.provider_key] = Endless()
    for _ in range(2):
        begin(gone, gone.session(), model)
    assert until(lambda: model.asked == 2)
    assert gone.delete("/users/me").status == 204
    assert until(lambda: model.left == 2, 8)
    assert "Traceback" not in server.logged()


def test_what_was_only_begun_by_now_is_not_taken_for_deleted(user: Client, model: Endless):
    """Nor is what another answer of the session's is."""
    session = user.session()
    first = begin(user, session, model)
    question = user.get(f"/messages/{first}").json["parent_message_id"]
    again = user.post(f"/messages/{question}/regenerate", {"background": True})
    assert again.status == 202, again
    assert until(lambda: model.asked == 2)
    assert user.delete(f"/messages/{first}").status == 204
    assert until(lambda: model.left == 1, 8)
    time.sleep(1.2)  # the process looked at least once more
    assert user.get(f"/messages/{again.json['assistant_message_id']}").json["status"] == "running"
    assert model.left == 1
    user.post(f"/messages/{again.json['assistant_message_id']}/cancel")


def test_a_deleted_response_is_written_no_more(user: Client, model: Endless):
    begun = user.post("/v1/responses", {"model": "openai/gpt-4o-mini", "input": "hi", "background": True}).json
    assert until(lambda: model.asked)
    assert user.delete(f"/v1/responses/{begun['id']}").status == 200
    assert until(lambda: model.left)
    assert user.get(f"/v1/responses/{begun['id']}").status == 404
    assert booked(user)[0]["outcome"] == "cancelled"
