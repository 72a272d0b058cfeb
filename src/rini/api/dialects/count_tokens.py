"""How many tokens a request has, asked in a dialect.

Anthropic's POST /v1/messages/count_tokens, Gemini's POST /v1beta/models/{model}:countTokens, OpenAI's POST /v1/responses/input_tokens.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import msgspec
from starlette.types import Receive, Scope, Send

from rini.accounts.access import Access
from rini.api.credentials import current_caller
from rini.api.dialects.answer import ESTIMATED, content_type_of, names_of_dropped, passed_on
from rini.api.dialects.anthropic import AnthropicMessages
from rini.api.dialects.dialect import JSON, NO_HEADERS, Asked, changed
from rini.api.dialects.gemini_names import check_same_model, resource
from rini.api.dialects.openai_responses import OpenAIResponses
from rini.api.dialects.openai_state import States
from rini.api.lean import ClientLeftError, decode_body, read_body, while_connected
from rini.errors import ShuttingDownError
from rini.inference.count import CountAsk, Counted, Counting
from rini.kit.draining import process as draining
from rini.models.naming import ModelNames
from rini.wire.token_counts import ANTHROPIC_COUNTS, GEMINI_COUNTS, OPENAI_COUNTS, TokenCountCodec


class _Named(msgspec.Struct):
    model: str | None = None


class _GeminiBody(msgspec.Struct):
    camel: _Named | None = msgspec.field(default=None, name="generateContentRequest")
    snake: _Named | None = msgspec.field(default=None, name="generate_content_request")


_gemini_body = msgspec.json.Decoder(_GeminiBody)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class CountDialect(Protocol):
    """One dialect's call that counts tokens."""

    counts: TokenCountCodec

    def read(self, scope: Scope, body: bytes) -> Asked:
        """Return what is asked. Raises InvalidRequestError."""
        ...

    def passed(self, asked: Asked, model: str) -> bytes:
        """Return the body as a provider of the same format gets it: as it came, but for the model's name."""
        ...

    def headers(self, scope: Scope) -> Mapping[str, str]:
        """Return the request's headers that belong to the format and go on to a provider of the same one."""
        ...


class AnthropicTokenCount:
    """Anthropic's: what is counted is a request for a message."""

    counts = ANTHROPIC_COUNTS

    def __init__(self) -> None:
        self._messages = AnthropicMessages()

    def read(self, scope: Scope, body: bytes) -> Asked:
        """Return what is asked. Raises InvalidRequestError."""
        return self._messages.read(scope, body)

    def passed(self, asked: Asked, model: str) -> bytes:
        """Return the body as Anthropic gets it."""
        return _named_in_body(asked, model)

    def headers(self, scope: Scope) -> Mapping[str, str]:
        """Return the format's version and its beta features."""
        return self._messages.headers(scope)


class OpenAITokenCount:
    """OpenAI's: what is counted is a request for a response."""

    counts = OPENAI_COUNTS

    def __init__(self) -> None:
        self._responses = OpenAIResponses()

    def read(self, scope: Scope, body: bytes) -> Asked:
        """Return what is asked. Raises InvalidRequestError."""
        return self._responses.read(scope, body)

    def passed(self, asked: Asked, model: str) -> bytes:
        """Return the body as OpenAI gets it."""
        return _named_in_body(asked, model)

    def headers(self, scope: Scope) -> Mapping[str, str]:  # noqa: ARG002
        """Return none."""
        return NO_HEADERS


class GeminiTokenCount:
    """Gemini's: what is counted is ``contents``, or a whole ``generateContentRequest``."""

    counts = GEMINI_COUNTS

    def read(self, scope: Scope, body: bytes) -> Asked:
        """Return what is asked. Raises InvalidRequestError."""
        name: str = scope["path_params"]["model"]
        decoded = decode_body(_gemini_body, body)
        for whole in (decoded.camel, decoded.snake):
            if whole is not None:
                check_same_model(name, whole.model, "generateContentRequest.model")
        return Asked(name=name, stream=False, body=body)

    def passed(self, asked: Asked, model: str) -> bytes:
        """Return the body as Google gets it."""
        decoded = _gemini_body.decode(asked.body)
        for field, whole in (("generateContentRequest", decoded.camel), ("generate_content_request", decoded.snake)):
            if whole is not None and whole.model not in (None, resource(model)):
                written = _fields.decode(asked.body)[field]
                return changed(asked.body, **{field: msgspec.Raw(changed(bytes(written), model=resource(model)))})
        return asked.body

    def headers(self, scope: Scope) -> Mapping[str, str]:  # noqa: ARG002
        """Return none."""
        return NO_HEADERS


class CountEndpoint:
    """Answers one dialect's requests to count."""

    def __init__(
        self,
        dialect: CountDialect,
        counting: Counting,
        access: Access,
        names: ModelNames,
        states: States | None = None,
    ) -> None:
        self._dialect = dialect
        self._states = states
        self._counting = counting
        self._access = access
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        dialect = self._dialect
        try:
            asked = dialect.read(scope, await read_body(receive))
            name = await self._names.resolve(caller.user_id, asked.name)
            caller.check_model(name.provider, name.model)
            if self._states is not None:
                whole = await self._states.whole(caller.user_id, asked.body)
                asked = msgspec.structs.replace(asked, body=whole)
            ask = CountAsk(
                user_id=caller.user_id,
                provider=name.provider,
                model=name.model,
                counts=dialect.counts,
                body=asked.body,
                passes=dialect.passed(asked, name.model),
                headers=dialect.headers(scope),
            )
            await self._send(await while_connected(receive, lambda: self._count(ask)), send)
        except ClientLeftError:
            return

    async def _count(self, ask: CountAsk) -> Counted:
        try:
            return await self._counting.count(ask)
        except asyncio.CancelledError:
            if draining.over:
                raise ShuttingDownError from None
            raise

    async def _send(self, counted: Counted, send: Send) -> None:
        kind, headers = JSON, list[tuple[bytes, bytes]]()
        if counted.answer is not None:
            body = counted.answer.body
            kind = content_type_of(counted.answer.headers)
            headers = passed_on(counted.answer.headers)
        else:
            body = self._dialect.counts.encode_reply(counted.tokens)
            if counted.dropped:
                headers.append(names_of_dropped(counted.dropped))
            if counted.estimated:
                headers.append(ESTIMATED)
        headers += [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _named_in_body(asked: Asked, model: str) -> bytes:
    return asked.body if asked.name == model else changed(asked.body, model=model)
