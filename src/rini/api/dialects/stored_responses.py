"""OpenAI's stored responses: GET and DELETE /v1/responses/{response_id}, and its input_items.

Whatever a model answered the user, in whichever API, can be read here as a response.
"""

from typing import Any

import msgspec
from sqlalchemy.engine import Connection
from starlette.types import Receive, Scope, Send

from rini.accounts.access import Access
from rini.api.credentials import current_caller
from rini.api.dialects.openai_lists import Listing, flag, listed, listing_in, query_in, wants_proofs
from rini.api.lean import send_json
from rini.db import Database
from rini.errors import NotFoundError, UnsupportedParameterError
from rini.responses import repository
from rini.responses.items import items_of
from rini.responses.shown import shown

RESPONSE = "/v1/responses/{response_id}"
INPUT_ITEMS = "/v1/responses/{response_id}/input_items"

_encode = msgspec.json.Encoder().encode


class StoredResponses:
    """Shows and deletes responses."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    async def read(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with a response. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        query = query_in(scope)
        proofs = wants_proofs(query)
        if flag(query, "stream"):
            raise UnsupportedParameterError(
                "stream: an answer cannot be followed here yet; read it without stream.", parameter="stream"
            )
        body = await self._database.read(_read, caller.user_id, _named(scope), proofs)
        await send_json(send, 200, _encode(body))

    async def delete(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Delete a response: it is found here no more, and its messages stay in their session. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        named = _named(scope)
        await self._database.write(repository.hide, caller.user_id, named)
        await send_json(send, 200, _encode({"id": named, "object": "response", "deleted": True}))

    async def input_items(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with the items of a response's input. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        listing = listing_in(scope)
        body = await self._database.read(_input_items, caller.user_id, _named(scope), listing)
        await send_json(send, 200, _encode(body))


def _named(scope: Scope) -> str:
    return scope["path_params"]["response_id"]


def _read(connection: Connection, user_id: int, named: str, proofs: bool) -> dict[str, Any]:  # noqa: FBT001  # a unit's arguments go by place
    found = repository.find(connection, user_id, named)
    return shown(found, repository.usage_of(connection, found.answer), proofs=proofs)


def _input_items(connection: Connection, user_id: int, named: str, listing: Listing) -> dict[str, Any]:
    found = repository.find(connection, user_id, named)
    messages = repository.input_of(connection, found)
    items = [item.value for message in messages for item in items_of(message, proofs=listing.proofs)]
    if not listing.ascending:
        items.reverse()
    if listing.after is not None:
        places = [place for place, item in enumerate(items) if item["id"] == listing.after]
        if not places:
            raise NotFoundError(f"There is no item '{listing.after[:100]}' in the input of {named}.")
        items = items[places[0] + 1 :]
    return listed(items[: listing.limit], has_more=len(items) > listing.limit)
