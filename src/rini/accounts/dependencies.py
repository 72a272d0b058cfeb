"""Who is asking, as FastAPI hands it to endpoints that run in a thread."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from rini.accounts.access import Access, Caller, bearer_token
from rini.accounts.key_cache import KeyCache
from rini.errors import NotAuthenticatedError, TokenNotAllowedError

_bearer = HTTPBearer(auto_error=False, description="The token that POST /users/ gave, or one of POST /users/me/tokens.")


def _access(request: Request) -> Access:
    return request.app.state.access


def _key_cache(request: Request) -> KeyCache:
    return request.app.state.key_cache


AccessDependency = Annotated[Access, Depends(_access)]
KeyCacheDependency = Annotated[KeyCache, Depends(_key_cache)]


_Scheme = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def _caller(request: Request, access: Access) -> Caller:
    token = bearer_token(request.headers.get("authorization", "").encode("latin-1"))
    if token is None:
        raise NotAuthenticatedError("Send a token: `Authorization: Bearer <token>`.")
    caller = access.known(token) or access.check_sync(token)
    request.scope["rini.user_id"] = caller.user_id
    return caller


def _current_user(request: Request, access: AccessDependency, _scheme: _Scheme) -> int:
    return _caller(request, access).user_id


def _current_owner(request: Request, access: AccessDependency, _scheme: _Scheme) -> int:
    caller = _caller(request, access)
    if caller.token_id is not None:
        raise TokenNotAllowedError(
            "An access token may not do this. Send the JWT that POST /users/ gave; when it has expired, the operator makes"
            f" another with `rini user token {caller.user_id}`."
        )
    return caller.user_id


CurrentUser = Annotated[int, Depends(_current_user)]
"""The id of the user whose token the request carries."""

CurrentOwner = Annotated[int, Depends(_current_owner)]
"""The same for what an access token may not do: it needs the user's JWT."""
