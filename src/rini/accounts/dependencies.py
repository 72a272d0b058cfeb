"""Who is asking, as FastAPI hands it to endpoints that run in a thread."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from rini.accounts.access import Access
from rini.accounts.key_cache import KeyCache

_bearer = HTTPBearer(auto_error=False, description="The access token that POST /users/ gave.")


def _access(request: Request) -> Access:
    return request.app.state.access


def _key_cache(request: Request) -> KeyCache:
    return request.app.state.key_cache


AccessDependency = Annotated[Access, Depends(_access)]
KeyCacheDependency = Annotated[KeyCache, Depends(_key_cache)]


def _current_user(
    request: Request,
    access: AccessDependency,
    _scheme: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> int:
    authorization = request.headers.get("authorization")
    user_id = access.known(authorization) or access.check_sync(authorization)
    request.scope["rini.user_id"] = user_id
    return user_id


CurrentUser = Annotated[int, Depends(_current_user)]
"""The id of the user whose token the request carries."""
