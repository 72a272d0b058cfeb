"""A scripted model behind each provider's wire format: a test says what is answered in canon, the codec turned round writes it."""

import time
from collections.abc import Callable
from typing import Any

from rini.canon import (
    Choice,
    Finish,
    FinishReason,
    Part,
    PartDelta,
    PartStart,
    PartStop,
    Reply,
    Request,
    Start,
    Text,
    ToolCall,
    Usage,
    UsageUpdate,
)
from rini.providers.catalog import PROVIDERS
from tests.support.server import Client, Server
from tests.support.upstream import Conversation, Script, Upstream

MODELS = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-haiku-4-5",
    "google": "gemini-2.5-flash",
    "openai_compatible": "some-model",
}
"""Providers with a model of each that reads images and calls tools."""


def reply(*parts: Part, finish: FinishReason | None = None, usage: Usage | None = None) -> Reply:
    """Return an answer of ``parts``."""
    calls = any(isinstance(part, ToolCall) for part in parts)
    choice = Choice(parts, finish_reason=finish or ("tool_calls" if calls else "stop"))
    return Reply((choice,), usage=usage or Usage(input_tokens=10, output_tokens=5), id="r1", model="model-1", created=1)


def scripted(provider: str, answer: Callable[[Request], Reply]) -> Script:
    """Return the script of a provider whose model answers with ``answer``, whole or streamed as it is asked."""
    codec = PROVIDERS[provider].codec

    async def script(conversation: Conversation) -> None:
        path = conversation.seen.path
        gemini = path.partition("/models/")[2].partition(":")[0] or None
        stream = "streamGenerateContent" in path if gemini else None
        request = codec.decode_request(conversation.seen.body, model=gemini, stream=stream)
        answered = answer(request)
        if not request.stream:
            await conversation.whole(codec.encode_reply(answered))
            return
        encoder = codec.stream_encoder()
        await conversation.head()
        for event in events_of(answered):
            if data := encoder.feed(event):
                await conversation.chunk(data)
        if data := encoder.close():
            await conversation.chunk(data)
        await conversation.end()

    return script


def events_of(answered: Reply) -> list[Any]:
    """Return a whole answer as the events of a stream."""
    events: list[Any] = [Start(id=answered.id, model=answered.model, created=answered.created)]
    choice = answered.choices[0]
    for index, part in enumerate(choice.parts):
        match part:
            case Text():
                events += [PartStart(index, Text("")), PartDelta(index, text=part.text)]
            case ToolCall():
                begun = ToolCall(part.id, part.name, signature=part.signature)
                events += [PartStart(index, begun), PartDelta(index, text=part.arguments)]
            case _:
                events.append(PartStart(index, part))
        events.append(PartStop(index))
    if answered.usage is not None:
        events.append(UsageUpdate(answered.usage))
    return [*events, Finish(choice.finish_reason or "stop")]


def user_of(server: Server, upstream: Upstream, provider: str, answer: Callable[[Request], Reply]) -> Client:
    """Return a new user with a key of ``provider``, whose model answers with ``answer``."""
    if provider == "openai_compatible":
        user = server.user()
        key = f"{user.provider_key}-compatible"
        body = {"model_provider": provider, "api_key_value": key, "base_url": f"{upstream.url}/v1"}
        assert user.post("/api-keys/", body).status == 201
        user.provider_key = key
    else:
        user = server.user(provider=provider)
    upstream.scripts[user.provider_key] = scripted(provider, answer)
    return user


def until(what: Callable[[], Any], seconds: float = 5) -> Any:
    """Return what ``what`` returns once it is true, or after ``seconds`` as it is."""
    end = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < end:
        time.sleep(0.02)
    return found
