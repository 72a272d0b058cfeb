"""Arguments of a call that come in pieces: ``partialArgs``, each a JSON path and a value (Vertex AI, streamFunctionCallArguments)."""

import re
from itertools import pairwise
from typing import Any, cast

from rini.wire.codec import MalformedError
from rini.wire.gemini.fields import a_string

_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\[(?:"([^"]*)"|'([^']*)')\]""")
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")


class PartialArguments:
    """The arguments so far of the call that is part ``index``."""

    __slots__ = ("_texts", "index", "value")

    def __init__(self, index: int) -> None:
        self.index = index
        self.value: dict[str, Any] = {}
        self._texts: set[str] = set()

    def add(self, piece: dict[str, Any]) -> None:
        """Put one piece where it belongs. Raises MalformedError."""
        path = a_string(piece.get("jsonPath"), "jsonPath")
        name = next((name for name in _VALUES if name in piece), "nullValue")
        value = None if name == "nullValue" else piece[name]
        into, last = self._place(path)
        if isinstance(value, str) and path in self._texts and isinstance(into[last], str):
            value = into[last] + value
        into[last] = value
        if isinstance(value, str) and piece.get("willContinue") is True:
            self._texts.add(path)
        else:
            self._texts.discard(path)

    def _place(self, path: str) -> tuple[Any, Any]:
        """Return the object or list that ``path`` ends in, and the key there; make what is missing on the way."""
        steps = _steps(path)
        into: Any = self.value
        for step, following in pairwise(steps):
            empty: Any = [] if isinstance(following, int) else {}
            inner = _at(into, step)
            if inner is None:
                inner = into[step] = empty
            into = inner
        _at(into, steps[-1])
        return into, steps[-1]


def _at(into: Any, step: str | int) -> Any:
    """Return what stands at ``step``, ``None`` for nothing yet; a list grows until it has it."""
    if isinstance(step, str) and isinstance(into, dict):
        return cast("dict[str, Any]", into).get(step)
    if isinstance(step, int) and isinstance(into, list):
        items = cast("list[Any]", into)
        items += [None] * (step + 1 - len(items))
        return items[step]
    raise MalformedError("The pieces of a call's arguments contradict each other.")


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    position = 1
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            break
        key, number, *quoted = match.groups()
        if number is not None:
            if len(number) > 4:
                raise MalformedError("A jsonPath counts too far.")
            steps.append(int(number))
        else:
            steps.append(next(name for name in (key, *quoted) if name is not None))
        position = match.end()
    if not path.startswith("$") or position < len(path) or not steps:
        raise MalformedError("A jsonPath cannot be read.")
    return steps
