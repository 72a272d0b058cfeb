"""What is known of a model."""

from decimal import Decimal

import msgspec

from rini.canon.extras import Extras


class Capabilities(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model can do; ``None``: not known.

    ``vision`` and ``pdf`` are what it reads, ``audio`` whether it hears or speaks. ``embeddings``: it makes vectors rather than
    texts.
    """

    vision: bool | None = None
    pdf: bool | None = None
    tools: bool | None = None
    thinking: bool | None = None
    structured_output: bool | None = None
    embeddings: bool | None = None
    audio: bool | None = None


class ModelPrices(msgspec.Struct, frozen=True, omit_defaults=True):
    """USD for a million tokens, at the provider's usual tier and for short inputs; ``None``: not known."""

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None


class ModelInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model of a list; everything but its ``id`` and ``provider`` may be unknown.

    ``created`` is in seconds since 1970. ``context_tokens`` is what it reads in a request, ``max_output_tokens`` what it writes at
    most.
    """

    id: str
    provider: str
    display_name: str | None = None
    created: int | None = None
    owned_by: str | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: Capabilities = Capabilities()
    prices: ModelPrices = ModelPrices()
    extras: Extras | None = None
