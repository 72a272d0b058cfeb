"""A scripted model behind each provider's wire format: a test says what is answered in canon, the codec turned round writes it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rini.canon import (
    Choice,
    Failure,
    Finish,
    FinishReason,
    Meta,
    Part,
    PartDelta,
    PartStart,
    PartStop,
    Refusal,
    Reply,
    Request,
    Start,
    StreamFailure,
    Text,
    Thinking,
    ToolCall,
    Usage,
    UsageUpdate,
)
from rini.providers.catalog import PROVIDERS
from rini.wire.codec import Codec
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


@dataclass(frozen=True)
class Broken:
    """What a provider says in the place of an answer; in a stream after it said what is in ``before``."""

    failure: Failure
    before: Reply | None = None


Answering = Callable[[Request], Reply | Broken]


def scripted(provider: str, answer: Answering, pieces: int = 1) -> Script:
    """Return the script of a provider whose model answers with ``answer``, whole or streamed as it is asked.

    It reads and writes the wire format of the path that it is called by. In streams texts come in so many ``pieces``.
    """

    async def script(conversation: Conversation) -> None:
        path = conversation.seen.path
        codec = codec_of(provider, path)
        gemini = path.partition("/models/")[2].partition(":")[0] or None
        stream = "streamGenerateContent" in path if gemini else None
        request = codec.decode_request(conversation.seen.body, model=gemini, stream=stream)
        answered = answer(request)
        failure = None
        if isinstance(answered, Broken):
            failure, answered = answered.failure, answered.before
        if answered is None:
            assert failure is not None
            status, body = codec.encode_failure(failure)
            wait = {} if failure.retry_after is None else {"retry_after": f"{failure.retry_after:g}"}
            await conversation.whole(body, failure.status or status, **wait)
            return
        if not request.stream:
            await conversation.whole(codec.encode_reply(answered))
            return
        encoder = codec.stream_encoder()
        await conversation.head()
        events = events_of(answered, pieces)
        if failure is not None:
            events = [*(event for event in events if not isinstance(event, Finish | PartStop)), StreamFailure(failure)]
        for event in events:
            if data := encoder.feed(event):
                await conversation.chunk(data)
        if data := encoder.close():
            await conversation.chunk(data)
        await conversation.end()

    return script


def codec_of(provider: str, path: str) -> Codec:
    """Return the wire format in which a provider is asked by ``path``."""
    known = PROVIDERS[provider]
    return next((codec for codec in known.others if path == f"/v1{codec.path('', stream=False)}"), known.codec)


def events_of(answered: Reply, pieces: int = 1) -> list[Any]:
    """Return a whole answer as the events of a stream, texts in so many ``pieces``."""
    events: list[Any] = [Start(id=answered.id, model=answered.model, created=answered.created)]
    for number, choice in enumerate(answered.choices):
        for index, part in enumerate(choice.parts):
            events += _part_events(part, index, number, pieces)
            events.append(PartStop(index, number))
        if choice.extras is not None:
            events.append(Meta(choice.extras, choice=number))
    if answered.usage is not None:
        events.append(UsageUpdate(answered.usage))
    return [
        *events,
        *(
            Finish(each.finish_reason or "stop", stop_sequence=each.stop_sequence, choice=number)
            for number, each in enumerate(answered.choices)
        ),
    ]


def _part_events(part: Part, index: int, choice: int, pieces: int) -> list[Any]:
    match part:
        case Text():
            begun, text = Text(""), part.text
        case Refusal():
            begun, text = Refusal(""), part.text
        case ToolCall():
            begun, text = ToolCall(part.id, part.name, signature=part.signature), part.arguments
        case Thinking() if pieces > 1 and part.redacted is None:
            begun, text = Thinking(), part.text
        case _:
            return [PartStart(index, part, choice)]
    size = -(-len(text) // pieces) or 1
    events: list[Any] = [PartStart(index, begun, choice)]
    events += (
        PartDelta(index, text=text[at : at + size], choice=choice, extras=None if at else part.extras)
        for at in range(0, len(text), size)
    )
    if isinstance(part, Text | Thinking) and part.signature is not None:
        events.append(PartDelta(index, signature=part.signature, choice=choice))
    return events


def user_of(server: Server, upstream: Upstream, provider: str, answer: Answering) -> Client:
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
