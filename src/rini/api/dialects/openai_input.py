"""The input items of OpenAI's responses and conversations, with what they refer to put in its place.

An ``item_reference`` becomes the stored item; so does a thought that names no more than its id. A compaction that this server made becomes
the summary that is sealed in it.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from rini.accounts.keyring import Keyring
from rini.canon import Message
from rini.db import Database
from rini.errors import InvalidRequestError, KeyUnreadableError
from rini.responses import repository
from rini.responses.ids import place_in
from rini.responses.items import as_it_came
from rini.wire.codec import MalformedError
from rini.wire.openai_responses.message import decode_input

Json = dict[str, Any]

SEALED = "rini."
"""How the encrypted content of a compaction begins that this server made."""

SUMMARY = "Summary of the conversation so far, in place of its messages:\n\n{text}"


class Input:
    """Reads input items."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def messages(self, user_id: int, items: Sequence[Json]) -> tuple[Message, ...]:
        """Return the messages that items are. Raises InvalidRequestError, NotFoundError."""
        resolved = await self.resolved(user_id, items)
        try:
            return decode_input([*items] if resolved is None else resolved, None)
        except MalformedError as error:
            raise InvalidRequestError(f"items: {error}") from None

    async def resolved(self, user_id: int, items: Sequence[Json]) -> list[Json] | None:
        """Return the items with what they refer to; None where they refer to nothing. Raises InvalidRequestError, NotFoundError."""
        for place, item in enumerate(items):
            if not isinstance(item.get("type", ""), str | None):
                raise InvalidRequestError(f"input[{place}].type: must be a text.")
            if "content" not in item and item.get("type", "message") == "message" and "role" in item:
                raise InvalidRequestError(f"input[{place}].content: is missing.")
        references = [named for item in items if (named := _referred(item)) is not None]
        if not references and not any(_is_sealed(item) for item in items):
            return None
        found = await self._database.read(_find, user_id, references) if references else {}
        return [self._put(user_id, place, item, found) for place, item in enumerate(items)]

    def sealed(self, user_id: int, summary: str) -> str:
        """Return a summary as the encrypted content of a compaction that only this server reads, and for this user alone."""
        return SEALED + base64.urlsafe_b64encode(self._keyring.seal(summary, _place(user_id))).decode()

    def _put(self, user_id: int, place: int, item: Json, found: dict[str, Json]) -> Json:
        named = _referred(item)
        if named is not None:
            return found[named]
        if not _is_sealed(item):
            return item
        try:
            sealed = base64.urlsafe_b64decode(item["encrypted_content"].removeprefix(SEALED))
            summary = self._keyring.open(sealed, _place(user_id))
        except (binascii.Error, ValueError, KeyUnreadableError):
            raise InvalidRequestError(
                f"input[{place}].encrypted_content: is none that this server made for you."
            ) from None
        return {"type": "message", "role": "user", "content": SUMMARY.format(text=summary)}


def _referred(item: Json) -> str | None:
    """Return the id of the item that stands in the place of this one; None: it stands for itself."""
    kind, named = item.get("type"), item.get("id")
    if kind == "item_reference" or (kind is None and "role" not in item):
        if not isinstance(named, str):
            raise InvalidRequestError("input: a reference to an item has no id.")
        return named
    is_bare = kind == "reasoning" and not item.get("encrypted_content")
    return named if is_bare and isinstance(named, str) and place_in(named) is not None else None


def _is_sealed(item: Json) -> bool:
    content = item.get("encrypted_content")
    return item.get("type") == "compaction" and isinstance(content, str) and content.startswith(SEALED)


def _find(connection: Connection, user_id: int, references: Sequence[str]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for named in references:
        placed = repository.find_item(connection, user_id, named)
        found[named] = as_it_came(placed.message, placed.item)
    return found


def _place(user_id: int) -> str:
    return f"compaction of user {user_id}"
