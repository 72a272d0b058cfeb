"""The server's own secrets: given by the operator, or made once in development."""

import secrets
from pathlib import Path
from typing import Any

import msgspec

from rini.accounts.keyring import Keyring, decode_master_key, make_master_key
from rini.kit.secrets_file import update_secrets
from rini.settings import Settings, SettingsError

SECRETS_FILE = "secrets.json"
JWT_KEY_BYTES = 32


class Secrets(msgspec.Struct, frozen=True):
    """What the server signs and seals with. ``generated`` names the file when some of it was made just now."""

    keyring: Keyring
    jwt_key: bytes
    generated: Path | None


def load_secrets(settings: Settings) -> Secrets:
    """Return the server's secrets. Raises SettingsError that says which is missing or malformed and how to make one.

    In development what the settings lack is made once and kept in the data folder; in production that is refused.
    """
    file = settings.data_dir / SECRETS_FILE
    given_master = settings.api_master_key.get_secret_value() if settings.api_master_key else None
    given_jwt = settings.jwt_secret_key.get_secret_value() if settings.jwt_secret_key else None
    _refuse_what_production_lacks(settings, given_master, given_jwt)
    stored: dict[str, Any] = {}
    generated = None
    if given_master is None or given_jwt is None:
        missing_before = not file.exists()

        def complete(content: dict[str, Any]) -> None:
            content.setdefault("master_keys", [make_master_key()])
            content.setdefault("jwt_secret_key", secrets.token_urlsafe(48))

        stored = update_secrets(file, complete)
        generated = file if missing_before else None
    old = [_master_key("RINI_API_MASTER_KEYS_OLD", key.get_secret_value()) for key in settings.api_master_keys_old]
    if given_master is not None:
        current = [_master_key("RINI_API_MASTER_KEY", given_master)]
    else:
        current = [_master_key(str(file), key) for key in stored["master_keys"]]
    jwt_text = given_jwt if given_jwt is not None else str(stored["jwt_secret_key"])
    return Secrets(
        keyring=Keyring([*current, *old], file if given_master is None else None),
        jwt_key=jwt_text.encode(),
        generated=generated,
    )


def _refuse_what_production_lacks(settings: Settings, master: str | None, jwt: str | None) -> None:
    if settings.env != "production":
        return
    wrong: list[str] = []
    if master is None:
        wrong.append("RINI_API_MASTER_KEY is missing (32 bytes, base64)")
    if jwt is None:
        wrong.append("JWT_SECRET_KEY is missing (at least 32 bytes)")
    elif len(jwt.encode()) < JWT_KEY_BYTES:
        wrong.append(f"JWT_SECRET_KEY has {len(jwt.encode())} bytes instead of at least {JWT_KEY_BYTES}")
    if wrong:
        raise SettingsError("; ".join(wrong) + ". `rini keygen` makes both.")


def _master_key(name: str, text: str) -> bytes:
    try:
        return decode_master_key(text)
    except ValueError as error:
        raise SettingsError(f"{name} {error}: it must be the base64 of 32 bytes. `rini keygen` makes one.") from None
