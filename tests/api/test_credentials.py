"""Where a token may travel, and which place counts."""

import asyncio
from typing import Any

import pytest

from rini.accounts.access import Caller
from rini.api.credentials import current_caller, token_in
from rini.errors import NotAuthenticatedError

BEARER = (b"authorization", b"Bearer one")
X_API_KEY = (b"x-api-key", b"two")
GOOGLE = (b"x-goog-api-key", b"three")


def scope(*headers: tuple[bytes, bytes], query: bytes = b"") -> dict[str, Any]:
    return {"type": "http", "headers": [(b"host", b"x"), *headers, (b"accept", b"*/*")], "query_string": query}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (scope(BEARER), "one"),
        (scope(X_API_KEY), "two"),
        (scope(GOOGLE), "three"),
        (scope(query=b"key=four"), "four"),
        (scope(query=b"alt=sse&key=four"), "four"),
        (scope(query=b"key=f%6Fur%2D%5F"), "four-_"),
        (scope(query=b"key=&key=four&key=five"), "four"),
        (scope(GOOGLE, X_API_KEY, BEARER, query=b"key=four"), "one"),
        (scope(GOOGLE, X_API_KEY, query=b"key=four"), "two"),
        (scope(GOOGLE, query=b"key=four"), "three"),
        (scope((b"authorization", b"Basic eDp5"), X_API_KEY), "two"),
        (scope((b"authorization", b"Bearer "), X_API_KEY), "two"),
        (scope((b"x-api-key", b""), GOOGLE), "three"),
        (scope((b"x-api-key", b" "), query=b"key=four"), "four"),
        (scope((b"authorization", b"bEARER   one ")), "one"),
        (scope((b"authorization", b"Bearer Bearer one")), "Bearer one"),
        (scope((b"authorization", b"Bearer \xff")), "\xff"),
        (scope((b"authorization", b"Bearerone")), None),
        (scope((b"authorization", b"")), None),
        (scope(query=b"monkey=four&apikey=four&KEY=four&key"), None),
        (scope(), None),
        ({"type": "http", "headers": []}, None),
    ],
)
def test_the_first_place_that_has_one_counts(given: dict[str, Any], found: str | None):
    assert token_in(given) == found


class _Access:
    """Knows one token, and has looked up another."""

    def known(self, token: str) -> Caller | None:
        return Caller(7) if token == "one" else None

    async def check(self, token: str) -> Caller:
        return Caller(8, 2, (token,))


def test_who_asks_is_noted_for_the_log():
    known, looked_up = scope(BEARER), scope(X_API_KEY)
    assert asyncio.run(current_caller(known, _Access())) == Caller(7)
    assert known["rini.user_id"] == 7
    assert asyncio.run(current_caller(looked_up, _Access())) == Caller(8, 2, ("two",))
    assert looked_up["rini.user_id"] == 8


def test_without_a_token_all_places_are_named():
    with pytest.raises(NotAuthenticatedError) as refused:
        asyncio.run(current_caller(scope(), _Access()))
    for place in ("Authorization: Bearer", "x-api-key", "x-goog-api-key", "?key="):
        assert place in refused.value.detail
