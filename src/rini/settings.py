"""All settings, read once from the environment and from ``.env`` in the working directory.

The table in docs/settings.md is made from this class; a test holds the two together.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class SettingsError(ValueError):
    """A setting is missing or wrong. The text is one sentence for each, without the secret's value."""


class ContextWindow(NamedTuple):
    """How many tokens a provider's model reads at once. A ``*`` at the end of ``model`` stands for any ending."""

    provider: str
    model: str
    tokens: int


_WINDOW_PROVIDERS = ("openai", "anthropic", "google", "openai_compatible")
_LEAST_WINDOW = 256
_LARGEST_WINDOW = 100_000_000


class Settings(BaseSettings):
    """The settings. Names in the environment are the aliases."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, populate_by_name=True, case_sensitive=True, env_ignore_empty=True
    )

    env: Literal["development", "production"] = Field(
        "development",
        alias="RINI_ENV",
        description="`production` refuses to start without secrets given in the environment.",
    )
    host: str = Field("127.0.0.1", alias="RINI_HOST", description="Address to listen on; `0.0.0.0` is every one.")
    port: int = Field(8000, alias="RINI_PORT", ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, alias="RINI_WORKERS", ge=1, le=256, description="Number of server processes.")
    data_dir: Path = Field(
        Path("data"),
        alias="RINI_DATA_DIR",
        description="Folder for the database, generated secrets, and what runs. Made with mode 0700.",
    )
    database_url: str = Field(
        "",
        alias="RINI_DATABASE_URL",
        description="`sqlite:///path` or `postgresql://user:password@host/name`. Empty: `rini.db` in the data folder.",
    )

    api_master_key: SecretStr | None = Field(
        None,
        alias="RINI_API_MASTER_KEY",
        description="32 bytes, base64 (url-safe or not): encrypts the stored provider keys. `rini keygen` makes one.",
    )
    api_master_keys_old: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        alias="RINI_API_MASTER_KEYS_OLD",
        description="Former master keys, separated by commas: they still open keys until `rini keys rotate` has run.",
    )
    jwt_secret_key: SecretStr | None = Field(
        None, alias="JWT_SECRET_KEY", description="Signs access tokens; at least 32 bytes. `rini keygen` makes one."
    )
    jwt_algorithm: Literal["HS256", "HS384", "HS512"] = Field(
        "HS256", alias="JWT_ALGORITHM", description="HS256, HS384 or HS512."
    )
    jwt_access_token_expire_minutes: int = Field(
        1440,
        alias="JWT_ACCESS_TOKEN_EXPIRE_MINUTES",
        ge=1,
        description="How long an access token is valid, in minutes.",
    )

    signup: Literal["open", "closed"] = Field(
        "open", alias="RINI_SIGNUP", description="`closed`: only `rini user create` makes users."
    )
    signup_limit: int = Field(
        20,
        alias="RINI_SIGNUP_LIMIT",
        ge=0,
        description="Users that one address may make in an hour, over all processes; 0 is no limit.",
    )
    allowed_private_hosts: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(),
        alias="RINI_ALLOWED_PRIVATE_HOSTS",
        description="Hosts, `host:port` or networks (10.0.0.0/8), separated by commas, that users' `base_url` may reach although private.",
    )

    openai_base_url: str = Field(
        "https://api.openai.com/v1", alias="RINI_OPENAI_BASE_URL", description="OpenAI's address, with `/v1`."
    )
    anthropic_base_url: str = Field(
        "https://api.anthropic.com",
        alias="RINI_ANTHROPIC_BASE_URL",
        description="Anthropic's address, without a version.",
    )
    google_base_url: str = Field(
        "https://generativelanguage.googleapis.com",
        alias="RINI_GOOGLE_BASE_URL",
        description="Gemini's address, without a version.",
    )
    connect_timeout: float = Field(
        10.0, alias="RINI_CONNECT_TIMEOUT", gt=0, description="Seconds to connect to a provider."
    )
    first_byte_timeout: float = Field(
        120.0, alias="RINI_FIRST_BYTE_TIMEOUT", gt=0, description="Seconds until a provider begins to answer."
    )
    between_bytes_timeout: float = Field(
        120.0,
        alias="RINI_BETWEEN_BYTES_TIMEOUT",
        gt=0,
        description="Seconds that a provider may be silent in an answer.",
    )

    local_model: Literal["on_demand", "preload", "off"] = Field(
        "on_demand",
        alias="RINI_LOCAL_MODEL",
        description="When the model in the box is loaded: at its first use, when the server starts, or never (then there is no embedding model either).",
    )
    local_model_path: Path | None = Field(
        None, alias="RINI_LOCAL_MODEL_PATH", description="A .gguf file to run instead of the model in the box."
    )
    provider_retries: int = Field(
        2,
        alias="RINI_PROVIDER_RETRIES",
        ge=0,
        le=10,
        description="How often a call is repeated that a provider did not begin to answer: unreachable, overloaded, rate limited for seconds.",
    )
    slow_call_seconds: float = Field(
        30.0, alias="RINI_SLOW_CALL_SECONDS", gt=0, description="A call that takes longer is logged as `slow_call`."
    )
    context_windows: Annotated[tuple[ContextWindow, ...], NoDecode] = Field(
        (),
        alias="RINI_CONTEXT_WINDOWS",
        description="How many tokens models read at once whose names do not tell: `openai_compatible/llama-3.3-70b=32768`, separated by commas; a `*` at the end of a name stands for any ending. See docs/context.md.",
    )
    prices_file: Path | None = Field(None, alias="RINI_PRICES_FILE", description="Your own prices: see docs/prices.md.")

    files_url: str = Field(
        "",
        alias="RINI_FILES_URL",
        description="Where users' files are kept: `s3://bucket/prefix` (credentials in the `AWS_…` variables). Empty: `files` in the data folder.",
    )
    memory_tokens: int = Field(
        2000,
        alias="RINI_MEMORY_TOKENS",
        ge=0,
        le=1_000_000,
        description="The most tokens of memory that go to the model with a question.",
    )
    mcp_servers_file: Path | None = Field(
        None,
        alias="RINI_MCP_SERVERS_FILE",
        description="MCP servers that all users may use, stdio ones among them: see docs/mcp.md.",
    )
    otlp_endpoint: str = Field(
        "",
        alias="RINI_OTLP_ENDPOINT",
        description="Where OpenTelemetry traces go (OTLP over HTTP, `http://host:4318`). Empty: there are none.",
    )

    max_body_bytes: int = Field(
        20 * 1024 * 1024, alias="RINI_MAX_BODY_BYTES", ge=1024, description="Largest request body, in bytes."
    )
    max_import_bytes: int = Field(
        256 * 1024 * 1024,
        alias="RINI_MAX_IMPORT_BYTES",
        ge=1024,
        description="Largest file that POST /sessions/import takes, in bytes.",
    )
    queue_seconds: float = Field(
        300.0,
        alias="RINI_QUEUE_SECONDS",
        gt=0,
        description="How long a question waits for another one that is being answered at the same branch's tip.",
    )
    streams_kept_hours: float = Field(
        24.0,
        alias="RINI_STREAMS_KEPT_HOURS",
        ge=0,
        description="How long the events of a streamed answer can be followed again from the middle, in hours.",
    )
    shutdown_grace_seconds: float = Field(
        30.0, alias="RINI_SHUTDOWN_GRACE_SECONDS", ge=0, description="Time that running answers get after SIGTERM."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", alias="RINI_LOG_FORMAT", description="`auto`: console on a terminal, else JSON."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", alias="RINI_LOG_LEVEL", description="The least severe events to log."
    )

    @field_validator("api_master_keys_old", "allowed_private_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [item.strip() for item in value.split(",") if item.strip()]
        return value

    @field_validator("context_windows", mode="before")
    @classmethod
    def _windows(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        items = [item.strip() for item in value.split(",") if item.strip()]
        return [_window(item, number) for number, item in enumerate(items, 1)]

    @field_validator("openai_base_url", "anthropic_base_url", "google_base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        if value and not value.startswith(("sqlite:///", "postgresql://", "postgres://", "postgresql+psycopg://")):
            raise ValueError("must start with sqlite:/// or postgresql://")
        if value.startswith("sqlite:") and value.removeprefix("sqlite:///") in ("", ":memory:"):
            raise ValueError("must name a file: several connections share the database")
        return value

    def prepare_data_dir(self) -> None:
        """Make the data folder where there is none. Raises SettingsError when it cannot be written."""
        for folder in (self.data_dir, self.run_dir):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise SettingsError(f"RINI_DATA_DIR: {folder} cannot be made: {error.strerror}.") from None
            if not os.access(folder, os.W_OK | os.X_OK):
                raise SettingsError(f"RINI_DATA_DIR: {folder} cannot be written.")

    @cached_property
    def database(self) -> str:
        """The database's URL in SQLAlchemy's form."""
        if not self.database_url:
            return f"sqlite:///{self.data_dir / 'rini.db'}"
        _, _, rest = self.database_url.partition("://")
        return self.database_url if self.database_url.startswith("sqlite") else f"postgresql+psycopg://{rest}"

    @property
    def run_dir(self) -> Path:
        """Where running processes keep their locks, journals and sockets."""
        return self.data_dir / "run"


def load_settings(**given: object) -> Settings:
    """Read the settings; ``given``, by their names in the environment, go before it.

    Raises SettingsError with a sentence for each that is wrong, never with its value.
    """
    try:
        return Settings(**given)  # pyright: ignore[reportArgumentType]  # that is what is checked here
    except ValidationError as error:
        raise SettingsError(" ".join(_sentences(error))) from None
    except UnicodeDecodeError:
        raise SettingsError(".env is not UTF-8.") from None


def _window(item: str, number: int) -> ContextWindow:
    """Return a model's context as it is written in RINI_CONTEXT_WINDOWS."""
    name, _, written = item.rpartition("=")
    provider, _, model = name.strip().partition("/")
    if not model:
        raise ValueError(f"entry {number} must be provider/model=tokens, such as openai_compatible/llama-3.3-70b=32768")
    if provider not in _WINDOW_PROVIDERS:
        raise ValueError(f"entry {number} must begin with one of {', '.join(_WINDOW_PROVIDERS)}, and a slash")
    if "*" in model[:-1]:
        raise ValueError(f"entry {number} may have a * at the end of the model's name only")
    tokens = int(written) if written.strip().isdecimal() and len(written) < 20 else 0
    if not _LEAST_WINDOW <= tokens <= _LARGEST_WINDOW:
        raise ValueError(f"entry {number} must end with a number of tokens from {_LEAST_WINDOW} to {_LARGEST_WINDOW}")
    return ContextWindow(provider, model, tokens)


def _sentences(error: ValidationError) -> list[str]:
    return [
        f"{item['loc'][0] if item['loc'] else 'settings'}: {item['msg'].removeprefix('Value error, ')}."
        for item in error.errors(include_input=False, include_url=False)
    ]
