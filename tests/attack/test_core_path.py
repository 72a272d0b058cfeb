"""What of a conversation goes back to a provider: nothing that it would refuse, or the session could never go on."""

import json

import pytest

from tests.support.upstream import Conversation, openai_reply


def _message(content: list, stop: str | None = "end_turn") -> dict:
    usage = {"input_tokens": 3, "output_tokens": 5}
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content,
        "stop_reason": stop, "stop_sequence": None, "usage": usage,
    }  # fmt: skip


def _block(block: dict, delta: dict) -> list[dict]:
    return [
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
    ]


THINKING = _block({"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "hm"})
TOOL = _block(
    {"type": "tool_use", "id": "t1", "name": "f", "input": {}}, {"type": "input_json_delta", "partial_json": '{"a'}
)
TEXT = _block({"type": "text", "text": ""}, {"type": "text_delta", "text": "half"})


@pytest.mark.parametrize(("events", "given_back"), [(THINKING, []), (TOOL, []), (TEXT, [("assistant", "half")])])
def test_an_answer_that_broke_off_is_read_as_its_text(server, upstream, events, given_back):
    user = server.user(provider="anthropic")
    session = user.session()

    async def half(conversation: Conversation) -> None:
        await conversation.head()
        for event in [{"type": "message_start", "message": _message([], None)}, *events]:
            await conversation.chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n")
        await conversation.end()

    async def whole(conversation: Conversation) -> None:
        await conversation.whole(_message([{"type": "text", "text": "ok"}]))

    upstream.scripts[user.provider_key] = half
    asked = {"provider": "anthropic", "model": "m", "session_id": session}
    assert user.stream("q", **asked)[-1].event == "error"
    upstream.scripts[user.provider_key] = whole
    assert user.ask("again", **asked).status == 200
    sent = upstream.calls(user.provider_key)[-1].json["messages"]
    assert [(each["role"], each["content"]) for each in sent] == [("user", "q"), *given_back, ("user", "again")]


def test_a_tool_call_that_nobody_answered_is_not_given_back(server, upstream):
    user = server.user()
    session = user.session()
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    def script(content: str | None):
        async def answer(conversation: Conversation) -> None:
            message = {"role": "assistant", "content": content, "tool_calls": [call]}
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
            await conversation.whole(openai_reply("", choices=[choice]))

        return answer

    for content in ("let me see", None):
        upstream.scripts[user.provider_key] = script(content)
        assert user.ask("q", session_id=session).status == 200
    del upstream.scripts[user.provider_key]
    assert user.ask("on", session_id=session).json["response_text"] == "echo: on"
    sent = upstream.calls(user.provider_key)[-1].json["messages"]
    roles = [("user", "q"), ("assistant", "let me see"), ("user", "q"), ("user", "on")]
    assert [(each["role"], each["content"]) for each in sent] == roles
    assert not any("tool_calls" in each for each in sent)


def test_signed_thinking_goes_back_to_its_provider_alone(server, upstream):
    user = server.user(provider="anthropic")
    user.post("/api-keys/", {"model_provider": "openai", "api_key_value": user.provider_key})
    session = user.session()
    thought = [{"type": "thinking", "thinking": "hm", "signature": "SIG"}, {"type": "text", "text": "hi"}]

    async def answer(conversation: Conversation) -> None:
        await conversation.whole(_message(thought) if "messages" in conversation.seen.path else openai_reply("ok"))

    upstream.scripts[user.provider_key] = answer
    for provider in ("anthropic", "anthropic", "openai"):
        assert user.ask("q", provider=provider, model="m", session_id=session).status == 200
    _, second, third = upstream.calls(user.provider_key)
    assert second.json["messages"][1]["content"] == thought
    assert third.json["messages"][1] == {"role": "assistant", "content": "hi"}
    assert b"SIG" not in third.body
