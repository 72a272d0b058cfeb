"""Providers that dawdle, talk rubbish or break off in turns that a dialect's client has in a session: its SDK's own error, one row each, and the session goes on."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from rini.canon import Reply, Request, Text
from tests.support.ledger import rows
from tests.support.model import MODELS, reply, scripted, until, user_of
from tests.support.server import Answer, Client, Server
from tests.support.upstream import Conversation, Script, Upstream, openai_chunks

PIECES = openai_chunks("one ", "two ", "three")

ASKING: dict[str, tuple[str, Callable[..., dict[str, Any]]]] = {
    "chat": (
        "/v1/chat/completions",
        lambda text, stream: {"messages": [{"role": "user", "content": text}], "stream": stream},
    ),
    "responses": ("/v1/responses", lambda text, stream: {"input": text, "stream": stream}),
    "messages": (
        "/v1/messages",
        lambda text, stream: {"messages": [{"role": "user", "content": text}], "max_tokens": 100, "stream": stream},
    ),
}


def ask(user: Client, session: str, dialect: str, text: str, *, stream: bool) -> Answer:
    path, body = ASKING[dialect]
    sent = {"model": f"openai_compatible/{MODELS['openai_compatible']}", **body(text, stream)}
    return user.request("POST", path, sent, x_rini_session=session)


def says(request: Request) -> Reply:
    return reply(Text(f"echo: {request.messages[-1].parts[0].text}"))  # type: ignore[union-attr]


async def rubbish(conversation: Conversation) -> None:
    await conversation.head()
    await conversation.chunk(PIECES[0] + PIECES[1])
    await conversation.chunk(b"data: {\xff\xfe\x00 not json}\n\n\x00\x01\x02")
    await conversation.end()


async def rubbish_at_once(conversation: Conversation) -> None:
    await conversation.raw(b"\x16\x03\x01\x02\x00 this is no HTTP\r\n\r\n")


async def cut(conversation: Conversation) -> None:
    await conversation.head()
    await conversation.chunk(PIECES[0] + PIECES[1])
    await conversation.chunk(PIECES[2][: len(PIECES[2]) // 2])


async def half_a_chunk(conversation: Conversation) -> None:
    await conversation.head()
    await conversation.chunk(PIECES[0] + PIECES[1])
    await conversation.raw(b"ffff\r\ndata: {")


async def dawdling(conversation: Conversation) -> None:
    await conversation.head()
    for byte in "".join(PIECES[:3]).encode():
        await conversation.chunk(bytes((byte,)))
    await asyncio.sleep(5)


BREAKS: dict[str, tuple[Script, str | None]] = {
    "rubbish": (rubbish, "one "),
    "rubbish at once": (rubbish_at_once, None),
    "cut": (cut, "one "),
    "half a chunk": (half_a_chunk, "one "),
    "dawdling": (dawdling, "one two "),
}


@pytest.fixture
def server(shared_server: Callable[..., Server]) -> Server:
    return shared_server(RINI_BETWEEN_BYTES_TIMEOUT="1")


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize("dialect", ASKING)
def test_a_stream_that_breaks_off(server: Server, upstream: Upstream, dialect: str, broken: str) -> None:
    user = user_of(server, upstream, "openai_compatible", says)
    session = user.session()
    script, kept_text = BREAKS[broken]
    upstream.scripts[user.provider_key] = script
    answer = ask(user, session, dialect, "first", stream=True)
    told = answer.body.decode()
    if kept_text is None:
        assert answer.status >= 500
        assert json.loads(told)["error"]["message"]
    else:
        assert answer.status == 200
        assert kept_text.split()[0] in told
        assert '"error"' in told
    ended = until(lambda: [each["status"] for each in user.get(f"/sessions/{session}/messages/").json])
    assert "running" not in ended
    kept = user.get(f"/sessions/{session}/messages/").json
    assert [each["content"] for each in kept] == ["first", *([] if kept_text is None else [kept_text])]
    assert [each["status"] for each in kept[1:]] == ["partial"] * (len(kept) - 1)
    (row,) = rows(server, session_id=session)
    assert row["outcome"] in ("provider_failed", "refused")
    assert row["message_id"] == kept[-1]["id"]

    upstream.scripts[user.provider_key] = scripted("openai_compatible", says)
    again = ask(user, session, dialect, "second", stream=False)
    assert again.status == 200, again
    assert "echo: second" in again.body.decode()
    sent = upstream.calls(user.provider_key)[-1].json["messages"]
    assert [each["role"] for each in sent] in (["user", "assistant", "user"], ["user", "user"], ["user"])
    assert len(rows(server, session_id=session)) == 2
