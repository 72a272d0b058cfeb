"""Access tokens for SDKs, names of models, and the thoughts behind tool calls."""

import sqlalchemy as sa
from alembic import op

from rini.db.base import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

big = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "access_tokens",
        sa.Column("id", big, primary_key=True, autoincrement=True),
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("hint", sa.String(16), nullable=False),
        sa.Column("models", sa.Text, nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("last_used_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_access_tokens_user_id", "access_tokens", ["user_id"])
    op.create_index("ix_access_tokens_digest", "access_tokens", ["digest"], unique=True)
    op.create_table(
        "model_aliases",
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("alias", sa.String(200), primary_key=True),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "tool_thoughts",
        sa.Column("user_id", big, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("call_id", sa.String(64), primary_key=True),
        sa.Column("wire", sa.String(64), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_tool_thoughts_created_at", "tool_thoughts", ["created_at"])


def downgrade() -> None:
    for table in ("tool_thoughts", "model_aliases", "access_tokens"):
        op.drop_table(table)
