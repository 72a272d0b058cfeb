"""Which values of one JSON body are not in another: what a translation lost, whatever the two formats call it."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

Path = tuple[str, ...]

WORDS = frozenset({
    "type", "role", "model", "status", "mode", "format", "effort", "reasoning_effort", "thinkingLevel", "thinking_level",
    "mimeType", "mime_type", "media_type", "responseMimeType", "response_mime_type", "tool_choice", "function_call",
})  # fmt: skip
"""Fields whose value is a word of the format's own, which every other format says differently."""


def lost(before: Any, after: Any) -> dict[Path, Any]:
    """Return the texts and numbers of ``before`` that stand nowhere in ``after``, by the names on the way to each.

    JSON within a string counts as what it holds; spaces, the case, and the two alphabets of base64 make no difference.
    """
    found = {_plain(value) for _, value in _leaves(after, ())}
    everything = _plain(json.dumps(after, ensure_ascii=False))
    missing: dict[Path, Any] = {}
    for path, value in _leaves(before, ()):
        plain = _plain(value)
        if plain in found or path[-1] in WORDS:
            continue
        if isinstance(value, str) and _plain(json.dumps(value, ensure_ascii=False)[1:-1]) in everything:
            continue
        missing[path] = value
    return missing


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        if value.get("thought") is True:  # Gemini's mark
            path = (*path, "thought")
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, path)
    elif isinstance(value, str):
        inner = _json(value)
        if inner is not None:
            yield from _leaves(inner, path)
        elif value.strip():
            yield path, value.partition(",")[2] if value.startswith("data:") else value
    elif value is not None and not isinstance(value, bool):
        yield path, value


def _json(text: str) -> Any:
    if text.strip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


@lru_cache(100_000)
def _plain(value: str | float) -> str | float:
    if not isinstance(value, str):
        return float(value)
    return re.sub(r"[\s=]+", " ", value.replace("-", "+").replace("_", "/")).strip().lower()
