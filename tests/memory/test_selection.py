"""What goes to the model: whose entries, which of them, in which order, within which budget."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from rini.accounts import users
from rini.db import Database
from rini.db.migrate import migrate
from rini.inference.estimate import text_tokens
from rini.memory.rendering import END, FRAME_TOKENS, note, note_tokens
from rini.memory.selection import MOST_PASSED_OVER, NOTHING, Remembered, select
from rini.memory.tables import memory_entries
from rini.sessions import repository
from tests.conftest import DATABASES

PLENTY = 2000
BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


class Mind:
    """A user with a session, and the short way to remember something in it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.user_id: int = database.write_sync(users.create, "", 0)
        self.session_id = self.new_session()
        self._count = 0

    def new_session(self) -> str:
        return self.database.write_sync(repository.create, self.user_id, None, None, "auto").id

    def keep(self, content: str, **fields: Any) -> int:
        """Store an entry, later than all before, and return its id."""
        self._count += 1
        session = fields.pop("session_id", self.session_id)
        values = {
            "user_id": self.user_id,
            "session_id": session,
            "memory_type": "Fact",
            "scope": "Session" if session else "Shared",
            "content": content,
            "timestamp": BEGAN + timedelta(seconds=self._count),
        }
        statement = memory_entries.insert().values(values | fields).returning(memory_entries.c.id)
        return self.database.write_sync(lambda connection: connection.execute(statement).scalar_one())

    def change(self, entry_id: int, **values: Any) -> None:
        self._write(memory_entries.update().where(memory_entries.c.id == entry_id).values(values))

    def forget(self, entry_id: int) -> None:
        self._write(memory_entries.delete().where(memory_entries.c.id == entry_id))

    def recall(self, budget: int = PLENTY, session_id: str | None = None) -> Remembered:
        return self.database.read_sync(select, self.user_id, session_id or self.session_id, budget)

    def _write(self, statement: sa.Executable) -> None:
        self.database.write_sync(lambda connection: connection.execute(statement) and None)


@pytest.fixture(scope="module", params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path_factory.mktemp('memory') / 'rini.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("new_postgres_url")().replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    made = Database(url)
    yield made
    made.close()


@pytest.fixture
def mind(database: Database) -> Mind:
    return Mind(database)


def contents(remembered: Remembered) -> list[str]:
    return [json.loads(line)["content"] for line in remembered.text.split("\n")[2:-1]]


def room_for(*texts: str) -> int:
    return FRAME_TOKENS + sum(note_tokens(note("Fact", text)) for text in texts)


def test_without_entries_there_is_no_text(mind: Mind):
    assert mind.recall() == NOTHING == Remembered((), "")


def test_a_session_recalls_its_own_and_the_shared_in_the_order_they_were_made(mind: Mind):
    own = mind.keep("own")
    mind.keep("of another session", session_id=mind.new_session())
    shared = mind.keep("shared", session_id=None)
    last = mind.keep("last")
    recalled = mind.recall()
    assert recalled.ids == (own, shared, last)
    assert contents(recalled) == ["own", "shared", "last"]


def test_nobody_recalls_what_is_another_users(mind: Mind, database: Database):
    mind.keep("private")
    mind.keep("private to all sessions", session_id=None)
    other = Mind(database)
    assert other.recall() == NOTHING
    assert other.recall(session_id=mind.session_id) == NOTHING


def test_the_important_go_first_then_the_latest_and_the_unrated_last(mind: Mind):
    unrated_early = mind.keep("entry a")
    unrated_late = mind.keep("entry b")
    worthless = mind.keep("entry c", importance=0)
    important_early = mind.keep("entry d", importance=0.9, session_id=None)
    important_late = mind.keep("entry e", importance=0.9)
    ranking = [important_late, important_early, worthless, unrated_late, unrated_early]
    for count in range(1, 6):
        recalled = mind.recall(room_for(*["entry a"] * count))
        assert recalled.ids == tuple(sorted(ranking[:count]))


def test_what_was_changed_last_counts_as_the_latest(mind: Mind):
    first, _second = mind.keep("entry a"), mind.keep("entry b")
    mind.change(first, timestamp=BEGAN + timedelta(days=1))
    assert mind.recall(room_for("entry a")).ids == (first,)


def test_of_entries_made_at_once_the_higher_id_goes_first(mind: Mind):
    _first, second = mind.keep("entry a", timestamp=BEGAN), mind.keep("entry b", timestamp=BEGAN)
    assert mind.recall(room_for("entry a")).ids == (second,)


def test_one_that_does_not_fit_is_passed_over_for_smaller_ones(mind: Mind):
    small = mind.keep("small", importance=1)
    mind.keep("large " * 100, importance=5)
    mind.keep("larger than any budget " * 600, importance=9)
    other = mind.keep("other")
    assert mind.recall(room_for("small", "other")).ids == (small, other)


def test_the_search_for_one_that_fits_ends(mind: Mind):
    for _ in range(MOST_PASSED_OVER - 1):
        mind.keep("large " * 100, importance=5)
    small = mind.keep("small")
    assert mind.recall(room_for("small")).ids == (small,)
    mind.keep("large " * 100, importance=5)
    assert mind.recall(room_for("small")) == NOTHING


@pytest.mark.parametrize(
    "content", ["x", "An entry in plain words.", "고양이의 이름은 나비입니다.", "mixed 섞인 <b>", "\n\u202e\t"]
)
def test_the_text_keeps_within_the_budget_and_uses_it(mind: Mind, content: str):
    for _ in range(40):
        mind.keep(content)
    each = note_tokens(note("Fact", content))
    for budget in (1, FRAME_TOKENS, room_for(content) - 1, room_for(content), 150, 300, 301, 302, 303):
        recalled = mind.recall(budget)
        assert text_tokens(recalled.text) <= budget
        assert len(recalled.ids) == min(40, max(0, (budget - FRAME_TOKENS) // each))


def test_the_text_is_the_same_to_the_byte_while_the_memory_is(mind: Mind):
    for number in range(30):
        mind.keep(f"entry {number}", importance=number % 3 or None, session_id=None if number % 2 else mind.session_id)
    first = mind.recall(250)
    assert 5 < len(first.ids) < 30
    assert [mind.recall(250) for _ in range(5)] == [first] * 5


def test_a_new_entry_lengthens_the_text_at_its_end(mind: Mind):
    mind.keep("unrated")
    mind.keep("rated", importance=5)
    for fields in ({}, {"importance": 9}, {"session_id": None}, {"importance": 0, "session_id": None}):
        before = mind.recall()
        new = mind.keep("new", **fields)
        after = mind.recall()
        assert after.ids == (*before.ids, new)
        assert after.text.startswith(before.text.removesuffix(END))


def test_a_change_or_a_loss_leaves_what_stands_before_it(mind: Mind):
    first, second, third = (mind.keep(f"entry {number}") for number in range(3))
    before = mind.recall().text
    head = before[: before.index('{"type":"Fact","content":"entry 1"}')]
    mind.change(second, content="changed", importance=9)
    assert mind.recall().text.startswith(head)
    mind.forget(second)
    recalled = mind.recall()
    assert recalled.ids == (first, third)
    assert recalled.text.startswith(head)


def test_the_most_that_a_user_may_keep_is_searched_in_order(mind: Mind):
    rows = [
        {
            "user_id": mind.user_id, "session_id": mind.session_id, "memory_type": "Fact", "scope": "Session",
            "content": f"entry {number}", "importance": number, "timestamp": BEGAN,
        }
        for number in range(3000)
    ]  # fmt: skip
    mind.database.write_sync(lambda connection: connection.execute(memory_entries.insert(), rows) and None)
    kept = [int(content.removeprefix("entry ")) for content in contents(mind.recall())]
    assert kept == list(range(3000 - len(kept), 3000))
    assert len(kept) > 100


def test_a_huge_budget_takes_all(mind: Mind):
    ids = tuple(mind.keep(f"entry {number}") for number in range(50))
    assert mind.recall(1_000_000).ids == ids
