"""GET /messages/search, and the index behind it."""

import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

from rini.accounts import users
from rini.db import Database
from rini.db.migrate import MIGRATIONS, alone, migrate
from rini.sessions import messages, repository, search
from rini.sessions.tables import message_labels
from rini.sessions.tables import messages as messages_table
from tests.conftest import DATABASES
from tests.support.server import Answer, Client, Server
from tests.support.upstream import Conversation, Script, Upstream, openai_chunks


def say(user: Client, session: str, content: str, role: str = "user") -> int:
    stored = user.post(f"/sessions/{session}/messages/", {"role": role, "content": content})
    assert stored.status == 201, stored
    return stored.json["id"]


def ask(user: Client, q: str, **parameters: Any) -> Answer:
    return user.get("/messages/search?" + urllib.parse.urlencode({"q": q} | parameters))


def ids(answer: Answer) -> list[int]:
    assert answer.status == 200, answer
    return [each["message"]["id"] for each in answer.json]


def marked(answer: Answer) -> list[list[str]]:
    """What is marked in each snippet."""
    snippets = [each["snippet"] for each in answer.json]
    for each, snippet in zip(answer.json, snippets, strict=True):
        assert each["message"]["content"][snippet["start"] :].startswith(snippet["text"])
    return [[snippet["text"][match["start"] : match["end"]] for match in snippet["matches"]] for snippet in snippets]


def test_a_message_is_found_with_its_session_and_the_place(user: Client):
    session = user.session(alias="회의")
    message = say(user, session, "intro " * 100 + "우리는 내년 예산을 검토했다. " + "outro " * 100)
    say(user, session, "고양이가 소파에서 잔다")
    answer = ask(user, "예산 검토")
    assert ids(answer) == [message]
    (found,) = answer.json
    assert found["message"] == user.get(f"/messages/{message}").json
    assert found["session_alias"] == "회의"
    assert marked(answer) == [["예산", "검토"]]
    assert len(found["snippet"]["text"]) <= 200
    assert found["snippet"]["text"].startswith("intro ")
    assert (answer.headers["x-total-count"], answer.headers["x-search-matched"]) == ("1", "all")


def test_other_users_find_nothing(server: Server, user: Client):
    message = say(user, user.session(), "secretword")
    other = server.user()
    me = user.get("/users/me").json["id"]
    assert ids(ask(user, "secretword")) == [message]
    # Not even with the words as they are in the index.
    session = other.session()
    for forged in ("secretword", f"{me}xsecretword", f"u {me}x", f"{me}xruser"):
        assert ids(ask(other, forged)) == []
        assert say(other, session, f"x{forged}")
    assert ids(ask(user, "secretword")) == [message]
    assert ask(other, "secretword", session_id=user.session()).status == 404


def test_filters(user: Client):
    first, second = user.session(), user.session()
    one, two = say(user, first, "apple pie"), say(user, first, "apple juice", "assistant")
    three = say(user, second, "apple cake")
    assert sorted(ids(ask(user, "apple"))) == [one, two, three]
    assert sorted(ids(ask(user, "apple", session_id=first))) == [one, two]
    assert ids(ask(user, "apple", session_id=second)) == [three]
    assert ids(ask(user, "apple", role="assistant")) == [two]
    assert ids(ask(user, "apple", role="assistant", session_id=second)) == []
    assert ids(ask(user, "apple", label="좋다")) == []
    assert user.patch(f"/messages/{two}", {"labels": ["좋다"]}).status == 200
    labelled = ask(user, "apple", label="좋다")
    assert (ids(labelled), labelled.json[0]["message"]["labels"]) == ([two], ["좋다"])
    assert ids(ask(user, "apple", label="좋다", role="user")) == []
    for wrong in ({"role": "robot"}, {"label": "\x00"}, {"skip": -1}, {"limit": 101}, {"limit": 0}):
        assert ask(user, "apple", **wrong).status == 422, wrong
    assert ask(user, "apple", session_id="nonsense").status == 404


def test_pages(user: Client):
    session = user.session()
    stored = [say(user, session, "same words here") for _ in range(5)]
    pages = [ask(user, "same words", skip=skip, limit=2) for skip in (0, 2, 4, 6)]
    assert [ids(page) for page in pages] == [stored[:2:-1], stored[2:0:-1], stored[:1], []]
    assert {page.headers["x-total-count"] for page in pages} == {"5"}


def test_the_best_comes_first(user: Client):
    session = user.session()
    often = say(user, session, "zebra zebra zebra")
    once = say(user, session, "zebra " + "and many other words " * 20)
    say(user, session, "no such animal")
    assert ids(ask(user, "zebra")) == [often, once]


def test_where_no_message_has_all_words_those_with_any_are_found(user: Client):
    session = user.session()
    message = say(user, session, "내년 예산은 많다")
    answer = ask(user, "예산을 검토")
    assert (ids(answer), answer.headers["x-search-matched"]) == ([message], "any")
    assert marked(answer) == [["예산"]]
    assert ids(ask(user, "qwertz")) == []
    other = say(user, session, "the budget of Seoul")
    answer = ask(user, "budget zebra")
    assert (ids(answer), answer.headers["x-search-matched"]) == ([other], "any")


@pytest.mark.parametrize(
    "q",
    [
        "", " ", '"', '""', "*", "AND", "OR NOT", "NEAR(", "a:", "words:a", "place : x", "a*", "^a", "-a", "(a", "a OR", "'", "\\", "'a':*",
        "a & !b", "a <-> ", ":*A", "{a}", "a;DROP TABLE messages", "%", "_", "\x00", "\ud800", "a\x00b", "👍", "ا", "x" * 1000,
        " ".join("abcdefghijklmnopqrstuvwxyz" * 19), "가" * 1000, '"a"b"', "a + b", "a,b",
    ],
)  # fmt: skip
def test_nothing_in_a_query_is_an_operator(user: Client, q: str):
    answer = user.get("/messages/search?q=" + urllib.parse.quote(q, errors="surrogatepass"))
    assert (answer.status, answer.json) == (200, [])


def test_operators_are_found_as_words(user: Client):
    message = say(user, user.session(), 'cats AND dogs NEAR("me") a:b -c')
    for q in ("AND", 'NEAR("me")', "a:b", "-c", '"dogs', "cats*", "(dogs)"):
        assert ids(ask(user, q)) == [message], q


def test_a_query_is_no_longer_than_a_page(user: Client):
    assert user.get("/messages/search").json == []
    assert ask(user, "x" * 1001).status == 422
    assert Client(user.url).get("/messages/search?q=x").status == 401


def test_unicode_of_every_kind_is_stored_and_found(user: Client):
    session = user.session()
    texts = [
        "한국어", "아침밥", "한\u1100\u1161", "㈜ ①½™㎏ ﬁ", "e\u0301" * 20, "🏳️‍🌈 👨‍👩‍👧", "שָׁלוֹם", "ภาษาไทย", "हिन्दी", "ㅋㅋㅋ", "𠮷野家", "\ufdfa",
        "᠎a\u200bb\u202e", "ǅ ŉ ẞ", "'quote' \\ : *", "가" * 20_000, "w" * 100_000, "\u3164\u115f", "tab\tnew\nline\u2028x",
    ]  # fmt: skip
    stored = {say(user, session, text): text for text in texts}
    for message, text in stored.items():
        assert message in ids(ask(user, text[:65])), text[:65]
    for text in ("\U0010ffff \ufffe", "\u2028", "…"):
        say(user, session, text)
        assert ids(ask(user, text)) == []


def test_an_answer_is_found_once_it_is_there(user: Client):
    session = user.session()
    assert user.ask("what is a quokka?", session_id=session).status == 200
    roles = {each["message"]["role"] for each in ask(user, "quokka").json}
    assert "user" in roles
    said = user.get(f"/sessions/{session}/messages/").json[-1]
    assert said["role"] == "assistant"
    assert said["id"] in ids(ask(user, said["content"]))


def test_a_question_that_failed_is_found(user: Client, script: Callable[[Script], None]):
    async def refuse(conversation: Conversation) -> None:
        await conversation.whole({"error": {"message": "no"}}, status=400)

    script(refuse)
    session = user.session()
    assert user.ask("who saw the axolotl?", session_id=session).status >= 400
    (question,) = user.get(f"/sessions/{session}/messages/").json
    assert ids(ask(user, "axolotl")) == [question["id"]]


def test_what_was_said_before_a_crash_is_found(new_server: Callable[..., Server], upstream: Upstream):
    async def endless(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.chunk(openai_chunks("a narwhal ", finish=None)[-1])
        await conversation.until_left()

    server = new_server()
    user = server.user()
    session = user.session()
    assert user.ask("first", session_id=session).status == 200
    upstream.scripts[user.provider_key] = endless
    with user.open_stream("what is in the fjord?", session_id=session) as stream:
        assert any("narwhal" in str(event) for event in stream)
        server.kill()
    server.start()
    user.url = server.url
    last, question = ([*reversed(user.get(f"/sessions/{session}/messages/").json)])[:2]
    assert (last["content"], question["content"]) == ("a narwhal ", "what is in the fjord?")
    assert ids(ask(user, "fjord")) == [question["id"]]
    assert ids(ask(user, "narwhal")) == [last["id"]]
    assert len(ids(ask(user, "first"))) == 2  # and its answer, which repeats it


def test_what_is_deleted_is_not_found(user: Client):
    session, other = user.session(), user.session()
    one, two = say(user, session, "walrus one"), say(user, session, "walrus two")
    three = say(user, other, "walrus three")
    assert user.delete(f"/messages/{two}").status == 204
    assert sorted(ids(ask(user, "walrus"))) == [one, three]
    assert user.delete(f"/sessions/{session}").status == 204
    assert ids(ask(user, "walrus")) == [three]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/rini.db"
    return request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    migrate(url)
    made = Database(url)
    yield made
    made.close()


@pytest.fixture
def mine(database: Database) -> tuple[int, str]:
    def begin(connection: Connection) -> tuple[int, str]:
        user_id = users.create(connection, "", 0)
        return user_id, repository.create(connection, user_id, "a", None, "auto").id

    return database.write_sync(begin)


@pytest.fixture
def store(database: Database, mine: tuple[int, str]) -> Callable[[str], int]:
    def stored(content: str) -> int:
        return database.write_sync(messages.append, *mine, "user", content, None).id

    return stored


def find(database: Database, user_id: int, query: str, **parameters: Any) -> list[int]:
    database.write_sync(search.catch_up)
    return [hit.message.id for hit in database.read_sync(search.search, user_id, query, **parameters).hits]


def indexed(database: Database) -> int:
    return database.read_sync(
        lambda connection: connection.execute(sa.text("SELECT count(*) FROM message_words")).scalar()
    )


def waiting(database: Database) -> int:
    return database.read_sync(
        lambda connection: connection.execute(sa.text("SELECT count(*) FROM unindexed_messages")).scalar()
    )


def test_a_label_selects(database: Database, mine: tuple[int, str], store: Callable[[str], int]):
    one, _two = store("fig tree"), store("fig leaf")
    label = {"message_id": one, "user_id": mine[0], "label": "good"}
    database.write_sync(lambda connection: connection.execute(message_labels.insert(), label) and None)
    assert find(database, mine[0], "fig", label="good") == [one]


def test_a_message_is_indexed_anew_in_place_of_what_it_was(
    database: Database, mine: tuple[int, str], store: Callable[[str], int]
):
    one = store("before")
    assert find(database, mine[0], "before") == [one]
    after = messages_table.update().where(messages_table.c.id == one).values(content="after")
    database.write_sync(lambda connection: connection.execute(after) and None)
    database.write_sync(search.index_soon, one, "after")
    assert (find(database, mine[0], "before"), find(database, mine[0], "after")) == ([], [one])


def test_the_index_goes_with_the_user(database: Database, mine: tuple[int, str], store: Callable[[str], int]):
    for number in range(3):
        store(f"word {number}")
    database.write_sync(search.catch_up)
    store("that waits")
    assert (indexed(database), waiting(database)) == (3, 1)
    database.write_sync(lambda connection: connection.execute(sa.text("DELETE FROM users")) and None)
    assert indexed(database) == waiting(database) == 0


def test_what_waits_is_indexed_with_what_comes_later(
    database: Database, store: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(search, "TOGETHER", 4)
    for number in range(1, 4):
        assert store("a word") == number
    assert (indexed(database), waiting(database)) == (0, 3)
    store("a word")
    assert (indexed(database), waiting(database)) == (4, 0)
    store("a word")
    assert (indexed(database), waiting(database)) == (4, 1)
    store("long " * 1000)
    assert (indexed(database), waiting(database)) == (6, 0)


def test_all_that_waits_is_caught_up(database: Database, store: Callable[[str], int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(search, "INDEXED_AT_ONCE", 2)
    for _ in range(5):
        store("a word")
    store("…")
    database.write_sync(search.catch_up)
    assert (indexed(database), waiting(database)) == (5, 0)


def test_on_postgres_one_process_at_a_time_indexes(new_postgres_url: Callable[[], str]):
    url = new_postgres_url().replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    database, other = Database(url), Database(url)

    def both(connection: Connection) -> tuple[bool, bool]:
        return search.catch_up(connection), other.write_sync(search.catch_up)

    assert database.write_sync(both) == (True, False)
    assert other.write_sync(search.catch_up)
    database.close()
    other.close()


def test_on_postgres_nobody_waits_for_who_deletes_a_message_that_is_to_be_indexed(
    new_postgres_url: Callable[[], str],
):
    url = new_postgres_url().replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    database, other = Database(url), Database(url)
    user_id = database.write_sync(users.create, "", 0)
    session_id = database.write_sync(repository.create, user_id, None, None, "auto").id
    one, two = (
        database.write_sync(messages.append, user_id, session_id, "user", word, None).id for word in ("one", "two")
    )
    deleting, indexed_by_other = threading.Event(), threading.Event()

    def delete(connection: Connection) -> None:
        connection.execute(messages_table.delete().where(messages_table.c.id == two))
        deleting.set()
        assert indexed_by_other.wait(20)

    thread = threading.Thread(target=database.write_sync, args=(delete,))
    thread.start()
    assert deleting.wait(20)
    other.write_sync(search.catch_up)
    indexed_by_other.set()
    thread.join(20)
    assert (indexed(database), waiting(database), find(database, user_id, "one")) == (1, 0, [one])
    database.close()
    other.close()


def test_the_newest_are_ranked(
    database: Database, mine: tuple[int, str], store: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
):
    stored = [store("common") for _ in range(6)]
    monkeypatch.setattr(search, "CANDIDATES", 4)
    database.write_sync(search.catch_up)
    found = database.read_sync(search.search, mine[0], "common", limit=100)
    assert ([hit.message.id for hit in found.hits], found.total) == (stored[:1:-1], 4)


def test_texts_that_are_too_long_for_a_tsvector_are_kept_in_part(
    database: Database, mine: tuple[int, str], store: Callable[[str], int]
):
    many = store(" ".join(f"{number}{'𠮷' * 30}" for number in range(30_000)))
    pairs = store("".join(chr(0xAC00 + number * 7 % 11_000) for number in range(100_000)))
    assert find(database, mine[0], "17𠮷𠮷") == [many]
    assert find(database, mine[0], chr(0xAC00) + chr(0xAC07)) == [pairs]


def downgrade(url: str, revision: str) -> None:
    with alone(url) as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_messages_from_before_the_index_are_found(
    url: str, database: Database, mine: tuple[int, str], store: Callable[[str], int]
):
    wanted = [store(f"오래된 예산 {number}") for number in range(3)]
    store("…")
    before = find(database, mine[0], "예산", session_id=mine[1], role="user")
    downgrade(url, "0003")
    assert migrate(url)
    assert find(database, mine[0], "예산", session_id=mine[1], role="user") == before == wanted[::-1]
    assert indexed(database) == 3


def test_what_waits_is_found_by_an_older_version_too(
    url: str, database: Database, mine: tuple[int, str], store: Callable[[str], int]
):
    one = store("겨울 바다")
    store("…")
    assert (indexed(database), waiting(database)) == (0, 2)
    downgrade(url, "0004")
    assert indexed(database) == 1
    with alone(url) as connection:
        assert search.search(connection, mine[0], "바다", session_id=mine[1], role="user").hits[0].message.id == one
    assert migrate(url)
    assert (indexed(database), waiting(database)) == (1, 0)
