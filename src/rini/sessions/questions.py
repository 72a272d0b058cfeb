"""Questions and their answers: what is asked again, and whom."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import AnyRow
from rini.errors import InvalidRequestError
from rini.sessions import messages
from rini.sessions.tables import messages as table

_newest_answer = (
    sa.select(table.c.provider, table.c.model_asked)
    .where(table.c.parent_message_id == sa.bindparam("question"), table.c.provider.is_not(None))
    .order_by(table.c.id.desc())
    .limit(1)
)


class Asked(msgspec.Struct, frozen=True):
    """A stored question, and who answered it (the newest of its answers); None where nobody did."""

    question: AnyRow
    provider: str | None
    model: str | None


def question_of(connection: Connection, user_id: int, message_id: int) -> Asked:
    """Return a question: the message itself, or what it answers. Raises NotFoundError, InvalidRequestError."""
    row = messages.get(connection, user_id, message_id)
    if row.role != "assistant":
        answer = connection.execute(_newest_answer, {"question": row.id}).first()
        return Asked(row, None, None) if answer is None else Asked(row, answer.provider, answer.model_asked)
    if row.parent_message_id is None:
        raise InvalidRequestError(f"The message {message_id} answers no question: there is nothing above it.")
    return Asked(messages.get(connection, user_id, row.parent_message_id), row.provider, row.model_asked)
