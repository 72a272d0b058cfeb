"""Which words for the effort OpenAI's models take, and which of them are sampled as one likes.

By the reasoning guide and the models' pages (OpenAI, 2026): o1 to o4 take low to high, gpt-5 also minimal, gpt-5.1 none instead of it,
gpt-5.2 and later xhigh too, the pro models high; models of the 3.5 and 4 generations do not reason. What a model that is not known here
takes is its own matter: the word is sent as it is. Models that reason answer 400 to temperature, top_p and penalties other than the
default; gpt-5.1 and later take them where they do not reason.
"""

import re
from collections.abc import Mapping
from typing import Final

_ORDER: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_MODELS: Final[tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]] = tuple(
    (re.compile(rf"(?:^|/){pattern}"), efforts)
    for pattern, efforts in (
        (r"(gpt-3\.5|gpt-4|chatgpt-4o|gpt-5(\.\d)?-chat)", ()),
        (r"o[134](-|$)", ("low", "medium", "high")),
        (r"gpt-5-pro", ("high",)),
        (r"gpt-5(\.1)?-codex(-mini)?(-\d|$)", ("low", "medium", "high")),
        (r"gpt-5(\.1|\.2)-codex", ("low", "medium", "high", "xhigh")),
        (r"gpt-5\.2-pro", ("medium", "high", "xhigh")),
        (r"gpt-5(-|$)", ("minimal", "low", "medium", "high")),
        (r"gpt-5\.1(-|$)", ("none", "low", "medium", "high")),
        (r"gpt-5\.2(-|$)", ("none", "low", "medium", "high", "xhigh")),
    )
)
_SILENT_UNLESS_ASKED: Final = re.compile(r"(?:^|/)gpt-5\.[1-9](-\d|$)")
_ALWAYS_REASONS: Final = re.compile(r"(?:^|/)(o[134](-|$)|gpt-5(-(?!chat)|$)|gpt-5\.\d+-(pro|codex))")
_REASONS_WHEN_ASKED: Final = re.compile(r"(?:^|/)gpt-5\.\d+(?!-chat)(-|$)")

SAMPLING_DEFAULTS: Final[Mapping[str, int]] = {
    "temperature": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
}
"""The parameters of sampling, and what they are where nothing is said."""


def takes_sampling(model: str, effort: str | None) -> bool:
    """Tell whether ``model``, sent ``effort``, takes temperature, top_p and penalties."""
    if _ALWAYS_REASONS.search(model):
        return False
    return effort in (None, "none") or _REASONS_WHEN_ASKED.search(model) is None


def nearest_effort(effort: str, model: str) -> str | None:
    """Return the word nearest to ``effort`` that ``model`` takes; ``None`` for a model that does not reason."""
    word = effort.lower()
    if word not in _ORDER:
        return effort
    for pattern, efforts in _MODELS:
        if pattern.search(model):
            place = _ORDER.index(word)
            return min(efforts, key=lambda each: abs(_ORDER.index(each) - place), default=None)
    return word


def thinks_only_when_asked(model: str) -> bool:
    """Tell whether ``model`` does not reason where nothing is said about it."""
    return _SILENT_UNLESS_ASKED.search(model) is not None
