"""Why a provider refused a request for embeddings, where that is a matter of its size: read from what it says.

The phrases are those of OpenAI, Gemini, Voyage, DashScope, llama.cpp and text-embeddings-inference (November 2026).
"""

import re

from rini.errors import (
    ContextTooLongError,
    ProviderError,
    ProviderRejectedError,
    ProviderTooLargeError,
    ProviderUnavailableError,
)

_TOO_LONG = re.compile(
    r"maximum input length|input (is|\(\d+ tokens\) is) too (long|large)|must have (less|fewer) than \d+ tokens"
    r"|physical batch size|input token count|exceeds the maximum (number of tokens|length)",
    re.IGNORECASE,
)
_TOO_MUCH = re.compile(
    r"tokens per (submitted )?(request|batch)|requested \d+ tokens, max \d+ tokens|batch[ _]size|in one batch",
    re.IGNORECASE,
)
_PLACE = re.compile(r"\binputs?\[(\d{1,6})\]")

# A model's server that is not meant for a text's length fails on it: llama.cpp with status 500.
_OF_SIZE = (ContextTooLongError, ProviderTooLargeError, ProviderRejectedError, ProviderUnavailableError)


def is_too_long(error: ProviderError) -> bool:
    """Tell whether one of the texts is longer than the model takes."""
    if not isinstance(error, _OF_SIZE):
        return False
    message = _message(error)
    if _TOO_LONG.search(message):
        return True
    return isinstance(error, ContextTooLongError) and not _TOO_MUCH.search(message)


def is_too_much(error: ProviderError) -> bool:
    """Tell whether the texts are too many, or too long together: fewer of them may be taken."""
    if not isinstance(error, _OF_SIZE) or is_too_long(error):
        return False
    return isinstance(error, ProviderTooLargeError) or _TOO_MUCH.search(_message(error)) is not None


def place(error: ProviderError) -> int | None:
    """Return which of the texts the provider names, counted from 0; None where it names none."""
    found = _PLACE.search(_message(error))
    return int(found[1]) if found else None


def _message(error: ProviderError) -> str:
    return error.fields.get("provider_message") or ""
