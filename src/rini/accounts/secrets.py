"""The server's own secrets: given by the operator, or made once in development."""

import secrets
from pathlib import Path
from typing import Any, cast

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
    given_master = settings.api_master_key.get_secret_value() if settings.api_master_key else None
    given_jwt = settings.jwt_secret_key.get_secret_value() if settings.jwt_secret_key else None
    _refuse(_mistakes(settings, given_master, given_jwt))
    file = settings.data_dir / SECRETS_FILE
    stored, generated = _stored(file, master=given_master is None, jwt=given_jwt is None)
    current = [given_master] if given_master is not None else stored["master_keys"]
    old = [key.get_secret_value() for key in settings.api_master_keys_old]
    return Secrets(
        keyring=Keyring(map(decode_master_key, [*current, *old]), file if given_master is None else None),
        jwt_key=(given_jwt if given_jwt is not None else str(stored["jwt_secret_key"])).encode(),
        generated=generated,
    )


def _mistakes(settings: Settings, master: str | None, jwt: str | None) -> list[str]:
    found: list[str] = []
    production = settings.env == "production"
    if master is not None:
        found += _wrong_key("RINI_API_MASTER_KEY", master)
    elif production:
        found.append("RINI_API_MASTER_KEY is missing (32 bytes, base64)")
    for old in settings.api_master_keys_old:
        found += _wrong_key("RINI_API_MASTER_KEYS_OLD", old.get_secret_value())
    if production and jwt is None:
        found.append(f"JWT_SECRET_KEY is missing (at least {JWT_KEY_BYTES} bytes)")
    elif production and jwt is not None and len(jwt.encode()) < JWT_KEY_BYTES:
        found.append(f"JWT_SECRET_KEY has {len(jwt.encode())} bytes instead of at least {JWT_KEY_BYTES}")
    return found


def _wrong_key(name: str, text: str) -> list[str]:
    try:
        decode_master_key(text)
    except ValueError as error:
        return [f"{name} {error}"]
    return []


def _refuse(mistakes: list[str]) -> None:
    if mistakes:
        raise SettingsError(f"{'; '.join(mistakes)}. `rini keygen` makes good ones.")


def _stored(file: Path, *, master: bool, jwt: bool) -> tuple[dict[str, Any], Path | None]:
    """Return what the file holds, with what is asked for, and the file's path when some of that was made just now."""
    if not (master or jwt):
        return {}, None
    made = False

    def complete(content: dict[str, Any]) -> None:
        nonlocal made
        if master and "master_keys" not in content:
            content["master_keys"] = [make_master_key()]
            made = True
        if jwt and "jwt_secret_key" not in content:
            content["jwt_secret_key"] = secrets.token_urlsafe(48)
            made = True

    try:
        stored = update_secrets(file, complete)
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}.") from None
    except ValueError:
        raise SettingsError(f"{file} does not hold what Rini wrote: restore it, or what it sealed is lost.") from None
    if master:
        keys = stored["master_keys"]
        if not keys or not isinstance(keys, list):
            raise SettingsError(f"{file}: master_keys is not a list of keys.")
        _refuse([wrong for key in cast("list[Any]", keys) for wrong in _wrong_key(f"{file}: a master key", str(key))])
    return stored, file if made else None
