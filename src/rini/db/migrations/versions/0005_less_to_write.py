"""Messages that wait to be indexed; one index less on the turns that run, of which there are few."""

import sqlalchemy as sa
from alembic import op

from rini.kit.words import index_words

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

big = sa.BigInteger().with_variant(sa.Integer, "sqlite")
MOST_WORDS = 16_000
MOST_CHARACTERS = 150_000


def upgrade() -> None:
    op.create_table(
        "unindexed_messages",
        sa.Column("message_id", big, sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    )
    op.drop_index("ix_running_turns_worker_id", "running_turns")


def downgrade() -> None:
    _index_those_that_wait()
    op.drop_table("unindexed_messages")
    op.create_index("ix_running_turns_worker_id", "running_turns", ["worker_id"])


def _index_those_that_wait() -> None:
    """Index them as 0004 does it: there, nothing waits."""
    connection = op.get_bind()
    sqlite = connection.dialect.name == "sqlite"
    insert = sa.text(
        "INSERT OR REPLACE INTO message_words (rowid, words, place) VALUES (:id, :words, :place)"
        if sqlite
        else "INSERT INTO message_words (message_id, words) VALUES (:id, CAST(:words AS tsvector))"
        " ON CONFLICT (message_id) DO UPDATE SET words = excluded.words"
    )
    waiting = sa.text(
        "SELECT m.id, m.user_id, m.session_id, m.role, m.content FROM messages AS m"
        " JOIN unindexed_messages AS u ON u.message_id = m.id ORDER BY m.id"
    )
    for row in connection.execute(waiting).all():
        words = [f"{row.user_id}x{word}" for word in index_words(row.content, MOST_WORDS, MOST_CHARACTERS)]
        place = [f"{row.user_id}xs{row.session_id.replace('-', '')}", f"{row.user_id}xr{row.role}"]
        if words and sqlite:
            connection.execute(insert, {"id": row.id, "words": " ".join(words), "place": " ".join(place)})
        elif words:
            placed = [f"'{word}':{at}" for at, word in enumerate(words, 1)] + [f"'{word}/'" for word in place]
            connection.execute(insert, {"id": row.id, "words": " ".join(placed)})
