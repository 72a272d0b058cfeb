"""The parameters of OpenAI's lists, and the lists themselves."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.types import Scope

from rini.errors import InvalidRequestError

DEFAULT_LIMIT = 20
LARGEST_LIMIT = 100

ENCRYPTED = "reasoning.encrypted_content"
INCLUDES = frozenset(
    {
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "message.input_image.image_url",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
        ENCRYPTED,
        "message.output_text.logprobs",
    }
)


class Listing(msgspec.Struct, frozen=True):
    """Which part of a list is asked for. ``proofs``: with encrypted thoughts."""

    after: str | None
    limit: int
    ascending: bool
    proofs: bool


def listing_in(scope: Scope) -> Listing:
    """Return what a request's query asks for. Raises InvalidRequestError."""
    query = query_in(scope)
    order = query.get("order", ["desc"])[-1]
    if order not in ("asc", "desc"):
        raise InvalidRequestError("order: must be asc or desc.")
    limit = whole_number(query, "limit", DEFAULT_LIMIT)
    if not 1 <= limit <= LARGEST_LIMIT:
        raise InvalidRequestError(f"limit: must be from 1 to {LARGEST_LIMIT}.")
    after = query.get("after", [""])[-1]
    return Listing(after or None, limit, order == "asc", wants_proofs(query))


def query_in(scope: Scope) -> dict[str, list[str]]:
    """Return a request's query. Lists may be sent as ``name`` or as ``name[]``, as OpenAI's SDK has it."""
    try:
        found = parse_qs(scope.get("query_string", b"").decode("ascii"), keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise InvalidRequestError("The query is not UTF-8.") from None
    query: dict[str, list[str]] = {}
    for name, values in found.items():
        query.setdefault(name.removesuffix("[]"), []).extend(values)
    return query


def wants_proofs(query: dict[str, list[str]]) -> bool:
    """Tell whether ``include`` asks for encrypted thoughts. Raises InvalidRequestError for what nothing can be asked for."""
    included = query.get("include", [])
    for name in included:
        if name not in INCLUDES:
            raise InvalidRequestError(f"include: '{name[:100]}' is not one of {', '.join(sorted(INCLUDES))}.")
    return ENCRYPTED in included


def whole_number(query: dict[str, list[str]], name: str, default: int) -> int:
    """Return a whole number of a query. Raises InvalidRequestError."""
    text = query.get(name, [""])[-1]
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InvalidRequestError(f"{name}: must be a whole number.")
    return int(text)


def flag(query: dict[str, list[str]], name: str) -> bool:
    """Return a truth value of a query. Raises InvalidRequestError."""
    text = query.get(name, [""])[-1].lower()
    if text not in ("", "true", "false", "1", "0"):
        raise InvalidRequestError(f"{name}: must be true or false.")
    return text in ("true", "1")


def listed(items: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return a page of a list."""
    return {
        "object": "list",
        "data": items,
        # The specification knows no null here; of an empty page OpenAI's SDK reads neither.
        "first_id": items[0]["id"] if items else "",
        "last_id": items[-1]["id"] if items else "",
        "has_more": has_more,
    }
