"""The table of thoughts that go back with a tool call although the client's format has no place for them."""

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
