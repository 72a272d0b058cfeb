"""What the endpoints of users and keys take and give."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

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
