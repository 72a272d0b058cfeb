"""A process that dies, or is to end, in the middle of an import: nothing half is seen, and nothing is left lying."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from rini.transfer.spool import UPLOAD, abandoned
from rini.transfer.storing import Storing
from tests.support.server import Client, Server
from tests.transfer.conftest import House
from tests.transfer.files import SESSION, end, long_session, message, rini


def importing(user: Client, file: bytes) -> threading.Thread:
    def send() -> None:
        with contextlib.suppress(OSError, HTTPException):
            user.request("POST", "/sessions/import", raw=file)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def stored(path: Path, table: str) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_kill_in_the_middle_leaves_no_half_session(new_server: Callable[..., Server], tmp_path: Path):
    server = new_server()
    user = server.user()
    whole = rini(SESSION, message(1), end(1))
    thread = importing(user, whole + long_session(8_000).partition(b"\n")[2])
    database, folder = tmp_path / "data" / "rini.db", tmp_path / "data" / "imports"
    wait_for(lambda: stored(database, "messages") > 500)
    assert user.get("/sessions/").headers["x-total-count"] == "1"
    server.kill()
    thread.join()
    assert len(list(folder.iterdir())) == 2
    again = new_server(data_dir=tmp_path / "data")
    user.url = again.url
    assert [session["alias"] for session in user.get("/sessions/").json] == ["x"]
    assert stored(database, "messages") == stored(database, "sessions") == stored(database, "users") == 1
    assert not list(folder.iterdir())
    assert "import_dropped" in again.logged()


def test_a_server_that_is_to_end_does_not_wait_for_an_import(new_server: Callable[..., Server], tmp_path: Path):
    server = new_server(RINI_SHUTDOWN_GRACE_SECONDS="0")
    thread = importing(server.user(), long_session(8_000))
    database, folder = tmp_path / "data" / "rini.db", tmp_path / "data" / "imports"
    wait_for(lambda: stored(database, "messages") > 500)
    server.stop()
    thread.join()
    assert stored(database, "messages") == stored(database, "sessions") == 0
    assert not list(folder.iterdir())
    assert "Traceback" not in server.logged()


def test_a_session_whose_index_was_not_made_gets_it_at_the_next_start(own_house: House, monkeypatch):
    def stop(*_: object) -> None:
        raise RuntimeError("the process dies here")

    monkeypatch.setattr("rini.transfer.storing.index_messages", stop)
    with contextlib.suppress(RuntimeError):
        own_house.take(long_session(600))
    assert own_house.count("messages") == 600
    assert own_house.count("message_words") == 0
    assert len(list(own_house.folder.iterdir())) == 2
    own_house.imports.sweep()
    assert own_house.count("messages") == own_house.count("message_words") == 600
    assert not list(own_house.folder.iterdir())


def test_what_a_living_process_holds_is_not_swept(own_house: House):
    seen: list[int] = []
    real = Storing.add_message

    def sweeping(self: Storing, line: object) -> None:
        real(self, line)
        if self.count == 600:
            own_house.imports.sweep()
            seen.append(len(list(own_house.folder.glob(f"*{UPLOAD}"))))
            assert not list(abandoned(own_house.folder))

    Storing.add_message = sweeping
    try:
        assert own_house.take(long_session(700)).sessions[0].messages == 700
    finally:
        Storing.add_message = real
    assert seen == [1]
    assert own_house.count("messages") == 700
