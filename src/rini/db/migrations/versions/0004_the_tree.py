"""Ancestors, labels, cuts of the context, running turns, streams to follow, responses, idempotency keys."""

import sqlalchemy as sa
from alembic import op

from rini.db.base import UtcDateTime
from rini.kit.words import index_words

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

big = sa.BigInteger().with_variant(sa.Integer, "sqlite")
BATCH = 1000
INDEXED_AT_ONCE = 200
MOST_WORDS = 16_000
MOST_CHARACTERS = 150_000


def upgrade() -> None:
    _messages_and_sessions()
    _kept_beside_messages()
    _turns()
    op.create_table(
        "responses",
        _of_message("answer_id"),
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("first_input_id", big, nullable=True),
        sa.Column("previous_id", big, nullable=True),
        sa.Column("in_conversation", sa.Boolean, nullable=False),
        sa.Column("background", sa.Boolean, nullable=False),
        sa.Column("error", sa.Text, nullable=True),
        sa.Column("deleted_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("worker_id", sa.String(32), nullable=True),
        sa.Column("request_id", sa.String(128), nullable=True),
        sa.Column("status", sa.Integer, nullable=True),
        sa.Column("headers", sa.Text, nullable=True),
        sa.Column("body", sa.LargeBinary, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    _search()


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TRIGGER messages_leave_the_index")
    for table in (
        "message_words",
        "idempotency_keys",
        "responses",
        "answer_events",
        "running_turns",
        "workers",
        "system_texts",
        "context_cuts",
        "message_labels",
    ):
        op.drop_table(table)
    op.drop_index("ix_usage_records_message_id", "usage_records")
    op.drop_index("ix_messages_roots", "messages")
    op.drop_index("ix_messages_parent_message_id", "messages")
    op.create_index("ix_messages_parent_message_id", "messages", ["parent_message_id"])
    for table, column in (
        ("messages", "note"),
        ("messages", "cut_id"),
        ("messages", "system_digest"),
        ("messages", "size_tokens"),
        ("messages", "model_asked"),
        ("messages", "provider"),
        ("messages", "jump_id"),
        ("messages", "depth"),
        ("sessions", "metadata"),
        ("sessions", "context_policy"),
    ):
        op.drop_column(table, column)


def _of_message(name: str) -> sa.Column[int]:
    return sa.Column(name, big, sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True)


def _messages_and_sessions() -> None:
    op.add_column("sessions", sa.Column("context_policy", sa.String(16), nullable=False, server_default="compact"))
    op.add_column("sessions", sa.Column("metadata", sa.Text, nullable=True))
    op.add_column("messages", sa.Column("depth", sa.Integer, nullable=False, server_default="0"))
    op.add_column("messages", sa.Column("jump_id", big, nullable=True))
    op.add_column("messages", sa.Column("provider", sa.String(64), nullable=True))
    op.add_column("messages", sa.Column("model_asked", sa.Text, nullable=True))
    op.add_column("messages", sa.Column("size_tokens", sa.Integer, nullable=True))
    op.add_column("messages", sa.Column("system_digest", sa.String(64), nullable=True))
    op.add_column("messages", sa.Column("cut_id", big, nullable=True))
    op.add_column("messages", sa.Column("note", sa.Text, nullable=True))
    op.drop_index("ix_messages_parent_message_id", "messages")
    op.create_index("ix_messages_parent_message_id", "messages", ["parent_message_id", "id"])
    is_root, has_message = sa.text("parent_message_id IS NULL"), sa.text("message_id IS NOT NULL")
    op.create_index(
        "ix_messages_roots", "messages", ["session_id", "id"], sqlite_where=is_root, postgresql_where=is_root
    )
    op.create_index(
        "ix_usage_records_message_id",
        "usage_records",
        ["message_id"],
        sqlite_where=has_message,
        postgresql_where=has_message,
    )
    _measure_depths()


def _measure_depths() -> None:
    """Give every message its depth and the ancestor to jump to, as rini.sessions.ancestry does it for new ones.

    No message is older than its parent, so that one walk in the order of ids finds each parent done.
    """
    connection = op.get_bind()
    messages = sa.table(
        "messages",
        *[
            sa.column(name, sa.String() if name == "session_id" else sa.BigInteger())
            for name in ("id", "session_id", "parent_message_id", "depth", "jump_id")
        ],
    )
    c = messages.c
    change = (
        messages.update()
        .where(c.id == sa.bindparam("this"))
        .values(depth=sa.bindparam("its_depth"), jump_id=sa.bindparam("its_jump"))
    )
    for (session_id,) in connection.execute(sa.select(c.session_id).distinct()).all():
        known: dict[int, tuple[int, int | None]] = {}
        changes: list[dict[str, int | None]] = []
        here = sa.select(c.id, c.parent_message_id).where(c.session_id == session_id).order_by(c.id)
        for message_id, parent in connection.execute(here).all():
            depth, jump = 0, None
            if parent is not None:
                above, far = known[parent]
                depth, jump = above + 1, parent
                if far is not None:
                    to_far, farther = known[far]
                    if farther is not None and above - to_far == to_far - known[farther][0]:
                        jump = farther
            known[message_id] = depth, jump
            changes.append({"this": message_id, "its_depth": depth, "its_jump": jump})
        for start in range(0, len(changes), BATCH):
            connection.execute(change, changes[start : start + BATCH])


def _kept_beside_messages() -> None:
    op.create_table(
        "message_labels",
        _of_message("message_id"),
        sa.Column("label", sa.String(100), primary_key=True),
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    )
    op.create_index("ix_message_labels_user_id_label", "message_labels", ["user_id", "label"])
    op.create_table(
        "context_cuts",
        sa.Column("id", big, primary_key=True, autoincrement=True),
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("message_id", big, sa.ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
        sa.Column("summary", sa.Text, nullable=True),
        sa.Column("reason", sa.String(64), nullable=True),
        sa.Column("window_tokens", sa.Integer, nullable=True),
        sa.Column("size_tokens", sa.Integer, nullable=False),
        sa.Column("provider", sa.String(64), nullable=True),
        sa.Column("model", sa.Text, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_context_cuts_message_id", "context_cuts", ["message_id"])
    op.create_table(
        "system_texts",
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
    )


def _turns() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "running_turns",
        _of_message("answer_id"),
        sa.Column("session_id", sa.String(36), sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
        sa.Column("worker_id", sa.String(32), nullable=False),
        sa.Column("holds_session", sa.Boolean, nullable=False),
        sa.Column("background", sa.Boolean, nullable=False),
        sa.Column("ask", sa.LargeBinary, nullable=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("ending", sa.String(16), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_running_turns_session_id", "running_turns", ["session_id"])
    op.create_index("ix_running_turns_worker_id", "running_turns", ["worker_id"])
    op.create_table(
        "answer_events",
        _of_message("answer_id"),
        sa.Column("first", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("events", sa.LargeBinary, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_answer_events_created_at", "answer_events", ["created_at"])


def _search() -> None:
    """Make the full-text index (rini.sessions.search). It is no table of the metadata: SQLite's is a virtual one, Postgres's has a tsvector."""
    if op.get_context().dialect.name == "sqlite":
        # The words are made in Python, so this tokenizer is to split at spaces and fold ASCII alone.
        op.execute("CREATE VIRTUAL TABLE message_words USING fts5(words, place, tokenize='ascii')")
        # Also for messages that go with their session or user.
        op.execute(
            "CREATE TRIGGER messages_leave_the_index AFTER DELETE ON messages"
            " BEGIN DELETE FROM message_words WHERE rowid = old.id; END"
        )
    else:
        op.execute(
            "CREATE TABLE message_words ("
            "message_id BIGINT NOT NULL CONSTRAINT pk_message_words PRIMARY KEY"
            " CONSTRAINT fk_message_words_message_id REFERENCES messages (id) ON DELETE CASCADE,"
            " words TSVECTOR NOT NULL)"
        )
        op.execute("CREATE INDEX ix_message_words_words ON message_words USING gin (words)")
    _index_messages()


def _index_messages() -> None:
    """Let the messages that there are be found, as rini.sessions.search does it for new ones.

    The words are not made by a copy of rini.kit.words: should that change, a later migration makes the whole index anew.
    """
    connection = op.get_bind()
    sqlite = connection.dialect.name == "sqlite"
    some = sa.text(
        "SELECT id, user_id, session_id, role, content FROM messages WHERE id > :last ORDER BY id LIMIT :most"
    )
    insert = sa.text(
        "INSERT INTO message_words (rowid, words, place) VALUES (:id, :words, :place)"
        if sqlite
        else "INSERT INTO message_words (message_id, words) VALUES (:id, CAST(:words AS tsvector))"
    )
    last = 0
    while rows := connection.execute(some, {"last": last, "most": INDEXED_AT_ONCE}).all():
        last = rows[-1].id
        indexed: list[dict[str, object]] = []
        for row in rows:
            words = [f"{row.user_id}x{word}" for word in index_words(row.content, MOST_WORDS, MOST_CHARACTERS)]
            place = [f"{row.user_id}xs{row.session_id.replace('-', '')}", f"{row.user_id}xr{row.role}"]
            if not words:
                continue
            if sqlite:
                indexed.append({"id": row.id, "words": " ".join(words), "place": " ".join(place)})
            else:
                placed = [f"'{word}':{at}" for at, word in enumerate(words, 1)] + [f"'{word}/'" for word in place]
                indexed.append({"id": row.id, "words": " ".join(placed)})
        if indexed:
            connection.execute(insert, indexed)
