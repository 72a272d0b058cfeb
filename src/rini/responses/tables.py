"""The table of responses: what OpenAI's API repeats of a request, beside the answer's message."""

import sqlalchemy as sa

from rini.db import UtcDateTime, big_int, metadata

# Any answer can be read as a response; one that was asked for through OpenAI's API has a row here.
responses = sa.Table(
    "responses",
    metadata,
    sa.Column("answer_id", big_int(), sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("user_id", big_int(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    # The request without its input, as a JSON object.
    sa.Column("request", sa.Text, nullable=False),
    # The first message of the request's input and the message before it; NULL: there is none.
    sa.Column("first_input_id", big_int(), nullable=True),
    sa.Column("previous_id", big_int(), nullable=True),
    # Whether the request named a conversation.
    sa.Column("in_conversation", sa.Boolean, nullable=False),
    sa.Column("background", sa.Boolean, nullable=False),
    # The error object of a response that failed, and why one is incomplete, as JSON.
    sa.Column("error", sa.Text, nullable=True),
    # When the client deleted the response; the message stays in its session.
    sa.Column("deleted_at", UtcDateTime(), nullable=True),
    sa.Column("created_at", UtcDateTime(), nullable=False),
)
