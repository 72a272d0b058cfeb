"""OpenAI's stored responses: GET and DELETE /v1/responses/{response_id}, its input_items, and its end by cancel.

Whatever a model answered the user, in whichever API, can be read here as a response.
"""

from contextlib import suppress
from typing import Any

import msgspec
from sqlalchemy.engine import Connection
from starlette.types import Receive, Scope, Send

from rini.accounts.access import Access
from rini.api.credentials import current_caller
from rini.api.dialects.openai_follow import FROM_THE_BEGINNING, ResponseFollower
from rini.api.dialects.openai_lists import Listing, flag, listed, listing_in, query_in, wants_proofs, whole_number
from rini.api.lean import ClientLeftError, send_json, while_connected
from rini.db import Database
from rini.errors import InvalidRequestError, NotFoundError
from rini.responses import repository
from rini.responses.items import items_of
from rini.responses.shown import may_be_queued, shown
from rini.sessions import messages
from rini.turns.following import Streams
from rini.turns.turn import Turns

RESPONSE = "/v1/responses/{response_id}"
CANCEL = "/v1/responses/{response_id}/cancel"
INPUT_ITEMS = "/v1/responses/{response_id}/input_items"

_encode = msgspec.json.Encoder().encode


class StoredResponses:
    """Shows and deletes responses."""

    def __init__(self, database: Database, access: Access, turns: Turns, follower: ResponseFollower) -> None:
        self._database = database
        self._access = access
        self._turns = turns
        self._follower = follower
        self._streams = follower.streams

    async def read(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a response, or with its stream once more. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        query = query_in(scope)
        proofs = wants_proofs(query)
        named = _named(scope)
        after = whole_number(query, "starting_after", FROM_THE_BEGINNING)
        if not flag(query, "stream"):
            body = await self._database.read(response_of, caller.user_id, named, proofs, self._streams)
            await send_json(send, 200, _encode(body))
            return
        found = await self._database.read(repository.find, caller.user_id, named)
        follow = self._follower.follow
        with suppress(ClientLeftError):
            await while_connected(receive, lambda: follow(caller.user_id, found.answer.id, send, after, proofs=proofs))

    async def cancel(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """End a response that is written in the background, and answer with it; one that is over stays as it is. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        named = _named(scope)
        answer, record = await self._database.read(repository.find, caller.user_id, named)
        if record is None or not record.background:
            raise InvalidRequestError(f"{named}: is not written in the background; only such a response is cancelled.")
        await self._turns.cancel(caller.user_id, answer.id)
        body = await self._database.read(response_of, caller.user_id, named, False, self._streams)
        await send_json(send, 200, _encode(body))

    async def delete(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Delete a response: it is found here no more, and its messages stay in their session. One that runs is ended. Raises RiniError."""
        caller = await current_caller(scope, self._access)
        named = _named(scope)
        answer, _ = await self._database.read(repository.find, caller.user_id, named)
        if answer.status == messages.RUNNING:
            await self._turns.cancel(caller.user_id, answer.id)
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


def response_of(connection: Connection, user_id: int, named: str, proofs: bool, streams: Streams) -> dict[str, Any]:  # noqa: FBT001  # a unit's arguments go by place
    """Return the user's response of that id; ``proofs``: with encrypted thoughts. Raises NotFoundError."""
    found = repository.find(connection, user_id, named)
    is_queued = may_be_queued(found) and not streams.has_begun(connection, found.answer.id)
    return shown(found, repository.usage_of(connection, found.answer), proofs=proofs, is_queued=is_queued)


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
