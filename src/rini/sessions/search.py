"""Full-text search over a user's messages.

A row of ``message_words`` for each message holds its words (rini.kit.words), each with the user's id before it: ``7xhello``. So a query
reads what is the user's own, however many messages others have, and no text can pass for another user's. Session and role are words
too, kept apart from the text's. SQLite has them in FTS5, Postgres in a tsvector; both take the words as they are, so both find the same.

A row by itself would cost as much as the rest of a turn's writing, so what was said waits until there is more of it, in
``unindexed_messages``: every ``TOGETHER``th message has all of them indexed, and a search does so first (``catch_up``).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import AnyRow, Prepared
from rini.kit.words import Phrase, Place, index_words, places, query_phrases, single_words
from rini.sessions import repository
from rini.sessions.tables import messages, sessions, unindexed_messages

CANDIDATES = 2000
"""How many of the messages that match, the newest, are ranked."""

MOST_WORDS = 16_000
"""How many words of a message are found: Postgres counts their places no further than 16,383."""

MOST_CHARACTERS = 150_000
"""How long these are together; a tsvector has at most a megabyte."""

MOST_ASKED = 64
INDEXED_AT_ONCE = 200
TOGETHER = 64
"""Which messages, by their ids, have all that wait indexed with them."""

LONG = 4000
"""Characters of a message that is indexed at once, so that nobody's turn takes the time of many long ones."""

SNIPPET = 200
BEFORE_MATCH = 60
LOOKED_THROUGH = 50_000
"""In how many characters of a message the place for the snippet is looked for."""

_told = (messages.c.id, messages.c.user_id, messages.c.session_id, messages.c.role, messages.c.content)
_index = {
    "sqlite": Prepared(
        sa.text("INSERT OR REPLACE INTO message_words (rowid, words, place) VALUES (:id, :words, :place)")
    ),
    "postgresql": Prepared(
        sa.text(
            "INSERT INTO message_words (message_id, words) VALUES (:id, CAST(:words AS tsvector))"
            " ON CONFLICT (message_id) DO UPDATE SET words = excluded.words"
        )
    ),
}
_wait = Prepared(sa.text("INSERT INTO unindexed_messages (message_id) VALUES (:id) ON CONFLICT DO NOTHING"))
_is_behind = sa.select(sa.exists(sa.select(unindexed_messages)))
_WAITING = (
    "SELECT m.id, m.user_id, m.session_id, m.role, m.content"
    " FROM unindexed_messages AS u JOIN messages AS m ON m.id = u.message_id ORDER BY m.id LIMIT :most"
)
# Whoever deletes a message waits for nobody here, nor the other way round: it is passed over.
_TAKE_POSTGRES = (
    "WITH taken AS ({waiting} FOR KEY SHARE OF m SKIP LOCKED),"
    " gone AS (DELETE FROM unindexed_messages AS u USING taken WHERE u.message_id = taken.id)"
    " SELECT * FROM taken"
)
_take_postgres = Prepared(sa.text(_TAKE_POSTGRES.format(waiting=_WAITING)).columns(*_told))
_read_sqlite = Prepared(sa.text(_WAITING).columns(*_told))
_forget_sqlite = Prepared(sa.text("DELETE FROM unindexed_messages WHERE message_id <= :last"))
# On Postgres one at a time does this, and nobody waits for that one in a transaction, in which others' units may hold more.
_try_lock = sa.text("SELECT pg_try_advisory_xact_lock(7236020)")
_LABEL = "JOIN message_labels AS l ON l.message_id = w.{id} AND l.user_id = :user AND l.label = :label"
# CROSS: the words come first, newest first, until there are enough.
_FIND_SQLITE = (
    "SELECT w.rowid, bm25(message_words, 1.0, 0.0) FROM message_words AS w {label}"
    " WHERE message_words MATCH :match ORDER BY w.rowid DESC LIMIT :most"
)
_FIND_POSTGRES = (
    "WITH found AS MATERIALIZED (SELECT w.message_id FROM message_words AS w {label} WHERE w.words @@ CAST(:match AS tsquery)),"
    " newest AS (SELECT message_id FROM found ORDER BY message_id DESC LIMIT :most)"
    " SELECT w.message_id, -ts_rank(w.words, CAST(:rank AS tsquery), 1) FROM newest JOIN message_words AS w USING (message_id)"
)
_find = {
    ("sqlite", False): sa.text(_FIND_SQLITE.format(label="")),
    ("sqlite", True): sa.text(_FIND_SQLITE.format(label="CROSS " + _LABEL.format(id="rowid"))),
    ("postgresql", False): sa.text(_FIND_POSTGRES.format(label="")),
    ("postgresql", True): sa.text(_FIND_POSTGRES.format(label=_LABEL.format(id="message_id"))),
}


class Indexed(NamedTuple):
    """What the index takes of a message."""

    message_id: int
    user_id: int
    session_id: str
    role: str
    content: str


class Hit(NamedTuple):
    """A message that was found. ``snippet`` begins at ``start`` of its content; ``matches`` are places in the snippet."""

    message: AnyRow
    alias: str | None
    snippet: str
    start: int
    matches: list[tuple[int, int]]


class Found(NamedTuple):
    """Some of the messages found, the best first, and how many there are (CANDIDATES: at least so many).

    ``has_all``: they have all words of the query; no message had, where it is False, and these have some.
    """

    hits: list[Hit]
    total: int
    has_all: bool


def index_soon(connection: Connection, message_id: int, content: str) -> None:
    """Let a message be found by the words of its content from now on, in place of what it was found by before."""
    if not content:
        return
    _wait.run(connection, {"id": message_id})
    if (message_id % TOGETHER == 0 or len(content) > LONG) and _may_index(connection):
        _index_waiting(connection)


def is_behind(connection: Connection) -> bool:
    """Tell whether messages wait to be indexed: then it is to be caught up before a search."""
    return connection.execute(_is_behind).scalar_one()


def catch_up(connection: Connection) -> bool:
    """Index all messages that wait; return False where another process is just at it."""
    if not _may_index(connection):
        return False
    while _index_waiting(connection) == INDEXED_AT_ONCE:
        pass
    return True


def index_many(connection: Connection, rows: Iterable[Indexed]) -> None:
    """Let messages be found by the words of their contents at once, in place of what they were found by before."""
    is_sqlite = connection.dialect.name == "sqlite"
    shaped = _for_sqlite if is_sqlite else _for_postgres
    statement = _index[connection.dialect.name]
    batch: list[dict[str, Any]] = []
    for row in rows:
        words = index_words(row.content, MOST_WORDS, MOST_CHARACTERS)
        if words:
            batch.append(shaped(row, words))
        if len(batch) == INDEXED_AT_ONCE:
            statement.run_many(connection, batch)
            batch = []
    if batch:
        statement.run_many(connection, batch)


def search(
    connection: Connection,
    user_id: int,
    query: str,
    *,
    session_id: str | None = None,
    role: str | None = None,
    label: str | None = None,
    skip: int = 0,
    limit: int = 10,
) -> Found:
    """Find the user's messages that have all of the query's words; where there are none, those that have any of them.

    Raises NotFoundError for another one's session.
    """
    if session_id is not None:
        session_id = repository.get(connection, user_id, session_id).id
    asked = query_phrases(query, MOST_ASKED)
    if not asked:
        return Found([], 0, has_all=True)
    found = _candidates(connection, user_id, asked, "AND", session_id, role, label)
    has_all = True
    words = single_words(asked)
    if not found and (len(words) > 1 or words != asked):
        asked, has_all = words, False
        found = _candidates(connection, user_id, asked, "OR", session_id, role, label)
    return Found(_hits(connection, found[skip : skip + limit], asked), len(found), has_all or not found)


def _may_index(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite" or connection.execute(_try_lock).scalar_one()


def _index_waiting(connection: Connection) -> int:
    """Index some of the messages that wait, the oldest first, and return how many."""
    is_sqlite = connection.dialect.name == "sqlite"
    taking = _read_sqlite if is_sqlite else _take_postgres
    rows = [Indexed(*row) for row in taking.tuples(connection, {"most": INDEXED_AT_ONCE})]
    if rows:
        index_many(connection, rows)
        if is_sqlite:
            _forget_sqlite.run(connection, {"last": rows[-1].message_id})
    return len(rows)


def _for_sqlite(row: Indexed, words: list[str]) -> dict[str, Any]:
    mine = f" {row.user_id}x"
    text = mine[1:] + mine.join(words)
    place = " ".join(_place(row.user_id, row.session_id, row.role))
    return {"id": row.message_id, "words": text, "place": place}


def _for_postgres(row: Indexed, words: list[str]) -> dict[str, Any]:
    mine = f"'{row.user_id}x"
    counted = [f"{mine}{word}':{at}" for at, word in enumerate(words, 1)]
    # A text's words hold no slash.
    counted += (f"'{word}/'" for word in _place(row.user_id, row.session_id, row.role))
    return {"id": row.message_id, "words": " ".join(counted)}


def _place(user_id: int, session_id: str | None, role: str | None) -> list[str]:
    words = [] if session_id is None else [f"{user_id}xs{session_id.replace('-', '')}"]
    return words if role is None else [*words, f"{user_id}xr{role}"]


def _candidates(
    connection: Connection,
    user_id: int,
    phrases: list[Phrase],
    joined: str,
    session_id: str | None,
    role: str | None,
    label: str | None,
) -> list[int]:
    """Return the ids of the messages that match, the best first and the newest first among equals."""
    place = _place(user_id, session_id, role)
    asked: dict[str, Any] = {"most": CANDIDATES}
    if connection.dialect.name == "sqlite":
        asked["match"] = _sqlite_query(user_id, phrases, joined, place)
    else:
        asked["rank"] = _postgres_query(user_id, phrases, joined)
        asked["match"] = " & ".join([f"({asked['rank']})", *(f"'{word}/'" for word in place)])
    if label is not None:
        asked |= {"user": user_id, "label": label}
    rows = connection.execute(_find[connection.dialect.name, label is not None], asked).all()
    return [message_id for message_id, _ in sorted(rows, key=lambda row: (row[1], -row[0]))]


def _sqlite_query(user_id: int, phrases: list[Phrase], joined: str, place: list[str]) -> str:
    told = [
        '"' + " ".join(f"{user_id}x{word}" for word in phrase.words) + '"' + (" *" if phrase.is_open else "")
        for phrase in phrases
    ]
    query = f"words : ({f' {joined} '.join(told)})"
    return " AND ".join([query, *(f'place : "{word}"' for word in place)])


def _postgres_query(user_id: int, phrases: list[Phrase], joined: str) -> str:
    told = [
        "(" + " <-> ".join(f"'{user_id}x{word}'" for word in phrase.words) + (":*" if phrase.is_open else "") + ")"
        for phrase in phrases
    ]
    return (" & " if joined == "AND" else " | ").join(told)


def _hits(connection: Connection, ids: list[int], phrases: list[Phrase]) -> list[Hit]:
    query = (
        sa.select(messages, sessions.c.alias)
        .join(sessions, sessions.c.id == messages.c.session_id)
        .where(messages.c.id.in_(ids))
    )
    rows = {row.id: row for row in connection.execute(query)} if ids else {}
    return [Hit(rows[each], rows[each].alias, *_snippet(rows[each].content, phrases)) for each in ids if each in rows]


def _snippet(content: str, phrases: list[Phrase]) -> tuple[str, int, list[tuple[int, int]]]:
    """Return a stretch of the content with as many of the phrases as possible, where it begins, and where in it they stand."""
    found = places(content, phrases, LOOKED_THROUGH)
    begin = _best(found)
    start = 0 if begin <= BEFORE_MATCH else begin - BEFORE_MATCH
    # Not in the middle of a word, where one begins soon.
    if start and (space := content.find(" ", start, begin)) >= 0:
        start = space + 1
    end = min(start + SNIPPET, len(content))
    matches: list[tuple[int, int]] = []
    for place in found:
        first, last = place.start - start, min(place.end, end) - start
        if first < 0 or first >= end - start:
            continue
        if matches and first <= matches[-1][1]:
            matches[-1] = matches[-1][0], max(matches[-1][1], last)
        else:
            matches.append((first, last))
    return content[start:end], start, matches


def _best(found: list[Place]) -> int:
    """Return where the first of the stretches begins that hold the most different phrases."""
    best, most = 0, 0
    last = 0
    held: dict[int, int] = {}
    for place in found:
        while last < len(found) and found[last].start < place.start + SNIPPET - BEFORE_MATCH:
            held[found[last].phrase] = held.get(found[last].phrase, 0) + 1
            last += 1
        if len(held) > most:
            best, most = place.start, len(held)
        held[place.phrase] -= 1
        if not held[place.phrase]:
            del held[place.phrase]
    return best
