"""How much each model reads at once, by its name. Data from the providers' documents as of November 2026.

What a server of the user's own reads is not known by any name: the same model is served with 4,000 tokens here and 128,000 there.
"""

import re
from collections.abc import Mapping

import msgspec

UNANNOUNCED_RESERVE = 16_384
"""The most that is left for an answer whose length the client did not limit."""

ANTHROPIC_RESERVE = 32_000
"""What a request to Anthropic has as max_tokens where the client says nothing; input and that together must be within the window."""


class Window(msgspec.Struct, frozen=True):
    """A model's context in tokens: question and answer together. ``most_input`` is a lower limit of its own for the question.

    ``answer_apart``: the answer has its own limit beside it.
    """

    tokens: int
    most_input: int | None = None
    answer_apart: bool = False

    def room(self, provider: str, max_tokens: int | None) -> int:
        """Return how many tokens a prompt may have so that the answer, at most ``max_tokens`` of it, has its place too."""
        if self.answer_apart:
            return self.tokens
        if max_tokens is None:
            max_tokens = ANTHROPIC_RESERVE if provider == "anthropic" else min(self.tokens // 8, UNANNOUNCED_RESERVE)
        # A limit above half of the window is a limit, not a wish for so long an answer.
        room = self.tokens - min(max_tokens, self.tokens // 2)
        return room if self.most_input is None else min(room, self.most_input)


_GEMINI = Window(1_048_576, answer_apart=True)


def _rule(pattern: str, tokens: int, most_input: int | None = None) -> tuple[re.Pattern[str], Window]:
    return re.compile(pattern), Window(tokens, most_input)


# developers.openai.com/api/docs/models, "context window" and "Max input tokens" of each model.
_OPENAI = (
    _rule(r"gpt-3\.5-turbo", 16_385),
    _rule(r"gpt-4-32k", 32_768),
    _rule(r"gpt-4-(turbo|vision|0125|1106)", 128_000),
    _rule(r"gpt-4(-0|$)", 8192),
    _rule(r"gpt-realtime-2", 128_000),
    _rule(r"gpt-realtime$|gpt-4o-realtime", 32_000),
    _rule(r"gpt-5\.3(-20|$)", 128_000),
    _rule(
        r"gpt-4o(?!.*(tts|transcribe|realtime))|chatgpt-4o|gpt-4\.5|gpt-audio|gpt-5[.\d]*-chat|o1-(mini|preview)",
        128_000,
    ),
    _rule(r"gpt-4\.1", 1_047_576),
    _rule(r"o[134](-|$)|codex-mini", 200_000),
    _rule(r"gpt-5(\.[1-3])?(-mini|-nano|-pro|-codex.*)?(-20|$)|gpt-5\.4-(mini|nano)", 400_000, 272_000),
    _rule(r"gpt-5\.[4-9]|gpt-6", 1_050_000),
    _rule(r"gpt-oss", 131_072),
)

# docs.claude.com/en/docs/about-claude/models, "Context window" without a beta header.
_ANTHROPIC = (
    _rule(r"claude-(v?1\b|instant)", 100_000),
    _rule(r"claude-(fable|mythos)", 1_000_000),
    _rule(r"claude-(opus|sonnet)-4-[6-9]", 1_000_000),
    _rule(r"claude-(opus|sonnet)-([5-9]|\d\d)(-|$)", 1_000_000),
    _rule(r"claude-haiku-(5-[5-9]|[6-9])", 1_000_000),
    _rule(r"claude-", 200_000),
)

# ai.google.dev/gemini-api/docs/models, "Input token limit" of each model; an answer has a limit of its own.
_GOOGLE = (
    (re.compile(r"gemini-1\.5-pro"), Window(2_097_152, answer_apart=True)),
    (re.compile(r"gemini-(pro$|1\.0)"), Window(30_720, answer_apart=True)),
    (re.compile(r"gemini-.*(tts)"), Window(8192, answer_apart=True)),
    (re.compile(r"gemini-.*(live|native-audio)"), Window(131_072, answer_apart=True)),
    (re.compile(r"gemini-(1\.5|2\.|[3-9]|(pro|flash|flash-lite)-latest)"), _GEMINI),
)

_RULES: Mapping[str, tuple[tuple[re.Pattern[str], Window], ...]] = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "google": _GOOGLE,
}


def known_window(provider: str, model: str) -> Window | None:
    """Return the context of ``model``, the provider's own name of it, dated and tuned ones included; None: not known."""
    name = model.lower().removeprefix("models/").removeprefix("ft:")
    return next((window for pattern, window in _RULES.get(provider, ()) if pattern.match(name)), None)


# OpenAI and vLLM; Anthropic; Google; llama.cpp.
_TOLD = re.compile(
    r"maximum context length is (\d{3,9})|(?:\d|tokens) > (\d{3,9})"
    r"|tokens allowed \(?(\d{3,9})|context size \((\d{3,9})"
)


def told_window(message: str) -> int | None:
    """Return the context that a provider's refusal of too long a request tells; None where it tells none."""
    found = _TOLD.search(message)
    return None if found is None else int(next(filter(None, found.groups())))
