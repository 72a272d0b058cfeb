"""An answer as it is stored, with all that is told of it: for whoever was not there when it was written."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.canon import Event, Part, PartStart, PartStop, Text, ToolCall, ToolResult
from rini.db import AnyRow
from rini.errors import InvalidRequestError
from rini.sessions import messages
from rini.sessions.marks import labels_of
from rini.sessions.tables import context_cuts
from rini.turns.following import Followed, ToolAnswered, ToolCalled
from rini.usage.tables import usage_records

_cut = sa.select(context_cuts).where(context_cuts.c.id == sa.bindparam("cut"))
_records = (
    sa.select(usage_records).where(usage_records.c.message_id == sa.bindparam("message")).order_by(usage_records.c.id)
)
_parts = msgspec.json.Decoder(tuple[Part, ...])


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An answer's row and its question's (None: there is nothing above it), that one's labels, its calls' records, and the cut at which its path began."""

    answer: AnyRow
    question: AnyRow | None
    labels: tuple[str, ...]
    records: tuple[AnyRow, ...]
    cut: AnyRow | None

    @property
    def parts(self) -> tuple[Part, ...]:
        """All that the model and its tools said."""
        row = self.answer
        return _parts.decode(row.parts) if row.parts else (Text(row.content),) if row.content else ()


def stored_answer(connection: Connection, user_id: int, answer_id: int) -> Stored:
    """Return an answer of the user's. Raises NotFoundError, InvalidRequestError for a message that no model wrote here."""
    answer = messages.get(connection, user_id, answer_id)
    if answer.role != "assistant" or answer.provider is None:
        raise InvalidRequestError(f"The message {answer_id} is no answer of a model.")
    above = answer.parent_message_id
    question = None if above is None else messages.get(connection, user_id, above)
    labels = () if question is None else tuple(labels_of(connection, [question.id]).get(question.id, ()))
    cut = None if answer.cut_id is None else connection.execute(_cut, {"cut": answer.cut_id}).first()
    records = tuple(connection.execute(_records, {"message": answer.id}))
    return Stored(answer=answer, question=question, labels=labels, records=records, cut=cut)


def as_events(parts: tuple[Part, ...]) -> list[Followed]:
    """Return the events of an answer that was never streamed: each part comes whole."""
    results = {part.call_id: part for part in parts if isinstance(part, ToolResult)}
    found: list[Followed] = []
    index = 0
    for part in parts:
        if isinstance(part, ToolResult):
            index = 0  # what follows is another answer of the model's
            continue
        event: list[Event] = [PartStart(index, part), PartStop(index)]
        found += event
        index += 1
        if isinstance(part, ToolCall) and (result := results.get(part.id)) is not None:
            found += (ToolCalled(part), ToolAnswered(result, 0))
    return found
