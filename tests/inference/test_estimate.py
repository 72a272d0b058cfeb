"""How far the estimate of tokens is off, against what providers counted."""

import json
from collections.abc import Iterator
from statistics import median

import pytest

from rini.canon import Document, Image, Media, Message, Opaque, Text, Tool, ToolCall, ToolResult
from rini.inference.estimate import (
    MOST_CHARACTERS_PER_TOKEN,
    conversation_tokens,
    request_tokens,
    text_tokens,
    tools_tokens,
)
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import MalformedError
from rini.wire.gemini import GEMINI
from rini.wire.openai_chat import OPENAI_CHAT
from tests.wire.recordings import ABSENT, exchanges, present

FORMATS = {
    "openai": ("chat_completions", OPENAI_CHAT),
    "anthropic": ("messages", ANTHROPIC),
    "google": ("generateContent", GEMINI),
}
PLAIN = (Text, ToolCall, ToolResult)


def counted(provider: str) -> Iterator[float]:
    """Yield estimated by counted tokens of recorded requests of text and clients' tools, of a hundred tokens and more."""
    endpoint, codec = FORMATS[provider]
    seen = set()
    for exchange in exchanges(provider, endpoint):
        if exchange.status != 200 or exchange.stream:
            continue
        body = json.dumps(exchange.request["body"]).encode()
        try:
            request = codec.decode_request(body, model=exchange.model, stream=False)
            usage = codec.decode_reply(exchange.response_bytes).usage
        except MalformedError:
            continue
        plain = all(isinstance(part, PLAIN) for message in request.messages for part in message.parts)
        if usage is None or not plain or request.response_format or any(tool.opaque for tool in request.tools):
            continue
        tokens, estimate = usage.input_tokens or 0, request_tokens(request, provider)
        # What is beyond any estimate stands elsewhere: in a cache, or is cleared by the provider.
        if tokens >= 100 and 0.1 < estimate / tokens < 10 and (tokens, estimate) not in seen:
            seen.add((tokens, estimate))
            yield estimate / tokens


@pytest.mark.skipif(not present(), reason=ABSENT)
@pytest.mark.parametrize("provider", FORMATS)
def test_the_estimate_is_near_what_providers_count(provider: str) -> None:
    ratios = list(counted(provider))
    assert len(ratios) >= 25
    assert 0.85 < median(ratios) < 1.2
    assert median(abs(ratio - 1) for ratio in ratios) < 0.35


def test_scripts_have_sizes_of_their_own() -> None:
    assert 100 <= text_tokens("word " * 100) <= 125
    assert 70 <= text_tokens("안녕하세요" * 20) <= 85
    assert 70 <= text_tokens("你好吗朋友" * 20) <= 85
    assert 25 <= text_tokens("здравствуй" * 10) <= 40
    assert 1 <= text_tokens("🎉") <= text_tokens("é, \u2019") <= 4
    assert text_tokens("\ud800") == text_tokens("?") == 1
    assert text_tokens("") == 0


def test_marks_and_digits_count_for_more_than_letters() -> None:
    assert text_tokens('{"a":[1,2,{"b":31}]}') > 2 * text_tokens("words of the same le")


def test_no_text_has_more_characters_a_token_than_is_said() -> None:
    assert len("a" * 10_000) <= text_tokens("a" * 10_000) * MOST_CHARACTERS_PER_TOKEN


def test_every_part_has_a_size() -> None:
    def tokens(*parts: object) -> int:
        return conversation_tokens((Message("user", parts),))  # type: ignore[arg-type]

    assert tokens(Image(Media(url="rini:x"))) > tokens(Image(Media(url="rini:x"), detail="low")) > 50
    assert tokens(Document(Media(data="A" * 60_000, mime_type="application/pdf"))) > 2000
    assert tokens(Document(Media(), text="word " * 400)) == 424
    assert tokens(ToolResult("call", (Image(Media(url="rini:x")), Text("word " * 400)))) > 1400
    assert tokens(Opaque("anthropic", {"found": "x" * 3000})) > 900


def test_tools_have_a_size_and_anthropic_s_own_words_about_them() -> None:
    tool = Tool("look", "Look it up.", {"type": "object", "properties": {}})
    assert tools_tokens(()) == tools_tokens((), "anthropic") == 0
    assert tools_tokens((tool,), "anthropic") - tools_tokens((tool,), "openai") == 500
