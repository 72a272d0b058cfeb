"""Ids of tool calls that the API takes: ``^[a-zA-Z0-9_-]+$``, each once in a conversation.

Ids of other providers are rewritten so that the same conversation gets the same ids again, which keeps the prompt cache.
"""

import re

from rini.wire.anthropic.fields import WIRE
from rini.wire.codec import UnsupportedError


def is_name(name: str) -> bool:
    """Tell whether ``name`` may be a tool's."""
    return _NAME.fullmatch(name) is not None


class CallIds:
    """Gives every call its id and every result the id of the call that it answers, in the order of the conversation."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._open: dict[str, list[tuple[str, str]]] = {}
        self._last: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def call(self, call_id: str, name: str, where: str) -> str:
        """Return the id for a call of the tool ``name`` that stands at ``where``."""
        new = _FOREIGN.sub("_", call_id or f"call_{where}")
        while new in self._taken:
            new += "_"
        self._taken.add(new)
        self._open.setdefault(call_id, []).append((name, new))
        self._last[call_id] = new
        self._names[new] = name
        return new

    def name_of(self, call_id: str) -> str | None:
        """Return the tool of the call that was given ``call_id``; None where there was no such call."""
        return self._names.get(call_id)

    def waits(self, call_id: str) -> bool:
        """Tell whether a call with ``call_id`` has no result yet."""
        return bool(self._open.get(call_id))

    def result(self, call_id: str, name: str | None, where: str) -> str:
        """Return the id for a result: that of the first call with ``call_id`` (and ``name``) still without one."""
        waiting = self._open.get(call_id)
        if waiting:
            position = next((i for i, each in enumerate(waiting) if name is not None and each[0] == name), 0)
            return waiting.pop(position)[1]
        if call_id in self._last:
            return self._last[call_id]
        if not call_id:
            raise UnsupportedError(WIRE, f"{where}.call_id", "the result answers no call")
        return _FOREIGN.sub("_", call_id)


_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]+")
