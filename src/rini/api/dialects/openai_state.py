"""The state of OpenAI's responses: what a request refers to, and what is stored of it.

``previous_response_id`` is the message below which the new ones come, ``conversation`` a session whose current branch they continue; without
either, a response that is stored begins a session of its own. What the provider is sent is a request that refers to nothing.
"""

import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from sqlalchemy.engine import Connection

from rini.api.dialects.dialect import Asked, changed
from rini.api.dialects.metadata import checked
from rini.api.dialects.openai_input import Input
from rini.api.dialects.openai_lists import ENCRYPTED, INCLUDES
from rini.api.dialects.sessions import InSession
from rini.api.lean import decode_body
from rini.canon import Message
from rini.db import Database
from rini.errors import InvalidRequestError, NotFoundError
from rini.models.naming import ModelName
from rini.providers.capabilities import known_of
from rini.responses import repository
from rini.responses.echo import repeated
from rini.responses.ids import answer_in, conversation_id
from rini.responses.repository import Record
from rini.sessions.context import read_path_of
from rini.turns.context import Policy
from rini.turns.history import takable
from rini.turns.values import NewSession
from rini.wire.codec import UnsupportedError
from rini.wire.openai_responses.message import MessageEncoder

Json = dict[str, Any]

_OURS = ("previous_response_id", "conversation", "background", "metadata", "truncation", "context_management")
"""What this server does itself, so that no provider is asked for it."""

MOST_TOKENS = 2**31 - 1
"""More than any conversation has."""

_encode = msgspec.json.Encoder().encode


class _Reasoning(msgspec.Struct):
    effort: str | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None


class _Text(msgspec.Struct):
    format: Json | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class _PromptCache(msgspec.Struct):
    ttl: Literal["30m"] | None = None
    mode: Literal["implicit", "explicit"] | None = None


class Refers(msgspec.Struct):
    """What of a request says to what it refers, and whether its answer is stored; and what its answer repeats, which must be in order."""

    store: bool | None = None
    previous_response_id: str | None = None
    conversation: str | Mapping[str, Any] | None = None
    background: bool | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    instructions: str | None = None
    truncation: Literal["auto", "disabled"] | None = None
    input: str | list[Json] | None = None
    prompt: Json | None = None
    max_tool_calls: int | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: _PromptCache | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    reasoning: _Reasoning | None = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None
    text: _Text | None = None
    tools: list[Json] | None = None
    top_logprobs: int | None = None
    user: str | None = None

    @property
    def conversation_id(self) -> str | None:
        """The id of the conversation, which may be named by an object."""
        named = self.conversation
        if named is None or isinstance(named, str):
            return named
        named = named.get("id")
        if not isinstance(named, str):
            raise InvalidRequestError("conversation: must be an id, or an object with one.")
        return named


_refers = msgspec.json.Decoder(Refers)
_fields = msgspec.json.Decoder(Json)


def state_in(body: bytes) -> Refers:
    """Return what a request refers to. Raises InvalidRequestError."""
    refers = decode_body(_refers, body)
    if refers.previous_response_id is not None and refers.conversation is not None:
        raise InvalidRequestError("previous_response_id: cannot stand beside conversation; name one of them.")
    named = refers.conversation_id
    if refers.store is False and named is not None:
        raise InvalidRequestError("store: an answer in a conversation is stored; leave store out, or conversation.")
    if not refers.input and refers.previous_response_id is None and named is None and refers.prompt is None:
        raise InvalidRequestError("input: is missing; send a text, or items.")
    for name in refers.include or ():
        if name not in INCLUDES:
            raise InvalidRequestError(f"include: '{name[:100]}' is not one of {', '.join(sorted(INCLUDES))}.")
    checked(refers.metadata)
    return refers


class States:
    """Finds what requests refer to."""

    def __init__(self, database: Database, given: Input) -> None:
        self._database = database
        self._input = given

    async def placed(self, user_id: int, name: ModelName, asked: Asked, session: InSession | None) -> Asked:
        """Return a request whose answer is stored, with its place in a session, as a provider gets it.

        ``session`` is the one that the request's headers name, which counts where its body names none. Raises InvalidRequestError,
        NotFoundError.
        """
        fields = decode_body(_fields, asked.body)
        refers = state_in(asked.body)
        if refers.store is False:
            return msgspec.structs.replace(asked, body=await self.whole(user_id, asked.body))
        place, previous = await self._place(user_id, refers, session)
        if refers.truncation is not None:
            policy: Policy = "truncate" if refers.truncation == "auto" else "refuse"
            place = msgspec.structs.replace(place, context_policy=policy)
        if isinstance(refers.input, list):
            fields["input"] = await self._input.resolved(user_id, refers.input) or refers.input
        repeats = repeated(fields) | {"store": True, "created_at": int(time.time())}
        if previous is not None:
            repeats["previous_response_id"] = previous
        named = refers.conversation_id
        if named is not None and place.session_id is not None:
            repeats["conversation"] = {"id": conversation_id(place.session_id)}
        include = refers.include or []
        if name.provider == "openai" and known_of(name.provider, name.model).capabilities.thinking:
            # Nobody could refer to thoughts that OpenAI does not store: they come along encrypted.
            fields["include"] = [*include, *({ENCRYPTED} - {*include})]
        body = {key: value for key, value in fields.items() if key not in _OURS} | {"store": False}
        return msgspec.structs.replace(
            asked,
            body=_encode(body),
            session=place,
            stored=Record(
                request=_encode(repeats).decode(),
                in_conversation=named is not None,
                background=bool(refers.background),
            ),
            instructions=1 if refers.instructions else 0,
            hides_proofs=ENCRYPTED not in include,
        )

    async def whole(self, user_id: int, body: bytes) -> bytes:
        """Return a request that refers to nothing: with the items of the conversation before its own. Raises what ``placed`` does."""
        refers = decode_body(_refers, body)
        named, previous = refers.conversation_id, refers.previous_response_id
        items = refers.input
        resolved = await self._input.resolved(user_id, items) if isinstance(items, list) else None
        if previous is None and named is None:
            return body if resolved is None else changed(body, input=resolved)
        new = [{"role": "user", "content": items}] if isinstance(items, str) else resolved or items or []
        before = _items(await self._database.read(messages_before, user_id, previous, named))
        fields = decode_body(_fields, body)
        whole = {key: value for key, value in fields.items() if key not in ("previous_response_id", "conversation")}
        return _encode(whole | {"input": [*before, *new]})

    async def _place(self, user_id: int, refers: Refers, session: InSession | None) -> tuple[InSession, str | None]:
        """Return where a request comes, and the id of the response before it."""
        if refers.previous_response_id is not None:
            previous = refers.previous_response_id
            answer_id = answer_in(previous)
            if answer_id is None:
                raise repository.no_previous(previous)
            # Whether there is such a response is seen where the question is stored below it.
            return InSession(parent_message_id=answer_id), previous
        named = refers.conversation_id
        if named is not None:
            found = await self._database.read(repository.conversation, user_id, named)
            return InSession(session_id=found.id), None
        if session is not None:
            return session, None
        return InSession(new_session=NewSession(memory_mode="disabled")), None


def messages_before(
    connection: Connection, user_id: int, previous: str | None, conversation: str | None
) -> tuple[Message, ...]:
    """Return the messages up to a response, or to the tip of a conversation's current branch.

    Raises PreviousResponseNotFoundError, NotFoundError.
    """
    if previous is not None:
        try:
            leaf: int | None = repository.find(connection, user_id, previous).answer.id
        except NotFoundError:
            raise repository.no_previous(previous) from None
    else:
        leaf = repository.conversation(connection, user_id, conversation or "").head_message_id
    return takable(read_path_of(connection, leaf, None, MOST_TOKENS).messages)


def _items(messages: tuple[Message, ...]) -> list[Json]:
    items = MessageEncoder(messages, verbatim=True, dropped=[])
    try:
        return [item for place, each in enumerate(messages) for item in items.encode(each, f"messages[{place}]")]
    except UnsupportedError as error:
        raise InvalidRequestError(f"previous_response_id: {error}") from None
