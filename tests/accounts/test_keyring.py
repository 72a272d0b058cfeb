"""Master keys: what they seal, where it opens, and how a rotation in another process reaches this one."""

import base64
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rini.accounts import provider_keys, users
from rini.accounts.keyring import Keyring, decode_master_key, key_id_of, make_master_key
from rini.db import Database
from rini.db.migrate import migrate
from rini.errors import KeyUnreadableError
from rini.kit.secrets_file import update_secrets

RAW = bytes(range(224, 256))


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("pad", ["=", ""])
def test_a_master_key_is_base64_of_either_kind(encode: Callable[[bytes], bytes], pad: str):
    text = encode(RAW).decode().rstrip("=") + pad
    assert decode_master_key(f" {text}\n") == RAW


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "*" * 44,
        "é" * 44,
        "****" + base64.b64encode(RAW).decode(),
        base64.b64encode(RAW[:31]).decode(),
        RAW.hex(),
    ],
)
def test_anything_else_is_no_master_key(text: str):
    with pytest.raises(ValueError, match=r"^is (not base64|the base64 of \d+ bytes instead of 32)$"):
        decode_master_key(text)


def test_a_new_master_key_is_one():
    assert decode_master_key(make_master_key()) != decode_master_key(make_master_key())


def test_what_is_sealed_opens_only_in_its_place():
    keyring = Keyring([RAW])
    sealed = keyring.seal("sk-secret", "row 1")
    assert b"sk-secret" not in sealed
    assert keyring.open(sealed, "row 1") == "sk-secret"
    with pytest.raises(KeyUnreadableError, match="does not belong"):
        keyring.open(sealed, "row 2")
    with pytest.raises(KeyUnreadableError, match=keyring.current_id):
        Keyring([os.urandom(32)]).open(sealed, "row 1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets.json"
    update_secrets(path, lambda content: content.update(master_keys=[base64.b64encode(RAW).decode()]))
    return path


def add(file: Path) -> str:
    """Put a new master key before the others, as a rotation does, and return its id."""
    made = make_master_key()
    update_secrets(file, lambda content: content.update(master_keys=[made, *content["master_keys"]]))
    return Keyring([decode_master_key(made)]).current_id


def test_a_new_first_key_in_the_file_seals_from_then_on(file: Path):
    keyring = Keyring([RAW], file)
    before = keyring.seal("old", "here")
    first, second = add(file), None
    assert key_id_of(keyring.seal("new", "here")) == first == keyring.current_id
    second = add(file)
    assert key_id_of(keyring.seal("newer", "here")) == second
    assert keyring.open(before, "here") == "old"


def test_what_another_process_sealed_under_a_new_key_opens(file: Path):
    keyring = Keyring([RAW], file)
    keyring.seal("", "")
    add(file)
    other = Keyring(map(decode_master_key, json.loads(file.read_text())["master_keys"]))
    assert keyring.open(other.seal("new", "here"), "here") == "new"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"master_keys": 1}', '{"master_keys": ["x"]}', "{}"])
def test_a_file_that_breaks_later_changes_nothing(file: Path, content: str):
    keyring = Keyring([RAW], file)
    sealed = keyring.seal("here", "here")
    file.write_text(content)
    assert keyring.open(keyring.seal("there", "there"), "there") == "there"
    assert keyring.open(sealed, "here") == "here"
    file.unlink()
    assert key_id_of(keyring.seal("", "")) == key_id_of(sealed)


def test_a_rotation_waits_for_keys_that_are_being_stored_on_postgres(new_postgres_url: Callable[[], str], file: Path):
    url = new_postgres_url().replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    keyring = Keyring([RAW], file)
    database = Database(url)
    with database._write_engine.connect() as storing, storing.begin():
        # It looked for the newest master key, and is not committed when the rotation begins.
        row = provider_keys.store(storing, keyring, users.create(storing), "openai", "sk-late", None, None)
        newest = add(file)
        begun = threading.Thread(target=database.write_sync, args=(provider_keys.begin_resealing,))
        begun.start()
        begun.join(0.3)
        assert begun.is_alive()
    begun.join(10)
    assert not begun.is_alive()
    step = database.write_sync(provider_keys.reseal_some, keyring, 0)
    assert (step.last_id, step.changed, step.unreadable) == (row.id, 1, ())
    assert database.write_sync(provider_keys.reseal_some, keyring, 0) is None
    rotated = database.read_sync(lambda connection: connection.execute(provider_keys.provider_keys.select()).one())
    assert rotated.master_key_id == newest
    database.close()
