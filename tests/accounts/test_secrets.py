"""The server's secrets: what is given goes first, what is missing is made once."""

import json
from pathlib import Path

import pytest

from rini.accounts.keyring import Keyring, decode_master_key, make_master_key
from rini.accounts.secrets import load_secrets
from rini.settings import Settings, SettingsError


def settings(folder: Path, **given: str) -> Settings:
    return Settings(_env_file=None, RINI_DATA_DIR=str(folder), **given)


def test_in_development_they_are_made_once(tmp_path: Path):
    first = load_secrets(settings(tmp_path))
    again = load_secrets(settings(tmp_path))
    assert first.generated == tmp_path / "secrets.json"
    assert again.generated is None
    assert (first.jwt_key, first.keyring.current_id) == (again.jwt_key, again.keyring.current_id)
    assert len(first.jwt_key) >= 64
    assert first.generated.stat().st_mode & 0o777 == 0o600


def test_only_what_is_missing_is_made(tmp_path: Path):
    master = make_master_key()
    loaded = load_secrets(settings(tmp_path, RINI_API_MASTER_KEY=master))
    assert loaded.keyring.current_id == Keyring([decode_master_key(master)]).current_id
    assert set(json.loads((tmp_path / "secrets.json").read_text())) == {"jwt_secret_key"}
    later = load_secrets(settings(tmp_path, JWT_SECRET_KEY="given"))
    assert (later.jwt_key, later.generated) == (b"given", tmp_path / "secrets.json")
    assert set(json.loads((tmp_path / "secrets.json").read_text())) == {"jwt_secret_key", "master_keys"}


def test_with_all_given_no_file_is_made(tmp_path: Path):
    load_secrets(settings(tmp_path, RINI_API_MASTER_KEY=make_master_key(), JWT_SECRET_KEY="given"))
    assert list(tmp_path.iterdir()) == []


def test_former_master_keys_open_but_do_not_seal(tmp_path: Path):
    new, old = make_master_key(), make_master_key()
    sealed = Keyring([decode_master_key(old)]).seal("sk-1", "here")
    keyring = load_secrets(
        settings(tmp_path, RINI_API_MASTER_KEY=new, RINI_API_MASTER_KEYS_OLD=old, JWT_SECRET_KEY="given")
    ).keyring
    assert keyring.open(sealed, "here") == "sk-1"
    assert keyring.current_id == Keyring([decode_master_key(new)]).current_id


def test_production_takes_nothing_from_the_data_folder(tmp_path: Path):
    load_secrets(settings(tmp_path))
    with pytest.raises(SettingsError, match=r"RINI_API_MASTER_KEY is missing.*JWT_SECRET_KEY is missing"):
        load_secrets(settings(tmp_path, RINI_ENV="production"))
