"""The providers' list prices, from the data that genai-prices carries. Nothing is fetched.

Importing this takes 70 ms and 7 MB (the data of 49 providers, and genai-prices' own HTTP client), hence ``prices`` imports it late.
The package's own calculation takes 75 µs a call and remembers every model name it was ever asked for: only its data is used.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices, TimeOfDateConstraint

from rini.usage.rates import Rates, TokenClass, rates

_CLASSES: Mapping[str, tuple[TokenClass, int]] = {
    "input_mtok": ("input", -6),
    "cache_read_mtok": ("cache_read", -6),
    "cache_write_mtok": ("cache_write", -6),
    "cache_write_1h_mtok": ("cache_write_1h", -6),
    "input_audio_mtok": ("input_audio", -6),
    "cache_audio_read_mtok": ("cache_audio_read", -6),
    "input_image_mtok": ("input_image", -6),
    "input_video_mtok": ("input_video", -6),
    "output_mtok": ("output", -6),
    "output_reasoning_mtok": ("reasoning", -6),
    "output_audio_mtok": ("output_audio", -6),
    "output_image_mtok": ("output_image", -6),
    "output_video_mtok": ("output_video", -6),
    "web_searches_kcount": ("web_search", -3),
}
"""genai-prices' keys: the class, and the power of ten that its price is for."""

_NOT_IN_USAGE = frozenset(
    {"storage_searches_kcount", "social_searches_kcount", "code_executions_kcount", "rerank_searches_kcount"}
)
"""Charged besides tokens, and in no provider's usage."""

# The date of a snapshot (-2025-09-29, -20250929) and the number of a Gemini version (-001).
_VERSION = re.compile(r"-(?:20\d\d-?[01]\d-?[0-3]\d|\d{3})\Z")


class ListModel:
    """One model of a provider's list, whatever the day and the service tier."""

    def __init__(self, info: ModelInfo) -> None:
        self._info = info
        self.id = info.id
        self.label = info.name
        """Its name for people, if the list has one."""
        self.context_tokens = info.context_window
        conditions = [price.constraint for price in info.prices] if isinstance(info.prices, list) else []
        conditions += [variant.constraint for variant in info.price_variants or ()]
        self.hourly = any(isinstance(condition, TimeOfDateConstraint) for condition in conditions)
        """Whether the price changes within a day; otherwise it changes at midnight UTC, if at all."""

    def rates(self, at: date | datetime, tier: str | None) -> Rates | None:
        """Return the rates at ``at`` (a day stands for all its hours); ``None`` where tokens alone do not tell the price.

        ``tier`` is the provider's word for how it served the call (default, flex, priority, batch, fast).
        """
        moment = at if isinstance(at, datetime) else datetime(at.year, at.month, at.day, tzinfo=UTC)
        # Each list says under one of these names what its providers call a tier; the words do not overlap.
        context = {"service_tier": tier, "processing": tier, "speed": tier} if tier else None
        return _rates(self._info.id, self._info.get_prices(moment, context))


def find_model(provider: str, model: str) -> ListModel | None:
    """Return the list's entry for ``model`` as ``provider`` names it, a snapshot's date or version left out where need be."""
    info = _find(provider, model)
    if info is None and (undated := _VERSION.sub("", model)) != model:
        info = _find(provider, undated)
    return ListModel(info) if info else None


def _find(provider: str, model: str) -> ModelInfo | None:
    found = _PROVIDERS.get(provider)
    return found.find_model(model) if found else None


def _rates(model: str, price: ModelPrice) -> Rates | None:
    found: dict[TokenClass, Decimal | TieredPrices] = {}
    powers: dict[TokenClass, int] = {}
    prices: Mapping[str, Decimal | TieredPrices | None] = vars(price)
    for key, value in prices.items():
        if value is None or key in _NOT_IN_USAGE:
            continue
        if key not in _CLASSES:
            return None
        name, power = _CLASSES[key]
        found[name] = value
        powers[name] = power
    if not found:
        return None
    thresholds = {-1} | {
        tier.start for value in found.values() if isinstance(value, TieredPrices) for tier in value.tiers
    }
    return rates(
        model,
        {
            threshold: {name: _above(value, threshold).scaleb(powers[name]) for name, value in found.items()}
            for threshold in thresholds
        },
    )


def _above(price: Decimal | TieredPrices, threshold: int) -> Decimal:
    """Return the price of a call with more input tokens than ``threshold``."""
    if isinstance(price, Decimal):
        return price
    return next((tier.price for tier in reversed(price.tiers) if tier.start <= threshold), price.base)


_PROVIDERS: Mapping[str, Provider] = {provider.id: provider for provider in get_snapshot().providers}
