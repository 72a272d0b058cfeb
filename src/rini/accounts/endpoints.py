"""/users, their access tokens, and /api-keys."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from rini.accounts import access_tokens, provider_keys, users
from rini.accounts.dependencies import AccessDependency, CurrentOwner, CurrentUser, KeyCacheDependency
from rini.accounts.schemas import (
    AccessToken,
    AccessTokenCreate,
    AccessTokenCreated,
    ProviderKey,
    ProviderKeyCreate,
    ProviderKeyUpdate,
    User,
    UserCreated,
)
from rini.accounts.tokens import TokenIssuer
from rini.db.dependency import DatabaseDependency
from rini.errors import SignupClosedError
from rini.kit.clock import now
from rini.kit.parameters import TOTAL_HEADER, Limit, RowId, Skip
from rini.providers.addresses import check_provider_key
from rini.settings import Settings

router = APIRouter()


def _issuer(request: Request) -> TokenIssuer:
    return request.app.state.issuer


def _settings(request: Request) -> Settings:
    return request.app.state.settings


def _on_user_deleted(request: Request) -> Callable[[int], None]:
    return request.app.state.on_user_deleted


@router.post("/users/", status_code=201, tags=["users"], summary="Make a user")
def create_user(
    request: Request,
    database: DatabaseDependency,
    issuer: Annotated[TokenIssuer, Depends(_issuer)],
    settings: Annotated[Settings, Depends(_settings)],
) -> UserCreated:
    """Make a user and return its token, a JWT. It is shown once."""
    if settings.signup == "closed":
        raise SignupClosedError("Sign-up is closed: ask the operator, who can run `rini user create`.")
    origin = users.origin_of(request.client.host if request.client else "", issuer.key)
    user_id = database.write_sync(users.create, origin, settings.signup_limit)
    return UserCreated(id=user_id, access_token=issuer.issue(user_id))


@router.get("/users/me", tags=["users"], summary="Who am I")
def read_user(user_id: CurrentUser) -> User:
    """Return the user of the token."""
    return User(id=user_id)


@router.delete("/users/me", status_code=204, tags=["users"], summary="Delete me and all that is mine")
def delete_user(
    user_id: CurrentOwner,
    database: DatabaseDependency,
    access: AccessDependency,
    cache: KeyCacheDependency,
    on_user_deleted: Annotated[Callable[[int], None], Depends(_on_user_deleted)],
) -> None:
    """Delete the user with its keys, sessions, messages, files and usage records."""
    database.write_sync(users.delete, user_id)
    access.forget(user_id)
    cache.forget(user_id)
    on_user_deleted(user_id)


@router.post("/users/me/tokens", status_code=201, tags=["users"], summary="Make an access token")
def create_token(body: AccessTokenCreate, user_id: CurrentOwner, database: DatabaseDependency) -> AccessTokenCreated:
    """Make a token for a program, such as a provider's SDK, and return it. It is shown once.

    It travels wherever SDKs put their key: `Authorization: Bearer`, `x-api-key`, `x-goog-api-key` or `?key=`. It may do all that
    its user may, but not make, list or delete tokens, not store, change or delete provider keys, and not delete the user.
    """
    token = access_tokens.new_token()
    expires_at = body.expires_at
    if body.expires_in_days is not None:
        expires_at = now() + timedelta(days=body.expires_in_days)
    row = database.write_sync(access_tokens.store, user_id, token, body.name, body.models, expires_at)
    return AccessTokenCreated(**_token_shown(row).model_dump(), token=token)


@router.get("/users/me/tokens", tags=["users"], summary="List my access tokens")
def list_tokens(
    user_id: CurrentOwner, database: DatabaseDependency, response: Response, skip: Skip = 0, limit: Limit = 10
) -> list[AccessToken]:
    """Return the access tokens, oldest first, without themselves."""
    rows, total = database.read_sync(access_tokens.page, user_id, skip, limit)
    response.headers[TOTAL_HEADER] = str(total)
    return [_token_shown(row) for row in rows]


@router.get("/users/me/tokens/{token_id}", tags=["users"], summary="Read about an access token")
def read_token(token_id: RowId, user_id: CurrentOwner, database: DatabaseDependency) -> AccessToken:
    """Return an access token, without itself."""
    return _token_shown(database.read_sync(access_tokens.get, user_id, token_id))


@router.delete("/users/me/tokens/{token_id}", status_code=204, tags=["users"], summary="Delete an access token")
def delete_token(
    token_id: RowId, user_id: CurrentOwner, database: DatabaseDependency, access: AccessDependency
) -> None:
    """Delete an access token. No request that comes later can use it; those that already run go on."""
    database.write_sync(access_tokens.delete, user_id, token_id)
    access.forget_token(token_id)


@router.post("/api-keys/", status_code=201, tags=["api-keys"], summary="Store a provider's key")
def create_key(
    body: ProviderKeyCreate,
    user_id: CurrentOwner,
    database: DatabaseDependency,
    cache: KeyCacheDependency,
    settings: Annotated[Settings, Depends(_settings)],
) -> ProviderKey:
    """Store a key, encrypted. The newest key of a provider is used unless a request names another one."""
    value, base_url = check_provider_key(
        body.model_provider, body.api_key_value, body.base_url, settings.allowed_private_hosts
    )
    row = database.write_sync(
        provider_keys.store, cache.keyring, user_id, body.model_provider, value, body.description, base_url
    )
    cache.forget(user_id)
    return _shown(row)


@router.get("/api-keys/", tags=["api-keys"], summary="List my keys")
def list_keys(
    user_id: CurrentUser, database: DatabaseDependency, response: Response, skip: Skip = 0, limit: Limit = 10
) -> list[ProviderKey]:
    """Return the stored keys, oldest first, without their values."""
    rows, total = database.read_sync(provider_keys.page, user_id, skip, limit)
    response.headers[TOTAL_HEADER] = str(total)
    return [_shown(row) for row in rows]


@router.get("/api-keys/{key_id}", tags=["api-keys"], summary="Read a key's description")
def read_key(key_id: RowId, user_id: CurrentUser, database: DatabaseDependency) -> ProviderKey:
    """Return a stored key, without its value."""
    return _shown(database.read_sync(provider_keys.get, user_id, key_id))


@router.put("/api-keys/{key_id}", tags=["api-keys"], summary="Change a key's description")
def update_key(
    key_id: RowId, body: ProviderKeyUpdate, user_id: CurrentOwner, database: DatabaseDependency
) -> ProviderKey:
    """Change the description; left out it stays. A key's value is replaced by storing a new key."""
    if "description" not in body.model_fields_set:
        return _shown(database.read_sync(provider_keys.get, user_id, key_id))
    return _shown(database.write_sync(provider_keys.describe, user_id, key_id, body.description))


@router.delete("/api-keys/{key_id}", status_code=204, tags=["api-keys"], summary="Delete a key")
def delete_key(key_id: RowId, user_id: CurrentOwner, database: DatabaseDependency, cache: KeyCacheDependency) -> None:
    """Delete a stored key; calls that already run keep it."""
    database.write_sync(provider_keys.delete, user_id, key_id)
    cache.forget(user_id)


def _token_shown(row: Any) -> AccessToken:
    return AccessToken.model_validate(row, from_attributes=True)


def _shown(row: Any) -> ProviderKey:
    return ProviderKey.model_validate(row, from_attributes=True)
