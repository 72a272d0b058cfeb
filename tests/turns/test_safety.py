"""Answers of which a provider's filter left nothing."""

from tests.support.server import Server
from tests.support.upstream import Conversation, Upstream

BLOCKED = {
    "promptFeedback": {"blockReason": "SAFETY"},
    "usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 8},
    "modelVersion": "gemini-test",
}


def test_a_blocked_prompt_is_an_error_whole_and_streamed(server: Server, upstream: Upstream):
    import json

    async def script(conversation: Conversation) -> None:
        if "stream" in conversation.seen.path:
            await conversation.head()
            await conversation.chunk(f"data: {json.dumps(BLOCKED)}\r\n\r\n")
            await conversation.end()
        else:
            await conversation.whole(BLOCKED)

    user = server.user(provider="google")
    upstream.scripts[user.provider_key] = script
    session = user.session()
    whole = user.ask(provider="google", session_id=session)
    assert (whole.status, whole.json["code"]) == (422, "refused_by_safety")
    events = user.stream(provider="google", session_id=session)
    assert [event.event for event in events] == ["start", "error"]
    assert events[-1].data["code"] == "refused_by_safety"
    assert [each["role"] for each in user.get(f"/sessions/{session}/messages/").json] == ["user", "user"]


def test_an_answer_without_an_answer_makes_no_sense(server: Server, upstream: Upstream):
    async def script(conversation: Conversation) -> None:
        await conversation.whole({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": []})

    user = server.user()
    upstream.scripts[user.provider_key] = script
    answer = user.ask()
    assert (answer.status, answer.json["code"]) == (502, "provider_malformed_answer")
