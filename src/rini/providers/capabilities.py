"""What models can do where their provider does not say: by their names, from the providers' documents as of November 2026.

OpenAI's list says nothing of its models, Gemini's only whether they think, Anthropic's not whether they call tools. The first pattern that
fits a name holds; what none of them says is not known.
"""

import re
from collections.abc import Mapping

import msgspec

from rini.canon import Capabilities
from rini.errors import NoVisionError
from rini.providers.vision import image_limits


class Known(msgspec.Struct, frozen=True):
    """What is known of a model by its name."""

    capabilities: Capabilities = Capabilities()
    max_output_tokens: int | None = None


_UNKNOWN = Known()
_CHAT = Capabilities(
    vision=True, pdf=True, tools=True, thinking=False, structured_output=True, embeddings=False, audio=False
)
_EMBEDDER = Capabilities(
    vision=False, pdf=False, tools=False, thinking=False, structured_output=False, embeddings=True, audio=False
)


def _rule(
    pattern: str, base: Capabilities, most: int | None = None, **changes: bool | None
) -> tuple[re.Pattern[str], Known]:
    return re.compile(pattern), Known(msgspec.structs.replace(base, **changes), most)


# developers.openai.com/api/docs/models, the page of each model: "Features", "Modalities" and "Max output tokens".
_OPENAI = (
    _rule(r"text-embedding-", _EMBEDDER),
    _rule(r".*(transcribe|whisper|-tts|tts-)", _EMBEDDER, embeddings=False, audio=True),
    _rule(r"dall-e|gpt-image|chatgpt-image|sora|.*moderation", _EMBEDDER, vision=None, embeddings=False),
    _rule(r"gpt-.*(audio|realtime|live)", _CHAT, vision=None, pdf=False, structured_output=False, audio=True),
    _rule(r"gpt-3\.5-turbo-instruct|davinci|babbage", _EMBEDDER, embeddings=False),
    _rule(r"gpt-3\.5|gpt-4-turbo|gpt-4-(0125|1106)|gpt-4-vision", _CHAT, 4096, pdf=False, structured_output=False),
    _rule(r"gpt-4(-0|$)", _CHAT, 8192, pdf=False, structured_output=False),
    _rule(r"gpt-4o.*search", _CHAT, 16_384, pdf=None, tools=False),
    _rule(r"gpt-4o|chatgpt-4o|gpt-4\.5|gpt-5[.\d]*-chat", _CHAT, 16_384),
    _rule(r"gpt-4\.1", _CHAT, 32_768),
    _rule(r"o1-preview", _CHAT, 32_768, pdf=False, tools=False, thinking=True, structured_output=False),
    _rule(r"o1-mini", _CHAT, 65_536, pdf=False, tools=False, thinking=True, structured_output=False),
    _rule(r"o3-mini", _CHAT, 100_000, pdf=False, thinking=True),
    _rule(r"o[134](-pro|-mini)?(-20|$)|codex-mini", _CHAT, 100_000, thinking=True),
    _rule(r"gpt-(5|5\.\d)(-pro|-mini|-nano|-codex.*|-luna|-sol|-terra)?(-20|$)", _CHAT, 128_000, thinking=True),
    _rule(r"gpt-6(\.\d)?-(astra|luna|sol|terra)", _CHAT, thinking=True),
)

# docs.claude.com/en/docs/about-claude/models, "Model comparison", and the pages of vision, PDF support and extended thinking.
_ANTHROPIC = (
    _rule(r"claude-(v?[12]\b|instant)", _EMBEDDER, 4096, embeddings=False),
    _rule(r"claude-3-(opus|sonnet|haiku)", _CHAT, 4096, pdf=None, structured_output=None),
    _rule(r"claude-3-5", _CHAT, 8192, pdf=None, structured_output=None),
    _rule(r"claude-", _CHAT, thinking=True, structured_output=None),
)

# ai.google.dev/gemini-api/docs/models, "Supported data types" and "Capabilities" of each model.
_GOOGLE = (
    _rule(r".*embedding", _EMBEDDER),
    _rule(r"imagen|veo|lyria|aqa", _EMBEDDER, vision=None, embeddings=False, audio=None),
    _rule(r"gemini-.*-tts", _EMBEDDER, embeddings=False, audio=True),
    _rule(r"gemini-.*(live|native-audio)", _CHAT, pdf=False, thinking=None, structured_output=False, audio=True),
    _rule(r"gemini-.*image", _CHAT, tools=None, thinking=None, structured_output=None, pdf=None),
    _rule(r"gemini-(1\.5|2\.0)", _CHAT, audio=True),
    _rule(r"gemini-(2\.5|[3-9]|(pro|flash|flash-lite)-latest)", _CHAT, thinking=True, audio=True),
)

_RULES: Mapping[str, tuple[tuple[re.Pattern[str], Known], ...]] = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "google": _GOOGLE,
}


def known_of(provider: str, model: str) -> Known:
    """Return what is known of ``model``, the provider's own name of it, dated and tuned ones included."""
    name = model.lower().removeprefix("models/").removeprefix("ft:")
    rules = _RULES.get(provider, ())
    found = next((known for pattern, known in rules if pattern.match(name)), _UNKNOWN)
    if found.capabilities.vision and not _may_see(provider, model):
        return Known(msgspec.structs.replace(found.capabilities, vision=False), found.max_output_tokens)
    return found


def _may_see(provider: str, model: str) -> bool:
    try:
        image_limits(provider, model)
    except NoVisionError:
        return False
    return True
