"""`rini keys rotate`: a new master key, while servers run and whatever breaks off."""

import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rini.accounts import provider_keys, users
from rini.accounts.keyring import Keyring, decode_master_key, make_master_key
from rini.cli import keys
from rini.db import Database
from tests.cli.conftest import Run
from tests.support.server import Server


def master_keys(data_dir: Path) -> list[str]:
    return json.loads((data_dir / "secrets.json").read_text())["master_keys"]


def key_id(master_key: str) -> str:
    return Keyring([decode_master_key(master_key)]).current_id


def sealed_under(data_dir: Path) -> dict[str, int]:
    """Return how many stored keys there are under each master key."""
    with closing(sqlite3.connect(data_dir / "rini.db")) as connection, connection:
        rows = connection.execute("SELECT master_key_id, hex(substr(sealed, 1, 8)) FROM provider_keys").fetchall()
    connection.close()
    assert all(told == found.lower() for told, found in rows)
    return {told: [row[0] for row in rows].count(told) for told, _ in rows}


@pytest.fixture
def store(rini: Run, tmp_path: Path) -> Callable[..., None]:
    """Return a function that stores some users' keys under a master key."""

    def make(count: int, master_key: str) -> None:
        rini("db", "upgrade")
        keyring = Keyring([decode_master_key(master_key)])

        def unit(connection: Any) -> None:
            for number in range(count):
                user = users.create(connection)
                provider_keys.store(connection, keyring, user, "openai", f"sk-{number}", None, None)

        database = Database(f"sqlite:///{tmp_path}/data/rini.db")
        database.write_sync(unit)
        database.close()

    return make


def opened(data_dir: Path, *masters: str) -> list[str]:
    """Return what is stored, opened with these master keys alone."""
    keyring = Keyring(map(decode_master_key, masters))
    database = Database(f"sqlite:///{data_dir}/rini.db")

    def unit(connection: Any) -> list[str]:
        rows = connection.execute(provider_keys.provider_keys.select().order_by("id")).all()
        return [
            provider_keys.open_key(connection, keyring, row.user_id, row.model_provider, row.id).value for row in rows
        ]

    try:
        return database.read_sync(unit)
    finally:
        database.close()


def test_a_rotation_under_a_running_server(new_server: Callable[..., Server], rini: Run):
    server = new_server()
    here = {"RINI_DATA_DIR": str(server.data_dir)}
    before = [server.user() for _ in range(3)]
    assert before[0].ask().status == 200
    meanwhile = []
    done = threading.Event()

    def go_on() -> None:
        while not done.is_set():
            user = server.user()
            meanwhile.append((user, user.ask().status))

    thread = threading.Thread(target=go_on)
    thread.start()
    first = rini("keys", "rotate", **here)
    second = rini("keys", "rotate", **here)
    done.set()
    thread.join()
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    after = server.user()
    assert {status for _, status in meanwhile} == {200}
    assert {user.ask().status for user in (*before, after)} == {200}

    newest, *former = master_keys(server.data_dir)
    assert len(former) == 2
    assert sealed_under(server.data_dir) == {key_id(newest): len(before) + len(meanwhile) + 1}

    assert server.stop() == 0
    file = server.data_dir / "secrets.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"master_keys": [newest]}))
    again = new_server(data_dir=server.data_dir)
    for user in (*before, *(user for user, _ in meanwhile), after):
        user.url = again.url
        assert user.ask().status == 200


def test_a_rotation_with_master_keys_from_the_environment(rini: Run, tmp_path: Path, store: Callable[..., None]):
    old, new = make_master_key(), make_master_key()
    store(3, old)
    without = rini("keys", "rotate", RINI_API_MASTER_KEY=new)
    assert without.returncode == 1
    assert without.stderr.splitlines()[-1].startswith("rini: These keys do not open, and stay as they are: 1, 2, 3.")
    assert opened(tmp_path / "data", old) == ["sk-0", "sk-1", "sk-2"]

    done = rini("keys", "rotate", RINI_API_MASTER_KEY=new, RINI_API_MASTER_KEYS_OLD=f"{make_master_key()}, {old}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"3 keys were encrypted anew, under master key {key_id(new)}.\n"
    assert opened(tmp_path / "data", new) == ["sk-0", "sk-1", "sk-2"]
    assert "master_keys" not in json.loads((tmp_path / "data" / "secrets.json").read_text())

    nothing = rini("keys", "rotate", RINI_API_MASTER_KEY=new)
    assert (nothing.returncode, nothing.stdout[:6]) == (0, "0 keys")


def test_a_rotation_that_breaks_off_is_run_again(
    rini: Run, tmp_path: Path, store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    rini("user", "create")
    (first,) = master_keys(tmp_path / "data")
    store(250, first)
    real, steps = provider_keys.reseal_some, []

    def breaks_off(connection: Any, *arguments: Any) -> Any:
        steps.append(real(connection, *arguments))
        if len(steps) == 2:
            raise OSError("broken off")
        return steps[-1]

    with monkeypatch.context() as patched:
        patched.setattr(keys.provider_keys, "reseal_some", breaks_off)
        with pytest.raises(OSError, match="broken off"):
            rini("keys", "rotate")
    second, _ = master_keys(tmp_path / "data")
    assert sealed_under(tmp_path / "data") == {key_id(first): 150, key_id(second): 100}
    assert len(opened(tmp_path / "data", *master_keys(tmp_path / "data"))) == 250

    done = rini("keys", "rotate")
    assert done.returncode == 0
    third, *_ = master_keys(tmp_path / "data")
    assert sealed_under(tmp_path / "data") == {key_id(third): 250}
    assert opened(tmp_path / "data", third) == [f"sk-{number}" for number in range(250)]


def test_one_key_that_does_not_open_does_not_hold_up_the_others(rini: Run, tmp_path: Path, store: Callable[..., None]):
    rini("user", "create")
    (first,) = master_keys(tmp_path / "data")
    lost = make_master_key()
    store(1, lost)
    store(2, first)
    done = rini("keys", "rotate")
    assert done.returncode == 1
    assert "2 keys were encrypted anew" in done.stdout
    assert "stay as they are: 1." in done.stderr
    assert sealed_under(tmp_path / "data") == {key_id(lost): 1, key_id(master_keys(tmp_path / "data")[0]): 2}
