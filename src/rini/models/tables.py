"""The table of aliases: a user's own names of models."""

import sqlalchemy as sa

from rini.db import UtcDateTime, big_int, metadata

model_aliases = sa.Table(
    "model_aliases",
    metadata,
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("alias", sa.String(200), primary_key=True),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
)
