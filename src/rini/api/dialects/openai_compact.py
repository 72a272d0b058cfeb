"""OpenAI's POST /v1/responses/compact: a conversation as one item, which stands for it in later requests.

The item holds a summary that the model wrote, sealed so that only this server reads it, and for its user alone. It is taken as input
with any provider behind.
"""

import os
import time
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from rini.accounts.access import Access
from rini.api.credentials import current_caller
from rini.api.dialects.openai_input import Input
from rini.api.dialects.openai_state import messages_before
from rini.api.lean import ClientLeftError, decode_body, read_body, send_json, while_connected
from rini.canon import Message, Refusal, Reply, Text, Usage
from rini.db import Database
from rini.errors import InvalidRequestError
from rini.inference.window import Windows
from rini.models.naming import ModelNames
from rini.providers.catalog import PROVIDERS
from rini.providers.failures import malformed_error
from rini.turns.compaction import asking_for
from rini.turns.turn import Turns
from rini.turns.values import Ask
from rini.wire.openai_responses.usage import encode_usage

COMPACT = "/v1/responses/compact"

Json = dict[str, Any]


class _Asked(msgspec.Struct):
    model: str | None = None
    input: str | list[Json] | None = None
    previous_response_id: str | None = None
    instructions: str | None = None


_asked = msgspec.json.Decoder(_Asked)
_encode = msgspec.json.Encoder().encode


class CompactEndpoint:
    """The endpoint."""

    def __init__(
        self, database: Database, access: Access, names: ModelNames, turns: Turns, windows: Windows, given: Input
    ) -> None:
        self._database = database
        self._access = access
        self._names = names
        self._turns = turns
        self._windows = windows
        self._input = given

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        try:
            asked = decode_body(_asked, await read_body(receive))
            if not asked.model:
                raise InvalidRequestError("model: is missing; name one as provider/model.")
            name = await self._names.resolve(caller.user_id, asked.model)
            caller.check_model(name.provider, name.model)
            said = await self._said(caller.user_id, asked)
            window = self._windows.of(caller.user_id, name.provider, name.model)
            messages, limit = asking_for(said, None if window is None else window.tokens, asked.instructions)
            ask = Ask(
                user_id=caller.user_id,
                provider=name.provider,
                model=name.model,
                messages=messages,
                endpoint=COMPACT,
                params={"max_tokens": limit},
                request_id=scope.get("rini.request_id"),
            )
            answer = await while_connected(receive, lambda: self._turns.take(ask))
        except ClientLeftError:
            return
        summary = _summary(answer.reply, name.provider)
        await send_json(send, 200, _encode(_shown(self._input.sealed(caller.user_id, summary), answer.reply)))

    async def _said(self, user_id: int, asked: _Asked) -> tuple[Message, ...]:
        said: tuple[Message, ...] = ()
        if asked.previous_response_id is not None:
            said = await self._database.read(messages_before, user_id, asked.previous_response_id, None)
        if isinstance(asked.input, str) and asked.input:
            said = (*said, Message("user", (Text(asked.input),)))
        elif isinstance(asked.input, list):
            said = (*said, *await self._input.messages(user_id, asked.input))
        if not said:
            raise InvalidRequestError("input: is missing; send items, or name a previous_response_id.")
        return said


def _summary(reply: Reply, provider: str) -> str:
    text = reply.text.strip()
    if not text or any(isinstance(part, Refusal) for part in reply.choices[0].parts):
        raise malformed_error("it holds no summary.", PROVIDERS[provider])
    return text


def _shown(sealed: str, reply: Reply) -> Json:
    return {
        "id": f"resp_{os.urandom(16).hex()}",
        "object": "response.compaction",
        "created_at": int(time.time()),
        "output": [{"id": f"cmp_{os.urandom(16).hex()}", "type": "compaction", "encrypted_content": sealed}],
        "usage": encode_usage(reply.usage or Usage()),
    }
