"""What the endpoints of users, access tokens and keys take and give."""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from rini.accounts.allowed_models import PATTERN, check_pattern
from rini.kit.clock import now
from rini.kit.text import storable
from rini.providers.catalog import PROVIDERS


class UserCreated(BaseModel):
    """A new user and its access token, shown once."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": 1, "access_token": "eyJ…", "token_type": "bearer"}]}
    )

    id: int
    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # a kind, not a password


class User(BaseModel):
    """A user."""

    id: int


_Storable = AfterValidator(storable)

MOST_MODELS = 100
PATTERN_CHARACTERS = 321
"""A provider's name, a slash and a model's, as /llm takes them."""

MOST_DAYS = 3650


def _moment(value: object) -> datetime:
    """Return a moment in the future, in UTC."""
    try:
        moment = datetime.fromisoformat(value.upper() if isinstance(value, str) else "")
        in_utc = moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        in_utc = None
    if in_utc is None:
        raise ValueError("must be a time with its zone, such as 2030-01-31T12:00:00Z")
    if in_utc <= now():
        raise ValueError("must be in the future")
    return in_utc


def _each_once(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _list(value: object) -> object:
    """Return the list that is stored as JSON."""
    return msgspec.json.decode(value) if isinstance(value, str) else value


_Pattern = Annotated[
    str,
    Field(max_length=PATTERN_CHARACTERS, json_schema_extra={"pattern": PATTERN}),
    AfterValidator(check_pattern),
    _Storable,
]


class AccessTokenCreate(BaseModel):
    """An access token to make. Without an end it is good until it is deleted; without ``models`` it may call all of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "laptop", "expires_in_days": 90, "models": ["openai/gpt-4o-mini", "anthropic/*"]}]
        }
    )

    name: Annotated[str, Field(min_length=1, max_length=200), _Storable]
    expires_at: Annotated[datetime, BeforeValidator(_moment), Field(description="In the future.")] | None = None
    expires_in_days: Annotated[int, Field(strict=True, ge=1, le=MOST_DAYS)] | None = None
    models: (
        Annotated[
            list[_Pattern],
            Field(min_length=1, max_length=MOST_MODELS, description="provider/model; * stands for any characters."),
            AfterValidator(_each_once),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.expires_at is not None and self.expires_in_days is not None:
            raise ValueError("expires_at and expires_in_days do not go together")
        return self


class AccessToken(BaseModel):
    """An access token, without itself. ``hint`` is how it ends; ``last_used_at`` may be a minute behind."""

    id: int
    name: str
    hint: str
    models: Annotated[list[str] | None, BeforeValidator(_list)]
    expires_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime


class AccessTokenCreated(AccessToken):
    """A new access token. ``token`` is shown once."""

    token: str


_WITH_KEYS: list[JsonValue] = [name for name, provider in PROVIDERS.items() if provider.needs_key]


class ProviderKeyCreate(BaseModel):
    """A provider's key to store. ``base_url`` is the address of an OpenAI-compatible server, or of a proxy of the provider."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model_provider": "openai", "api_key_value": "sk-my-key", "description": "my key"}]
        }
    )

    model_provider: Annotated[str, Field(max_length=64, json_schema_extra={"enum": _WITH_KEYS}), _Storable]
    api_key_value: Annotated[
        str,
        Field(max_length=4096, json_schema_extra={"pattern": r"^\s*[ -~]*\s*$"}, description="Printable ASCII."),
        _Storable,
    ]
    description: Annotated[str, Field(max_length=2000), _Storable] | None = None
    base_url: Annotated[str, Field(max_length=2000), _Storable] | None = None


class ProviderKeyUpdate(BaseModel):
    """What can change of a stored key."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"description": "the team's key"}]})

    description: Annotated[str, Field(max_length=2000), _Storable] | None = None


class ProviderKey(BaseModel):
    """A stored key, without its value."""

    id: int
    user_id: int
    model_provider: str
    description: str | None
    base_url: str | None = None
    created_at: datetime
    updated_at: datetime
