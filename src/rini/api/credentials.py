"""Whose request it is. A token may travel where any of the providers' SDKs puts its key."""

from urllib.parse import unquote_to_bytes

from starlette.types import Scope

from rini.accounts.access import Access, Caller, bearer_token
from rini.errors import NotAuthenticatedError

_KEY_HEADERS = (b"x-api-key", b"x-goog-api-key")


def token_in(scope: Scope) -> str | None:
    """Return the token of the first of these places that has one.

    ``Authorization: Bearer`` (OpenAI's SDK), ``x-api-key`` (Anthropic's), ``x-goog-api-key`` (Google's), the query's ``key``
    (Google's REST API).
    """
    for name, value in scope["headers"]:
        if name == b"authorization":
            token = bearer_token(value)
            if token is not None:
                return token
            break
    for place in _KEY_HEADERS:
        for name, value in scope["headers"]:
            if name == place and (token := value.decode("latin-1").strip()):
                return token
    return _key_of(scope.get("query_string", b""))


async def current_caller(scope: Scope, access: Access) -> Caller:
    """Return whose token the request carries, in whichever place. Raises NotAuthenticatedError."""
    token = token_in(scope)
    if token is None:
        raise NotAuthenticatedError(
            "Send a token: as `Authorization: Bearer <token>`, in the header x-api-key or x-goog-api-key, or as `?key=<token>`."
        )
    caller = access.known(token)
    if caller is None:
        caller = await access.check(token)
    scope["rini.user_id"] = caller.user_id
    return caller


def _key_of(query: bytes) -> str | None:
    for field in query.split(b"&"):
        if field.startswith(b"key=") and (token := unquote_to_bytes(field[4:]).decode("latin-1").strip()):
            return token
    return None
