"""A rotation of the master key takes the headers of MCP connections along."""

import json
from pathlib import Path
from typing import Any

import pytest

from rini.accounts import users
from rini.accounts.keyring import Keyring, decode_master_key, make_master_key
from rini.cli.keys import rotate
from rini.db import Database
from rini.db.migrate import migrate
from rini.errors import KeyUnreadableError
from rini.settings import Settings, load_settings
from rini.tools import connections

VALUES = {
    "name": "x",
    "url": "https://example.com/mcp",
    "description": None,
    "transport": "streamable_http",
    "enabled": True,
    "allowed_tools": None,
    "timeout_seconds": 30.0,
}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return load_settings(RINI_DATA_DIR=str(tmp_path))


def test_headers_are_sealed_anew(settings: Settings, capsys: Any):
    old, lost = make_master_key(), make_master_key()
    file = settings.data_dir / "secrets.json"
    file.write_text(json.dumps({"master_keys": [old], "jwt_secret_key": "x" * 40}))
    file.chmod(0o600)
    migrate(settings.database)
    database = Database(settings.database)

    def store(connection: Any) -> None:
        user = users.create(connection)
        for master, headers in ((old, {"A": "one"}), (old, {}), (lost, {"A": "gone"}), (old, {"A": "two"})):
            connections.create(connection, Keyring([decode_master_key(master)]), user, VALUES, headers)

    database.write_sync(store)
    assert rotate(settings) == 1
    out, err = capsys.readouterr()
    assert "So were the headers of 2 MCP connections." in out
    assert "These MCP connections' headers do not open, and stay as they are: 3." in err

    new = json.loads(file.read_text())["master_keys"][0]
    keyring = Keyring([decode_master_key(new)])
    rows, _ = database.read_sync(connections.page, 1, 0, 10)
    assert [connections.open_headers(keyring, rows[index]) for index in (0, 1, 3)] == [{"A": "one"}, {}, {"A": "two"}]
    with pytest.raises(KeyUnreadableError):
        connections.open_headers(keyring, rows[2])
    assert connections.open_headers(Keyring([decode_master_key(lost)]), rows[2]) == {"A": "gone"}
    database.close()
