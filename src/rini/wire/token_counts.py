"""How many tokens a request has for a model, asked of who serves it: each provider's own call for that, both ways.

The references are "Count Message tokens" of platform.claude.com/docs, "countTokens" of the Gemini API (v1beta), "Get input token counts"
of OpenAI's OpenAPI document (all of 2026), and llama.cpp's server, which counts what its chat completions would read.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec

from rini.canon import Request
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import Codec, EncodedRequest, MalformedError
from rini.wire.gemini import GEMINI
from rini.wire.gemini.fields import an_object, camel, dumps, loads
from rini.wire.openai_chat import OPENAI_COMPATIBLE_CHAT
from rini.wire.openai_responses import OPENAI_RESPONSES

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class TokenCountCodec(Protocol):
    """One provider's call that counts. ``name`` is that of the wire format whose requests it counts."""

    name: str

    def path(self, model: str) -> str:
        """Return the path of the call below the provider's base address, with a leading slash."""
        ...

    def encode_request(self, request: Request) -> EncodedRequest:
        """Return the body that asks how many tokens ``request`` has. Raises UnsupportedError."""
        ...

    def decode_reply(self, body: bytes) -> int:
        """Return the tokens that the answer in ``body`` tells. Raises MalformedError."""
        ...

    def decode_request(self, body: bytes, *, model: str | None = None) -> Request:
        """Return what ``body`` asks to count; ``model`` is given where the URL holds it. Raises MalformedError."""
        ...

    def encode_reply(self, tokens: int) -> bytes:
        """Return an answer's body."""
        ...


class _InputTokens(msgspec.Struct):
    input_tokens: int


class _TotalTokens(msgspec.Struct, rename="camel"):
    # As all of Gemini's numbers it is left out where it is 0.
    total_tokens: int = 0


_input_tokens = msgspec.json.Decoder(_InputTokens)
_total_tokens = msgspec.json.Decoder(_TotalTokens)


class _InputTokenCounts:
    """Calls that take the fields of a wire format that are read by a model, and answer with ``input_tokens``."""

    def __init__(self, codec: Codec, path: str, taken: frozenset[str], told: Mapping[str, Any]) -> None:
        self.name = codec.name
        self._codec = codec
        self._path = path
        self._taken = taken
        self._told = told

    def path(self, model: str) -> str:  # noqa: ARG002 - the body holds it
        """Return the path of the call."""
        return self._path

    def encode_request(self, request: Request) -> EncodedRequest:
        """Return the body that asks how many tokens ``request`` has. Raises UnsupportedError."""
        encoded = self._codec.encode_request(_what_is_read(request))
        fields = _fields.decode(encoded.body)
        body = {name: value for name, value in fields.items() if name in self._taken}
        return EncodedRequest(_encode(body), encoded.dropped)

    def decode_reply(self, body: bytes) -> int:
        """Return the tokens that the answer in ``body`` tells. Raises MalformedError."""
        return _count(_read(_input_tokens, body).input_tokens)

    def decode_request(self, body: bytes, *, model: str | None = None) -> Request:
        """Return what ``body`` asks to count. Raises MalformedError."""
        return self._codec.decode_request(body, model=model, stream=False)

    def encode_reply(self, tokens: int) -> bytes:
        """Return an answer's body."""
        return _encode({**self._told, "input_tokens": tokens})


class _GeminiCounts:
    """Gemini's countTokens, which takes ``contents``, or a whole ``generateContentRequest``."""

    name = GEMINI.name

    def path(self, model: str) -> str:
        """Return the path of the call."""
        return GEMINI.path(model, stream=False).removesuffix("generateContent") + "countTokens"

    def encode_request(self, request: Request) -> EncodedRequest:
        """Return the body that asks how many tokens ``request`` has. Raises UnsupportedError."""
        encoded = GEMINI.encode_request(_what_is_read(request))
        model = request.model if request.model.startswith(("models/", "tunedModels/")) else f"models/{request.model}"
        whole = {"model": model, **_fields.decode(encoded.body)}
        return EncodedRequest(_encode({"generateContentRequest": whole}), encoded.dropped)

    def decode_reply(self, body: bytes) -> int:
        """Return the tokens that the answer in ``body`` tells. Raises MalformedError."""
        return _count(_read(_total_tokens, body).total_tokens)

    def decode_request(self, body: bytes, *, model: str | None = None) -> Request:
        """Return what ``body`` asks to count; ``model`` is that of its URL. Raises MalformedError."""
        fields = camel(an_object(loads(body), "The request"))
        whole = fields.pop("generateContentRequest", None)
        if whole is None:
            return GEMINI.decode_request(body, model=model)
        if fields:
            raise MalformedError("generateContentRequest stands alone: nothing goes beside it.")
        return GEMINI.decode_request(dumps(an_object(whole, "generateContentRequest")), model=model)

    def encode_reply(self, tokens: int) -> bytes:
        """Return an answer's body."""
        return dumps({"totalTokens": tokens})


ANTHROPIC_COUNTS: Final[TokenCountCodec] = _InputTokenCounts(
    ANTHROPIC,
    "/v1/messages/count_tokens",
    frozenset(("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "output_format")),
    {},
)
GEMINI_COUNTS: Final[TokenCountCodec] = _GeminiCounts()
OPENAI_COUNTS: Final[TokenCountCodec] = _InputTokenCounts(
    OPENAI_RESPONSES,
    "/responses/input_tokens",
    frozenset(
        (
            "model",
            "input",
            "instructions",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "text",
            "reasoning",
            "truncation",
        )
    ),
    {"object": "response.input_tokens"},
)
LLAMA_COUNTS: Final[TokenCountCodec] = _InputTokenCounts(
    OPENAI_COMPATIBLE_CHAT,
    "/chat/completions/input_tokens",
    frozenset(("model", "messages", "tools", "tool_choice", "response_format")),
    {"object": "response.input_tokens"},
)


def _what_is_read(request: Request) -> Request:
    """Return what of ``request`` a model reads: nothing that says how it is to write, which a provider might not have."""
    return msgspec.structs.replace(
        request,
        max_tokens=None,
        temperature=None,
        top_p=None,
        top_k=None,
        stop=None,
        seed=None,
        presence_penalty=None,
        frequency_penalty=None,
        n=None,
        logprobs=None,
        top_logprobs=None,
        user=None,
        stream=False,
    )


def _read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedError("it holds no count of tokens.") from None


def _count(tokens: int) -> int:
    if tokens < 0:
        raise MalformedError("its count of tokens is negative.")
    return tokens
