"""What a provider, or whoever pretends to be one, can put into an answer: it costs its own user nothing but that answer."""

import pytest

from tests.support.upstream import Conversation, openai_chunks, openai_reply

COUNTS = [10**30, 2**63, 2**31, -5]


def _usage(count: int) -> dict:
    return {"prompt_tokens": count, "completion_tokens": count, "total_tokens": 2 * count}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("stream", [False, True])
def test_counts_that_cannot_be(user, script, count: int, stream: bool):
    async def answer(conversation: Conversation) -> None:
        if conversation.seen.json.get("stream"):
            await conversation.head()
            for event in openai_chunks("fine", usage=_usage(count)):
                await conversation.chunk(event)
            await conversation.end()
        else:
            await conversation.whole(openai_reply("fine", usage=_usage(count)))

    script(answer)
    for fields in ({}, {"session_id": user.session()}):
        if stream:
            last = user.stream(**fields)[-1]
            assert last.event == "done", last
            done = last.data
        else:
            answered = user.ask(**fields)
            assert answered.status == 200, answered.body
            done = answered.json
        assert done["response_text"] == "fine"
    kept = user.get(f"/sessions/{fields['session_id']}/messages/").json
    assert [each["content"] for each in kept] == ["hello", "fine"]


@pytest.mark.parametrize("stream", [False, True])
def test_nul_in_an_answer(user, script, stream: bool):
    async def answer(conversation: Conversation) -> None:
        if conversation.seen.json.get("stream"):
            await conversation.head()
            for event in openai_chunks("a\x00", "b"):
                await conversation.chunk(event)
            await conversation.end()
        else:
            await conversation.whole(openai_reply("a\x00b", model="gpt\x00"))

    script(answer)
    session = user.session()
    if stream:
        last = user.stream(session_id=session)[-1]
        assert last.event == "done", last
    else:
        assert user.ask(session_id=session).status == 200
    assert user.ask(session_id=session).status == 200
    kept = user.get(f"/sessions/{session}/messages/").json
    assert [each["role"] for each in kept] == ["user", "assistant"] * 2


def test_numbers_beyond_64_bits_in_a_stream(user, script):
    async def answer(conversation: Conversation) -> None:
        await conversation.head()
        for event in openai_chunks("fine"):
            await conversation.chunk(
                event.replace('"created": 1,', f'"created": 1, "odd": {10**40}, "deep": {"[" * 300}{"]" * 300},')
            )
        await conversation.end()

    script(answer)
    assert user.stream(session_id=user.session())[-1].event == "done"


@pytest.mark.parametrize("wait", ["inf", "nan", "1e300", "-1", "9" * 400])
def test_retry_after_that_cannot_be(user, script, wait: str):
    async def answer(conversation: Conversation) -> None:
        await conversation.whole(
            {"error": {"message": "slow", "type": "requests", "code": "rate_limit_exceeded"}}, 429, retry_after=wait
        )

    script(answer)
    refused = user.ask()
    assert refused.status == 429, refused.body
    assert 1 <= int(refused.headers["retry-after"]) <= 86_400


ODD = [
    {"seed": 10**40},
    {"temperature": True},
    {"temperature": [1]},
    {"max_tokens": "5"},
    {"max_tokens": 2.0},
    {"max_tokens": 2.5},
    {"max_tokens": True},
    {"stop": []},
    {"stop": ""},
    {"stop": [1]},
    {"logit_bias": {"1": 10**40}},
    {"response_format": 5},
    {"response_format": {"type": "json_schema"}},
    {"metadata": []},
    {"n": 0},
    {"n": -1},
    {"metadata": {"a": "\x00"}},
    {"max_tokens": 5, "max_completion_tokens": 6},
    {"": 1},
    {"~stop": 1},
    {"model ": 1},
]


@pytest.mark.parametrize("params", ODD, ids=str)
@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "openai_compatible"])
def test_odd_parameters(server, upstream, provider: str, params: dict):
    user = server.user()
    user.post(
        "/api-keys/",
        {"model_provider": provider, "api_key_value": user.provider_key}
        | ({"base_url": upstream.url} if provider == "openai_compatible" else {}),
    )

    async def answer(conversation: Conversation) -> None:
        await conversation.whole({"error": {"message": "no"}}, 400)

    upstream.scripts[user.provider_key] = answer
    answered = user.ask(provider=provider, model="m", llm_params=params, session_id=user.session())
    assert answered.status in (200, 422), answered.body
