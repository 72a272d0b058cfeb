"""Ids of OpenAI's stored responses, conversations and items: all of them follow from ids that are here anyway.

A response is an answer's message, a conversation is a session, and an item is a message and its place among the items of that message.
"""

import re
import uuid
from typing import NamedTuple

RESPONSE = "resp_"
CONVERSATION = "conv_"

LARGEST_ID = 2**63 - 1

_RESPONSE = re.compile(r"resp_([1-9][0-9]{0,18})")
_CONVERSATION = re.compile(r"conv_([0-9a-f]{32})")
_ITEM = re.compile(r"[a-z]+_rini_([1-9][0-9]{0,18})_([0-9]{1,9})")


class ItemPlace(NamedTuple):
    """Where an item is: its message, and which of that message's items it is, from 0."""

    message_id: int
    position: int


def response_id(answer_id: int) -> str:
    """Return the id of the response that an answer is."""
    return f"{RESPONSE}{answer_id}"


def answer_in(response: str) -> int | None:
    """Return the answer that a response's id names; None where it is no id of a response of this server's."""
    found = _RESPONSE.fullmatch(response)
    return _row_id(found[1]) if found else None


def conversation_id(session_id: str) -> str:
    """Return the id of the conversation that a session is."""
    return CONVERSATION + uuid.UUID(session_id).hex


def session_in(conversation: str) -> str | None:
    """Return the session that a conversation's id names; None where it is no id of a conversation of this server's."""
    found = _CONVERSATION.fullmatch(conversation)
    return str(uuid.UUID(found[1])) if found else None


def place_in(item: str) -> ItemPlace | None:
    """Return where the item of that id is; None where this server made no such id."""
    found = _ITEM.fullmatch(item)
    message_id = _row_id(found[1]) if found else None
    return None if found is None or message_id is None else ItemPlace(message_id, int(found[2]))


def _row_id(digits: str) -> int | None:
    number = int(digits)
    return number if number <= LARGEST_ID else None
