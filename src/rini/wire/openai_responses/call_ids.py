"""Ids of tool calls that OpenAI takes: up to 64 letters, digits, ``_`` and ``-`` (its specification of August 2026).

Ids of other providers are rewritten so that the same conversation gets the same ids again, which keeps the prompt cache.
"""

import re
from collections import deque
from collections.abc import Iterable
from hashlib import sha256

from rini.canon import Message, ToolCall
from rini.wire.codec import UnsupportedError
from rini.wire.openai_responses.fields import NAME


class CallIds:
    """Gives every call its id and every result the id of the call that it answers, in the order of the conversation.

    Calls without an id (Gemini's) get one, and the results that answer them, by name or in order, the same.
    """

    def __init__(self, messages: Iterable[Message]) -> None:
        self._taken = {part.id for message in messages for part in message.parts if isinstance(part, ToolCall)} - {""}
        self._unanswered: deque[tuple[str, str]] = deque()
        self._names: dict[str, str] = {}
        self._made = 0

    def call(self, call: ToolCall) -> str:
        """Return the id of ``call``."""
        call_id = _fitting(call.id) if call.id else self._new(call)
        self._names[call_id] = call.name
        return call_id

    def name_of(self, call_id: str) -> str | None:
        """Return the name of the call that got ``call_id``; None where there was none."""
        return self._names.get(call_id)

    def _new(self, call: ToolCall) -> str:
        while (call_id := f"call_{self._made}") in self._taken:
            self._made += 1
        self._made += 1
        self._unanswered.append((call.name, call_id))
        return call_id

    def result(self, call_id: str, name: str | None, path: str) -> str:
        """Return the id of the call that a result at ``path`` answers. Raises UnsupportedError when there is none."""
        if call_id in self._taken or (call_id and not self._unanswered):
            return _fitting(call_id)
        for waiting in self._unanswered:
            if name is None or name == waiting[0]:
                self._unanswered.remove(waiting)
                return waiting[1]
        raise UnsupportedError(NAME, f"{path}.call_id", "no call is left that it could answer")


def _fitting(call_id: str) -> str:
    if _FITTING.fullmatch(call_id):
        return call_id
    return f"call_{sha256(call_id.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


_FITTING = re.compile(r"[a-zA-Z0-9_-]{1,64}")
