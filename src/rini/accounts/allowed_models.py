"""Which models an access token may call: patterns such as ``openai/gpt-4o-mini``, ``anthropic/*`` and ``*``."""

import re
from collections.abc import Iterable

from rini.providers.catalog import PROVIDERS

PATTERN = rf"^(\*|({'|'.join(PROVIDERS)}|\*)/[^\s\x00]+)$"
"""What a pattern looks like, as a regular expression that JSON Schema has too."""

_pattern = re.compile(PATTERN)
_SHOWN = 10


def check_pattern(pattern: str) -> str:
    """Return ``pattern``. Raises ValueError when it is none."""
    if _pattern.fullmatch(pattern):
        return pattern
    provider, slash, _ = pattern.partition("/")
    if slash and provider not in PROVIDERS and provider != "*":
        raise ValueError(f"must begin with a provider ({', '.join(PROVIDERS)}) or with *")
    raise ValueError("must be provider/model, such as openai/gpt-4o-mini or anthropic/*, or * for all")


def fits(pattern: str, name: str) -> bool:
    """Tell whether ``name`` (``provider/model``) is what ``pattern`` says. ``*`` stands for any characters, or none.

    It takes no longer for one pattern than for another: a regular expression with many stars would.
    """
    if "*" not in pattern:
        return pattern == name
    first, *between, last = pattern.split("*")
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for piece in between:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def told(patterns: Iterable[str]) -> str:
    """Return the patterns as a part of a sentence, the first ones of many."""
    shown = list(patterns)
    more = len(shown) - _SHOWN
    return ", ".join(shown[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
