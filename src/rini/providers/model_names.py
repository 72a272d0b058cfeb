"""Whose model a name is: ``provider/model`` as it is written, and bare names by how the providers name their models (November 2026)."""

import re

import msgspec

from rini.providers.catalog import PROVIDERS

LONGEST_NAME = 256
"""Of a model, in characters."""


class ModelName(msgspec.Struct, frozen=True):
    """A model as a call names it: who has it, and the provider's own name of it."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


# platform.openai.com/docs/models and /docs/deprecations. gpt-oss, gpt-neo and gpt-j are open weights, which OpenAI's API does not serve; names of
# open Whisper and TTS models go on after their first number. Tuned models are ft:<model>:…, the oldest <model>:ft-….
_OPENAI = (
    r"(ft:)?(gpt-(?!oss|neo|j-)|chatgpt-|o\d+(?=$|[-:])|codex-|davinci-002|babbage-002)"
    r"|(text-)?(ada|babbage|curie|davinci)(?=$|:ft-|-00\d$)"
    r"|text-embedding-(ada(?=$|-)|[3-9]-)|(omni|text)-moderation-|computer-use-|dall-e-|sora-|tts-1(?=$|-)|whisper-1$"
)

# docs.claude.com/en/docs/about-claude/models.
_ANTHROPIC = r"claude(?=$|-)"

# ai.google.dev/gemini-api/docs/models and /docs/embeddings. Ollama writes gemma3:27b.
_GOOGLE = (
    r"gemini(?=$|-)|gemma-|learnlm-|(text-)?embedding-00\d|text-embedding-preview-|embedding-gecko-|imagen-|veo-|lyria-|deep-research-"
    r"|nano-banana-|(chat|text)-bison-|aqa$|tunedmodels/."
)

_PATTERNS = tuple(
    (provider, re.compile(pattern))
    for provider, pattern in (("openai", _OPENAI), ("anthropic", _ANTHROPIC), ("google", _GOOGLE))
)


def explicit_name(name: str) -> ModelName | None:
    """Return what ``provider/model`` names; ``None`` where the name does not begin with a provider, or there is nothing behind."""
    provider, slash, model = name.partition("/")
    if not slash or provider not in PROVIDERS:
        return None
    return _named(provider, model)


def bare_name(name: str) -> ModelName | None:
    """Return whose model a bare name is, by how providers name theirs; upper case counts as lower case."""
    lower = name.lower()
    return next((_named(provider, name) for provider, pattern in _PATTERNS if pattern.match(lower)), None)


def _named(provider: str, model: str) -> ModelName | None:
    if provider == "google":
        model = model.removeprefix("models/")
    return ModelName(provider, model) if model else None
