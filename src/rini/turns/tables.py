"""The tables of turns: those that run, what they streamed, and thoughts that the client's format has no place for."""

import sqlalchemy as sa

from rini.db import UtcDateTime, big_int, metadata

tool_thoughts = sa.Table(
    "tool_thoughts",
    metadata,
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    # SHA-256 of the call's id, which may be of any length.
    sa.Column("call_id", sa.String(64), primary_key=True),
    # The format and the model that thought them: they are valid there alone.
    sa.Column("wire", sa.String(64), nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    # The model's whole answer: a JSON array of canon's parts.
    sa.Column("parts", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Index("ix_tool_thoughts_created_at", "created_at"),
)

workers = sa.Table(
    "workers",
    metadata,
    # One for each process.
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("seen_at", UtcDateTime(), nullable=False),
)

# An answer that a model is writing. Its row goes when the turn settles.
running_turns = sa.Table(
    "running_turns",
    metadata,
    sa.Column("answer_id", big_int(), sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("session_id", sa.String(36), sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    sa.Column("worker_id", sa.String(32), nullable=False),
    # It continues the current branch, so that the next one that does must wait for it.
    sa.Column("holds_session", sa.Boolean, nullable=False),
    # It goes on when its client leaves, and when its worker dies.
    sa.Column("background", sa.Boolean, nullable=False),
    # What was asked, so that another process can ask again (rini.turns.lasting); NULL: none does.
    sa.Column("ask", sa.LargeBinary, nullable=True),
    # How many processes have begun it, but for those that left it in good order.
    sa.Column("attempts", sa.Integer, nullable=False),
    # Why it is to end: cancelled, interrupted. NULL: it is not.
    sa.Column("ending", sa.String(16), nullable=True),
    sa.Column("started_at", UtcDateTime(), nullable=False),
    sa.Index("ix_running_turns_session_id", "session_id"),
)

# What was streamed of an answer, so that it can be followed again from any event on, by another process too.
answer_events = sa.Table(
    "answer_events",
    metadata,
    sa.Column("answer_id", big_int(), sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    # The number of the first event, from 0.
    sa.Column("first", sa.Integer, primary_key=True, autoincrement=False),
    # A JSON array of events (rini.turns.following), compressed by zlib.
    sa.Column("events", sa.LargeBinary, nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Index("ix_answer_events_created_at", "created_at"),
)
