"""OpenAI's conversations: /v1/conversations and their items. A conversation is a session, its items those of the current branch."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.engine import Connection
from starlette.types import Receive, Scope, Send

from rini.accounts.access import Access
from rini.api.credentials import current_caller
from rini.api.dialects.metadata import checked
from rini.api.dialects.openai_input import Input
from rini.api.dialects.openai_lists import Listing, listed, listing_in, query_in, wants_proofs
from rini.api.lean import decode_body, read_body, send_json
from rini.canon import Message
from rini.db import AnyRow, Database
from rini.errors import InvalidRequestError, SessionBusyError
from rini.files.store import Files
from rini.responses import repository
from rini.responses.ids import conversation_id
from rini.responses.items import items_of
from rini.sessions import repository as sessions
from rini.turns import runs

CONVERSATIONS = "/v1/conversations"
CONVERSATION = "/v1/conversations/{conversation_id}"
ITEMS = "/v1/conversations/{conversation_id}/items"
ITEM = "/v1/conversations/{conversation_id}/items/{item_id}"

MOST_ITEMS = 20
"""As many items are added at once, as with OpenAI."""

Json = dict[str, Any]


class _New(msgspec.Struct):
    metadata: dict[str, str] | None = None
    items: list[Json] | None = None


class _Changed(msgspec.Struct):
    metadata: dict[str, str] | None


class _Items(msgspec.Struct):
    items: list[Json]


_new = msgspec.json.Decoder(_New)
_changed = msgspec.json.Decoder(_Changed)
_items = msgspec.json.Decoder(_Items)
_encode = msgspec.json.Encoder().encode


class Conversations:
    """Makes, shows, changes and deletes conversations and their items."""

    def __init__(self, database: Database, access: Access, files: Files, given: Input) -> None:
        self._database = database
        self._access = access
        self._files = files
        self._input = given

    async def create(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make a conversation. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        body = await read_body(receive)
        asked = decode_body(_new, body) if body else _New()
        meta = checked(asked.metadata)
        added = await self._messages(caller.user_id, asked.items or [])
        await self._send(send, await self._database.write(_create, caller.user_id, meta, added))

    async def read(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with a conversation. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        await self._send(send, await self._database.read(_read, caller.user_id, _named(scope)))

    async def update(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Change a conversation's metadata. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        meta = checked(decode_body(_changed, await read_body(receive)).metadata)
        await self._send(send, await self._database.write(_update, caller.user_id, _named(scope), meta))

    async def delete(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Delete a conversation: the session with its messages and their files. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        named = _named(scope)
        references = await self._database.write(_delete, caller.user_id, named)
        await self._files.delete(references)
        await self._send(send, {"id": named, "object": "conversation.deleted", "deleted": True})

    async def list_items(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with a page of a conversation's items. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        listing = listing_in(scope)
        await self._send(send, await self._database.read(_list, caller.user_id, _named(scope), listing))

    async def add_items(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add items to a conversation. Raises RiniError, SessionBusyError among them while it is being answered."""
        caller = await current_caller(scope, self._access)
        proofs = wants_proofs(query_in(scope))
        asked = decode_body(_items, await read_body(receive))
        added = await self._messages(caller.user_id, asked.items)
        await self._send(send, await self._database.write(_add, caller.user_id, _named(scope), added, proofs))

    async def read_item(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with an item. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        proofs = wants_proofs(query_in(scope))
        item = scope["path_params"]["item_id"]
        await self._send(send, await self._database.read(_item, caller.user_id, _named(scope), item, proofs))

    async def delete_item(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Delete an item; no model reads it again. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        item = scope["path_params"]["item_id"]
        await self._send(send, await self._database.write(_delete_item, caller.user_id, _named(scope), item))

    async def _messages(self, user_id: int, items: list[Json]) -> tuple[Message, ...]:
        if len(items) > MOST_ITEMS:
            raise InvalidRequestError(f"items: are {len(items)}; at most {MOST_ITEMS} are added at once.")
        return await self._input.messages(user_id, items) if items else ()

    async def _send(self, send: Send, body: Json) -> None:
        await send_json(send, 200, _encode(body))


def _named(scope: Scope) -> str:
    return scope["path_params"]["conversation_id"]


def _create(connection: Connection, user_id: int, meta: str | None, added: Sequence[Message]) -> Json:
    session = sessions.create(connection, user_id, None, None, "disabled", meta=meta)
    repository.add_items(connection, session, added)
    return _shown(connection, session)


def _read(connection: Connection, user_id: int, named: str) -> Json:
    return _shown(connection, repository.conversation(connection, user_id, named))


def _update(connection: Connection, user_id: int, named: str, meta: str | None) -> Json:
    session = repository.conversation(connection, user_id, named)
    return _shown(connection, sessions.change(connection, user_id, session.id, {"meta": meta}))


def _delete(connection: Connection, user_id: int, named: str) -> list[str]:
    return sessions.delete(connection, user_id, repository.conversation(connection, user_id, named).id)


def _list(connection: Connection, user_id: int, named: str, listing: Listing) -> Json:
    session = repository.conversation(connection, user_id, named)
    items, has_more = repository.page(
        connection,
        session,
        after=listing.after,
        limit=listing.limit,
        ascending=listing.ascending,
        proofs=listing.proofs,
    )
    return listed(items, has_more=has_more)


def _add(connection: Connection, user_id: int, named: str, added: Sequence[Message], proofs: bool) -> Json:  # noqa: FBT001  # a unit's arguments go by place
    session = repository.conversation(connection, user_id, named, locked=True)
    if (running := runs.holder(connection, session.id)) is not None:
        raise SessionBusyError(running)
    rows = repository.add_items(connection, session, added)
    return listed([item.value for row in rows for item in items_of(row, proofs=proofs)], has_more=False)


def _item(connection: Connection, user_id: int, named: str, item: str, proofs: bool) -> Json:  # noqa: FBT001  # a unit's arguments go by place
    session = repository.conversation(connection, user_id, named)
    place = repository.place_of(connection, session, item)
    shown = items_of(place.message, proofs=proofs)
    return next(each.value for each in shown if each.position == place.item.position)


def _delete_item(connection: Connection, user_id: int, named: str, item: str) -> Json:
    session = repository.conversation(connection, user_id, named, locked=True)
    repository.delete_item(connection, session, item)
    return _shown(connection, session)


def _shown(connection: Connection, session: AnyRow) -> Json:
    return {
        "id": conversation_id(session.id),
        "object": "conversation",
        "created_at": int(session.created_at.timestamp()),
        "metadata": repository.metadata_of(connection, session.id),
    }
