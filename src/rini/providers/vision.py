"""Which providers and models read images, and what images they take. Data from the providers' documents as of November 2026."""

import re
from collections.abc import Mapping

import msgspec

from rini.errors import NoVisionError

_EVERY_TYPE = frozenset(("image/png", "image/jpeg", "image/webp", "image/gif"))


class ImageLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider takes of one image. Every provider takes PNG and JPEG.

    ``max_bytes`` counts the file, not its base64; ``max_side`` is in pixels, of the longer side, None where no limit is documented.
    """

    provider: str
    mime_types: frozenset[str]
    max_bytes: int
    max_side: int | None = None
    max_frames: int = 1


class _Vision(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's limits, and what changes with more images: all of them share ``total_bytes`` of one request.

    With more than ``many`` images in a request none may be larger than ``side_of_many``.
    """

    limits: ImageLimits
    total_bytes: int
    default_model: str | None = None
    text_only: re.Pattern[str] | None = None
    many: int | None = None
    side_of_many: int | None = None


def _raw(base64_bytes: int) -> int:
    return base64_bytes // 4 * 3


_MIB = 1024 * 1024

# platform.openai.com/docs/guides/images-vision, "Image input requirements": PNG, JPEG, WEBP, GIF without animation; 50 MB a
# request. The 20 MB for one image are of the earlier edition of the page, and of servers that took after it.
_OPENAI = ImageLimits(provider="OpenAI", mime_types=_EVERY_TYPE, max_bytes=20_000_000)

_VISION: Mapping[str, _Vision] = {
    "openai": _Vision(
        limits=_OPENAI,
        total_bytes=_raw(48_000_000),
        default_model="gpt-6-luna",
        text_only=re.compile(
            r"gpt-3\.5|gpt-4(-32k)?(-0314|-0613)?$|gpt-4-(0125|1106|turbo)-preview|gpt-oss|o1-mini|o1-preview|o3-mini"
            r"|text-|davinci|curie|babbage|ada$|whisper|tts-|gpt-4o(-mini)?-(audio|transcribe|tts)"
        ),
    ),
    # docs.claude.com/en/docs/build-with-claude/vision, "General limits": 8000 x 8000 pixels, 2000 x 2000 where a request has more
    # than 20 images; 5 MB of base64 an image, 32 MB a request, of which some are left to the text. Of an animation it reads one frame.
    "anthropic": _Vision(
        limits=ImageLimits(provider="Anthropic", mime_types=_EVERY_TYPE, max_bytes=_raw(5 * _MIB), max_side=8000),
        total_bytes=_raw(30_000_000),
        default_model="claude-haiku-5-5",
        text_only=re.compile(r"claude-(v?[12]\b|instant)"),
        many=20,
        side_of_many=2000,
    ),
    # ai.google.dev/gemini-api/docs/image-understanding: PNG, JPEG, WEBP, HEIC, HEIF; 20 MB for the whole of a request with inline
    # images, of which some are left to the text. No limit of pixels.
    "google": _Vision(
        limits=ImageLimits(provider="Google", mime_types=_EVERY_TYPE - {"image/gif"}, max_bytes=_raw(18_000_000)),
        total_bytes=_raw(18_000_000),
        default_model="gemini-3.5-flash-lite",
        text_only=re.compile(
            r"text-|chat-bison|(gemini-)?embedding|gemini-pro$|gemini-1\.0-pro(?!-vision)|gemma-2|aqa$|gemini-.*-tts"
        ),
    ),
    # Whatever stands there speaks OpenAI's format; it tells itself what else it cannot read.
    "openai_compatible": _Vision(
        limits=msgspec.structs.replace(_OPENAI, provider="The OpenAI-compatible server"), total_bytes=_raw(48_000_000)
    ),
}


def image_limits(provider: str, model: str, images: int = 1) -> ImageLimits:
    """Return what the provider takes of each image in a request that has ``images`` of them.

    Raises NoVisionError, which names a model that reads images, where the provider or the model is known not to. A model that is
    not known is let through.
    """
    vision = _VISION.get(provider)
    if vision is None:
        raise NoVisionError(
            f"{'The model in the box' if provider == 'local' else provider} reads no images; "
            f"ask one that does, such as '{_VISION['openai'].default_model}' of the provider 'openai'."
        )
    name = model.lower().removeprefix("models/").removeprefix("ft:")
    if vision.text_only is not None and vision.text_only.match(name):
        raise NoVisionError(
            f"The model '{model}' reads no images; ask one that does, such as "
            f"'{vision.default_model}' of the provider '{provider}'."
        )
    return _shared(vision, images)


def default_vision_model(provider: str) -> str | None:
    """Return a small current model of the provider that reads images; None where there is none to name."""
    vision = _VISION.get(provider)
    return vision.default_model if vision is not None else None


def _shared(vision: _Vision, images: int) -> ImageLimits:
    limits = vision.limits
    # By powers of two: with every further image the earlier ones would change, and with them the provider's prompt cache.
    share = vision.total_bytes >> max(images - 1, 0).bit_length()
    if share < limits.max_bytes:
        limits = msgspec.structs.replace(limits, max_bytes=share)
    if vision.many is not None and images > vision.many:
        limits = msgspec.structs.replace(limits, max_side=vision.side_of_many)
    return limits
