"""/llm: the native endpoints, whole and streamed."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from rini.accounts.access import Access
from rini.api.lean import ClientLeftError, current_user, decode_body, read_body, send_json, while_connected
from rini.api.native_schemas import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    MessageShown,
    TextCompletionRequest,
    TextCompletionResponse,
    UsageShown,
)
from rini.api.native_stream import NativeStream
from rini.canon import Message, Reply, Text, Thinking
from rini.db import AnyRow
from rini.errors import InvalidRequestError, RiniError, ShuttingDownError
from rini.kit.draining import process as draining
from rini.kit.text import storable
from rini.turns.turn import Turns
from rini.turns.values import Answer, Ask
from rini.usage.ledger import UsageRecord

_encode = msgspec.json.Encoder(decimal_format="string").encode
_text_completion = msgspec.json.Decoder(TextCompletionRequest)
_params_object = msgspec.json.Decoder(dict[str, Any])
_chat_completion = msgspec.json.Decoder(ChatCompletionRequest)


LARGEST_PARAMS_BYTES = 64 * 1024
DEEPEST_PARAMS = 64
"""Levels of objects and lists: a JSON schema needs some, a provider's codec and its JSON writer can only follow some."""


class NativeEndpoint:
    """One of the native endpoints: ``ask`` makes a turn of a body, ``show`` the answer's document of a finished turn."""

    def __init__(
        self,
        turns: Turns,
        access: Access,
        ask: Callable[[int, str | None, bytes], tuple[Ask, bool]],
        show: Callable[[Answer], msgspec.Struct],
    ) -> None:
        self._turns = turns
        self._access = access
        self._ask = ask
        self._show = show

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        user_id = await current_user(scope, self._access)
        request_id: str | None = scope.get("rini.request_id")
        try:
            body = await read_body(receive)
            ask, streamed = self._ask(user_id, request_id, body)
            if streamed:
                await while_connected(receive, lambda: self._stream(ask, send, request_id))
            else:
                answer = await while_connected(receive, lambda: self._whole(ask))
                await send_json(send, 200, _encode(self._show(answer)))
        except ClientLeftError:
            return

    async def _whole(self, ask: Ask) -> Answer:
        try:
            return await self._turns.take(ask)
        except asyncio.CancelledError:
            if draining.over:
                raise ShuttingDownError from None
            raise

    async def _stream(self, ask: Ask, send: Send, request_id: str | None) -> None:
        stream = NativeStream(send, ask.model, show_message)
        try:
            answer = await self._turns.take(ask, stream)
        except RiniError as error:
            if not stream.begun:
                raise
            await stream.error(error, request_id)
        except asyncio.CancelledError:
            if not draining.over:
                raise
            if not stream.begun:
                raise ShuttingDownError from None
            await stream.error(ShuttingDownError(), request_id)
        else:
            await stream.done(_encode(self._show(answer)), show_usage(answer.record))


def text_completion(user_id: int, request_id: str | None, body: bytes) -> tuple[Ask, bool]:
    """Return the turn that a /llm/text-completion/ body asks for, and whether to stream it. Raises InvalidRequestError."""
    asked = decode_body(_text_completion, body)
    ask = Ask(
        user_id=user_id,
        provider=asked.provider,
        model=_storable("model", asked.model),
        messages=(Message("user", (Text(_storable("text", asked.text)),)),),
        endpoint="/llm/text-completion/",
        session_id=asked.session_id,
        params=_params(asked.llm_params),
        key_id=asked.api_key_id,
        parent_message_id=asked.parent_message_id,
        request_id=request_id,
    )
    if ask.parent_message_id is not None and ask.session_id is None:
        raise InvalidRequestError("parent_message_id: goes with session_id.")
    return ask, asked.stream


def chat_completion(user_id: int, request_id: str | None, body: bytes) -> tuple[Ask, bool]:
    """Return the turn that a /llm/chat-completions/ body asks for, and whether to stream it. Raises InvalidRequestError."""
    asked = decode_body(_chat_completion, body)
    ask = Ask(
        user_id=user_id,
        provider=asked.provider,
        model=_storable("model", asked.model),
        messages=tuple(
            Message(message.role, (Text(_storable("messages", message.content)),)) for message in asked.messages
        ),
        endpoint="/llm/chat-completions/",
        params=_params(asked.llm_params),
        key_id=asked.api_key_id,
        request_id=request_id,
    )
    return ask, asked.stream


def show_text_completion(answer: Answer) -> TextCompletionResponse:
    """Return the document of a finished /llm/text-completion/."""
    return TextCompletionResponse(
        response_text=answer.reply.text,
        session_id=answer.question.session_id if answer.question is not None else None,
        user_message=show_message(answer.question) if answer.question is not None else None,
        assistant_message=show_message(answer.answer) if answer.answer is not None else None,
        thinking=_thinking(answer.reply),
        model=answer.reply.model or answer.record.model,
        finish_reason=_finish_reason(answer.reply),
        usage=show_usage(answer.record),
    )


def show_chat_completion(answer: Answer) -> ChatCompletionResponse:
    """Return the document of a finished /llm/chat-completions/."""
    return ChatCompletionResponse(
        response_text=answer.reply.text,
        prompt_tokens=answer.record.input_tokens,
        completion_tokens=answer.record.output_tokens,
        thinking=_thinking(answer.reply),
        model=answer.reply.model or answer.record.model,
        finish_reason=_finish_reason(answer.reply),
        usage=show_usage(answer.record),
    )


def show_message(row: AnyRow) -> MessageShown:
    """Return a message's document."""
    return MessageShown(**{name: getattr(row, name) for name in MessageShown.__struct_fields__})


def show_usage(record: UsageRecord) -> UsageShown:
    """Return the document of what a call used."""
    told = record.input_tokens is not None or record.output_tokens is not None
    return UsageShown(
        prompt_tokens=record.input_tokens,
        completion_tokens=record.output_tokens,
        total_tokens=(record.input_tokens or 0) + (record.output_tokens or 0) if told else None,
        cache_read_tokens=record.cache_read_tokens,
        cache_write_tokens=record.cache_write_tokens,
        reasoning_tokens=record.reasoning_tokens,
        cost_usd=None if record.cost_usd is None else f"{record.cost_usd.normalize():f}",
    )


def _thinking(reply: Reply) -> str | None:
    thoughts = [part.text for part in reply.choices[0].parts if isinstance(part, Thinking)] if reply.choices else []
    return "".join(thoughts) or None


def _finish_reason(reply: Reply) -> str | None:
    return reply.choices[0].finish_reason if reply.choices else None


def _storable(field: str, text: str) -> str:
    try:
        return storable(text)
    except ValueError as error:
        raise InvalidRequestError(f"{field}: {error}.") from None


def _params(raw: msgspec.Raw) -> dict[str, Any]:
    """Return the call parameters without ``tool_choice``, which offers the user's tools and is not a provider's parameter."""
    text = bytes(raw)
    if not text or text == b"null":
        return {}
    if len(text) > LARGEST_PARAMS_BYTES:
        raise InvalidRequestError(f"llm_params: must not have more than {LARGEST_PARAMS_BYTES} bytes.")
    try:
        params = _params_object.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidRequestError("llm_params: must be a JSON object.") from None
    if _is_deeper(params, DEEPEST_PARAMS):
        raise InvalidRequestError(f"llm_params: must not be nested more than {DEEPEST_PARAMS} levels deep.")
    choice = params.pop("tool_choice", None)
    if choice not in (None, "auto", "none"):
        raise InvalidRequestError(
            "llm_params.tool_choice: no tools are connected, so that only auto or none can be asked for."
        )
    return params


def _is_deeper(value: dict[str, Any], most: int) -> bool:
    """Tell whether ``value`` has more than ``most`` levels, without descending into them by recursion."""
    level: list[Any] = [value]
    for _ in range(most + 1):
        children: list[Any] = []
        for each in level:
            children += each.values() if isinstance(each, dict) else each
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return False
    return True
