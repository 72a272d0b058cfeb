"""A message's file over the wire, and what deleting messages, sessions and users takes along."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import Database
from rini.files.store import Files
from rini.sessions.tables import messages as table
from tests.files.pictures import saved
from tests.support.server import Client, Server

PICTURE = saved("PNG")


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    url = server.settings.get("RINI_DATABASE_URL", f"sqlite:///{server.data_dir / 'rini.db'}")
    opened = Database(url.replace("postgresql://", "postgresql+psycopg://"))
    yield opened
    opened.close()


@pytest.fixture
def say(user: Client) -> Callable[..., int]:
    def unit(session: str, parent: int | None = None) -> int:
        body = {"role": "user", "content": "look"} | ({"parent_message_id": parent} if parent else {})
        return user.post(f"/sessions/{session}/messages/", body).json["id"]

    return unit


@pytest.fixture
def folder(server: Server, user: Client) -> Path:
    return server.data_dir / "files" / str(user.get("/users/me").json["id"])


@pytest.fixture
def attach(database: Database, folder: Path) -> Callable[..., str]:
    """Return a function that gives a message a file, as a turn would, and returns its reference."""
    files = Files(database, folder.parent)

    def unit(connection: Connection, message: int, values: dict[str, Any]) -> None:
        connection.execute(table.update().where(table.c.id == message).values(values))

    def attach(
        message: int, name: str | None = "cat.png", kind: str = "image/png", reference: str | None = None
    ) -> str:
        reference = reference or asyncio.run(files.save(int(folder.name), PICTURE, kind))
        values = {"file_reference": reference, "original_filename": name, "mime_type": kind}
        database.write_sync(unit, message, values)
        return reference

    return attach


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*")}


def test_a_message_gives_its_file_to_its_owner_alone(
    server: Server, user: Client, say: Callable[..., int], attach: Callable[..., str]
):
    message = say(user.session())
    attach(message, "고양이.png")
    answer = user.get(f"/messages/{message}/file")
    assert (answer.status, answer.body) == (200, PICTURE)
    assert {
        name: answer.headers[name] for name in answer.headers if name.startswith(("content-", "cache-", "x-content"))
    } == {
        "content-type": "image/png",
        "content-length": str(len(PICTURE)),
        "content-disposition": "inline; filename=\"___.png\"; filename*=UTF-8''%EA%B3%A0%EC%96%91%EC%9D%B4.png",
        "content-security-policy": "sandbox",
        "cache-control": "private",
        "x-content-type-options": "nosniff",
    }
    other = server.user()
    theirs, missing = other.get(f"/messages/{message}/file"), other.get("/messages/999999999/file")
    assert theirs.status == missing.status == 404
    assert theirs.json["detail"].replace(str(message), "999999999") == missing.json["detail"]
    assert Client(server.url).get(f"/messages/{message}/file").status == 401


def test_a_message_without_a_file(user: Client, say: Callable[..., int]):
    message = say(user.session())
    answer = user.get(f"/messages/{message}/file")
    assert (answer.status, answer.json["detail"]) == (404, f"The message {message} has no file.")


def test_a_file_that_is_gone_from_the_storage(
    server: Server, user: Client, say: Callable[..., int], attach: Callable[..., str], folder: Path
):
    message = say(user.session())
    (folder / attach(message)).unlink()
    answer = user.get(f"/messages/{message}/file")
    assert (answer.status, answer.json["code"]) == (404, "not_found")


def test_what_is_no_image_is_not_shown_in_the_page(user: Client, say: Callable[..., int], attach: Callable[..., str]):
    message = say(user.session())
    attach(message, "page.html", "text/html")
    answer = user.get(f"/messages/{message}/file")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="page.html"'


def test_a_message_goes_with_its_file(user: Client, say: Callable[..., int], attach: Callable[..., str], folder: Path):
    session = user.session()
    first, last = say(session), say(session)
    attach(last)
    assert user.delete(f"/messages/{last}").status == 204
    assert names(folder) == set()
    assert user.get(f"/messages/{last}").status == 404
    assert user.get(f"/messages/{last}/file").status == 404
    assert user.get(f"/sessions/{session}").json["head_message_id"] == first
    assert user.delete(f"/messages/{last}").status == 404


def test_a_message_with_others_below_it_needs_their_number(
    user: Client, say: Callable[..., int], attach: Callable[..., str], folder: Path
):
    session = user.session()
    root, left = say(session), say(session)
    below, right = say(session), say(session, root)
    mine, deep = attach(root), attach(below)
    tip = say(session)
    for query in ("", "?count=1", "?count=3", "?count=9223372036854775807"):
        answer = user.delete(f"/messages/{left}{query}")
        assert (answer.status, answer.json["code"], answer.json["count"]) == (409, "confirmation_needed", 2), query
        assert "?count=2" in answer.json["detail"]
    assert user.delete(f"/messages/{left}?count=0").status == 422
    assert user.delete(f"/messages/{tip}?count=2").json["count"] == 1
    assert names(folder) == {mine, deep}
    assert user.delete(f"/messages/{left}?count=2").status == 204
    assert names(folder) == {mine}
    assert [each["id"] for each in user.get(f"/sessions/{session}/messages/").json] == [root, right, tip]
    assert user.get(f"/sessions/{session}").json["head_message_id"] == tip, "the branch was another one"
    assert user.delete(f"/messages/{root}?count=3").status == 204
    assert user.get(f"/sessions/{session}").json["head_message_id"] is None
    assert say(session) > tip


def test_a_file_that_two_messages_name_stays_for_the_other(
    user: Client, say: Callable[..., int], attach: Callable[..., str], folder: Path
):
    session = user.session()
    first, second = say(session), say(user.session())
    reference = attach(first)
    attach(second, reference=reference)
    assert user.delete(f"/sessions/{session}").status == 204
    assert names(folder) == {reference}
    assert user.delete(f"/messages/{second}").status == 204
    assert names(folder) == set()


def test_a_session_goes_with_its_files(user: Client, say: Callable[..., int], attach: Callable[..., str], folder: Path):
    session, other = user.session(), user.session()
    for _ in range(3):
        attach(say(session))
    kept = attach(say(other))
    assert user.delete(f"/sessions/{session}").status == 204
    assert names(folder) == {kept}


def test_a_user_goes_with_all_files(user: Client, say: Callable[..., int], attach: Callable[..., str], folder: Path):
    attach(say(user.session()))
    assert user.delete("/users/me").status == 204
    assert not folder.exists()


def test_another_users_message_is_not_deleted(
    server: Server, user: Client, say: Callable[..., int], attach: Callable[..., str], folder: Path
):
    message = say(user.session())
    reference = attach(message)
    other = server.user()
    for query in ("", "?count=1"):
        assert other.delete(f"/messages/{message}{query}").status == 404
    assert user.get(f"/messages/{message}").status == 200
    assert names(folder) == {reference}


def test_a_conversation_of_ten_thousand_messages_is_deleted(user: Client, say: Callable[..., int], database: Database):
    session = user.session()
    root = say(session)

    def deepen(connection: Connection) -> None:
        row = dict(connection.execute(sa.select(table).where(table.c.id == root)).one()._mapping)
        start = connection.execute(sa.select(sa.func.max(table.c.id))).scalar_one() + 1
        rows = [row | {"id": start + n, "parent_message_id": start + n - 1 if n else root} for n in range(9_999)]
        connection.execute(table.insert(), rows)
        if connection.dialect.name == "postgresql":
            connection.execute(
                sa.text("select setval(pg_get_serial_sequence('messages', 'id'), (select max(id) from messages))")
            )

    database.write_sync(deepen)
    assert user.delete(f"/messages/{root}").json["count"] == 10_000
    assert user.delete(f"/messages/{root}?count=10000").status == 204
    assert user.get(f"/sessions/{session}/messages/").json == []


def test_writers_at_once_lose_no_message_unseen(user: Client, say: Callable[..., int]):
    """Whoever deletes takes exactly as many as the count said, however many come meanwhile."""
    session = user.session()
    root = say(session)
    top = say(session)
    path = f"/sessions/{session}/messages/"
    gone: list[int] = []

    def write(number: int) -> int:
        body = {"role": "user", "content": str(number), "parent_message_id": root if number % 3 else top}
        return user.post(path, body).status

    def delete() -> None:
        until = time.monotonic() + 10
        count = 1
        while time.monotonic() < until:
            answer = user.delete(f"/messages/{top}?count={count}")
            if answer.status == 204:
                gone.append(count)
                return
            assert answer.status == 409, answer.body
            count = answer.json["count"]

    with ThreadPoolExecutor(9) as pool:
        deleting = pool.submit(delete)
        statuses = list(pool.map(write, range(60)))
        deleting.result()
    assert set(statuses) <= {201, 422}
    left = int(user.get(f"{path}?limit=1").headers["x-total-count"])
    assert left == 2 + statuses.count(201) - gone[0]


def test_the_pages_describe_the_file(user: Client):
    described = user.get("/openapi.json").json["paths"]
    answer = described["/messages/{message_id}/file"]["get"]["responses"]["200"]
    assert set(answer["content"]) == {"image/png", "image/jpeg", "image/gif", "image/webp"}
    count = described["/messages/{message_id}"]["delete"]["parameters"]
    assert [each["name"] for each in count] == ["message_id", "count"]
