"""A process that dies, or is to end, in the middle of an import: nothing half is seen, and nothing is left lying."""

import base64
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from rini.errors import FilesUnavailableError, StorageFullError
from rini.transfer.spool import UPLOAD, abandoned
from rini.transfer.storing import Storing
from tests.support.server import Client, Server
from tests.support.things import picture
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


def limited(house: House, pages: int) -> None:
    """Let the database grow by so many pages."""

    def unit(connection: Connection) -> None:
        count = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={count + pages}")

    house.database.write_sync(unit)


@pytest.mark.parametrize("before", [0, 1, 2])
def test_on_a_full_disk_whole_sessions_stay_and_nothing_half(own_house: House, before: int):
    file = rini(SESSION, message(1), end(1))
    picture_line = {"type": "file", "id": 1, "size": len(picture())}
    data = {"type": "data", "base64": base64.b64encode(picture()).decode()}
    large = rini(
        SESSION, picture_line, data, *(message(n, n - 1 or None, content="abc " * 400, file=1) for n in range(1, 1500))
    )
    limited(own_house, 300)
    with pytest.raises(StorageFullError) as raised:
        own_house.take(file + file.partition(b"\n")[2] * (before - 1) + large.partition(b"\n")[2] if before else large)
    error = raised.value
    told = ("Nothing was stored.", "One session was stored before.", "2 sessions were stored before.")[before]
    assert error.detail == f"The import broke off: the disk is full. {told}"
    assert [row.id for row in own_house.rows("SELECT id FROM sessions ORDER BY created_at, id")] == sorted(
        error.fields["session_ids"]
    )
    assert own_house.count("messages") == own_house.count("message_words") == before
    assert (own_house.count("users"), own_house.count("stored_files")) == (1, 0)
    assert not list(own_house.folder.iterdir())
    limited(own_house, 10_000)
    assert own_house.take(file).sessions[0].messages == 1


def test_where_files_cannot_be_kept_nothing_is_left(own_house: House, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise FilesUnavailableError("full")

    monkeypatch.setattr(own_house.files._blobs, "put", fail)
    file = {"type": "file", "id": 1, "size": len(picture())}
    data = {"type": "data", "base64": base64.b64encode(picture()).decode()}
    whole = (
        rini(SESSION, message(1), end(1)) + rini(SESSION, file, data, message(1, file=1), end(1)).partition(b"\n")[2]
    )
    with pytest.raises(
        FilesUnavailableError, match=r"kept does not answer, or is full. One session was stored before.$"
    ):
        own_house.take(whole)
    assert own_house.count("sessions") == own_house.count("messages") == 1
    assert not list(own_house.folder.iterdir())


def test_on_a_disk_that_takes_no_upload_nothing_is_left(own_house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rini.transfer.spool._opened", lambda _path: Path("/dev/full").open("r+b", buffering=0))  # noqa: SIM115  # the upload closes it
    with pytest.raises(StorageFullError, match="The disk for uploads is full; nothing was imported"):
        own_house.take(long_session(10))
    assert own_house.count("sessions") == 0


def test_a_session_that_is_stored_is_named_though_it_cannot_be_searched_yet(
    own_house: House, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise StorageFullError("full")

    with monkeypatch.context() as patch:
        patch.setattr("rini.transfer.storing.index_messages", fail)
        with pytest.raises(StorageFullError) as raised:
            own_house.take(long_session(600))
    (row,) = own_house.rows("SELECT id FROM sessions")
    assert (raised.value.fields["session_ids"], own_house.count("messages")) == ([row.id], 600)
    own_house.imports.sweep()
    assert own_house.count("message_words") == 600


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
