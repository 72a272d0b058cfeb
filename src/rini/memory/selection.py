"""Which entries go to the model, and the text that carries them."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rini.db import Prepared
from rini.inference.estimate import MOST_CHARACTERS_PER_TOKEN
from rini.memory import rendering
from rini.memory.tables import memory_entries

SHORTEST_NOTE_TOKENS = rendering.note_tokens(rendering.note("Fact", "x"))
MOST_PASSED_OVER = 20
"""So many entries that do not fit end the search for one that still does."""

_table = memory_entries.c
# The time is only to order by, so it is left in the form in which it comes.
_mine = sa.select(
    _table.id,
    _table.memory_type,
    _table.content,
    _table.importance,
    sa.type_coerce(_table.timestamp, sa.Text).label("timestamp"),
).where(_table.user_id == sa.bindparam("user_id"))
# Two selects instead of an OR: an index can give each in this order, which SQLite then merges instead of sorting it.
_all = sa.union_all(
    _mine.where(_table.session_id == sa.bindparam("session_id")), _mine.where(_table.session_id.is_(None))
)
_found = _all.selected_columns
_best_first = Prepared(
    _all.order_by(_found.importance.desc().nulls_last(), _found.timestamp.desc(), _found.id.desc()).limit(
        sa.bindparam("most")
    )
)


class Remembered(msgspec.Struct, frozen=True):
    """What goes to the model: the entries' ids, ascending, and the text for the system prompt. Both empty: nothing does."""

    ids: tuple[int, ...]
    text: str


NOTHING = Remembered((), "")


def select(connection: Connection, user_id: int, session_id: str, budget_tokens: int) -> Remembered:
    """Return what is remembered in the user's session: its own entries and the shared ones. ``session_id`` is as it is stored.

    Entries are taken by importance (none is the lowest), then the latest first, while the text stays within about ``budget_tokens``
    tokens; one that does not fit is passed over. The text has them in the order in which they were made: so it is the same, byte for
    byte, while they are, and a further entry that fits beside them lengthens it at its end.
    """
    room = budget_tokens - rendering.FRAME_TOKENS
    if room < SHORTEST_NOTE_TOKENS:
        return NOTHING
    chosen: list[tuple[int, str]] = []
    passed_over = 0
    most = room // SHORTEST_NOTE_TOKENS + MOST_PASSED_OVER
    rows = _best_first.tuples(connection, {"user_id": user_id, "session_id": session_id, "most": most})
    for entry_id, memory_type, content, _, _ in rows:
        line = _fitting(memory_type, content, room)
        if line is None:
            passed_over += 1
            if passed_over == MOST_PASSED_OVER:
                break
            continue
        chosen.append((entry_id, line))
        room -= rendering.note_tokens(line)
        if room < SHORTEST_NOTE_TOKENS:
            break
    if not chosen:
        return NOTHING
    chosen.sort()
    return Remembered(tuple(entry_id for entry_id, _ in chosen), rendering.memory_text(line for _, line in chosen))


def _fitting(memory_type: str, content: str, room: int) -> str | None:
    """Return the entry's line, or None where it takes more tokens than there is room for."""
    if len(content) > room * MOST_CHARACTERS_PER_TOKEN:
        return None
    line = rendering.note(memory_type, content)
    return line if rendering.note_tokens(line) <= room else None
