"""What one model's tokens cost, and the arithmetic from a call's usage to exact USD."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, TypeVar

import msgspec

from rini import canon

TokenClass = Literal[
    "input",  # read, and in no other class
    "cache_read",
    "cache_write",  # for the provider's default lifetime (Anthropic: 5 minutes)
    "cache_write_1h",
    "input_audio",
    "cache_audio_read",
    "input_image",
    "input_video",
    "output",  # written, and in no other class
    "reasoning",
    "output_audio",
    "output_image",
    "output_video",
    "web_search",  # not tokens: searches that the provider ran and charges one by one
]

FALLBACK: Mapping[TokenClass, tuple[TokenClass, ...]] = {
    "cache_read": ("input",),
    "cache_write": ("input",),
    "cache_write_1h": ("cache_write", "input"),
    "input_audio": ("input",),
    "cache_audio_read": ("cache_read", "input_audio", "input"),
    "input_image": ("input",),
    "input_video": ("input",),
    "reasoning": ("output",),
    "output_audio": ("output",),
    "output_image": ("output",),
    "output_video": ("output",),
}
"""The classes whose price holds for a class that has none of its own, nearest first."""

_T = TypeVar("_T")
_BY_SIGHT: tuple[TokenClass, ...] = ("input_image", "input_video", "output_image", "output_video")


class UnpriceableError(ValueError):
    """The usage holds something that the rates have no price for. The message is one sentence."""


class Rates(msgspec.Struct, frozen=True):
    """What ``model`` costs: USD for one token (or one search), by class.

    ``steps`` are (threshold, prices), the highest threshold first and -1 last: the first whose threshold is below the
    call's input tokens holds for the whole call. ``by_sight`` says that images or video have prices of their own.
    """

    model: str
    steps: tuple[tuple[int, Mapping[TokenClass, Decimal]], ...]
    by_sight: bool

    def cost(self, usage: canon.Usage) -> dict[TokenClass, Decimal]:
        """Return USD by class, the classes without tokens left out; their sum is the call's price. Raises UnpriceableError."""
        input_tokens, counts = _disjoint(usage)
        if self.by_sight:
            _split_by_sight(usage, counts)
        prices = next(prices for threshold, prices in self.steps if input_tokens > threshold)
        costs: dict[TokenClass, Decimal] = {}
        for name, count in counts.items():
            if count:
                price = prices.get(name)
                if price is None:
                    raise UnpriceableError(f"{self.model} has no price for {name}.")
                costs[name] = price * count
        return costs


def rates(model: str, steps: Mapping[int, Mapping[TokenClass, Decimal]]) -> Rates:
    """Return the rates of ``model`` from USD per token by threshold, with FALLBACK filled in."""
    filled: list[tuple[int, Mapping[TokenClass, Decimal]]] = []
    for threshold in sorted(steps, reverse=True):
        given = steps[threshold]
        prices: dict[TokenClass, Decimal] = dict(given)
        for name, others in FALLBACK.items():
            if name not in given:
                found = next((given[other] for other in others if other in given), None)
                if found is not None:
                    prices[name] = found
        filled.append((threshold, prices))
    by_sight = any(
        name in given and given[name] != given.get(FALLBACK[name][0]) for given in steps.values() for name in _BY_SIGHT
    )
    return Rates(model, tuple(filled), by_sight)


def _disjoint(usage: canon.Usage) -> tuple[int, dict[TokenClass, int]]:
    """Return the input tokens and the tokens of each class, none counted twice.

    Some servers report a share that is larger than its total (or no total at all): the share then stands.
    """
    audio_read = _count(usage.cache_audio_read_tokens)
    read = _count(usage.cache_read_tokens, audio_read)
    audio = _count(usage.input_audio_tokens, audio_read)
    write_1h = _count(usage.cache_write_1h_tokens)
    write = _count(usage.cache_write_tokens, write_1h)
    shares = audio_read + read + audio + write_1h + write
    rest = _count(usage.input_tokens, shares)
    reasoning = _count(usage.reasoning_tokens)
    spoken = _count(usage.output_audio_tokens)
    counts: dict[TokenClass, int] = {
        "input": rest,
        "cache_read": read,
        "cache_write": write,
        "cache_write_1h": write_1h,
        "input_audio": audio,
        "cache_audio_read": audio_read,
        "output": _count(usage.output_tokens, reasoning + spoken),
        "reasoning": reasoning,
        "output_audio": spoken,
    }
    if usage.extras is not None and (searches := _web_searches(usage)):
        counts["web_search"] = searches
    return rest + shares, counts


def _count(total: int | None, without: int = 0) -> int:
    """Return the tokens of ``total`` besides ``without``. Never negative, whatever a server reports: it would lower a bill."""
    return total - without if total and total > without else 0


class _Tools(msgspec.Struct):
    web_search_requests: int = 0


class _Detail(msgspec.Struct, rename="camel"):
    modality: str = ""
    token_count: int = 0


def _web_searches(usage: canon.Usage) -> int:
    """Anthropic reports its searches within the usage: ``server_tool_use.web_search_requests``."""
    found = _reported(usage, "server_tool_use", _Tools)
    return _count(found.web_search_requests) if found else 0


def _split_by_sight(usage: canon.Usage, counts: dict[TokenClass, int]) -> None:
    """Move the tokens of images and video out of ``input`` and ``output``, as Gemini's usageMetadata reports them.

    Documents count as images (their pages are read as such).
    """
    read = _reported(usage, "promptTokensDetails", list[_Detail])
    written = _reported(usage, "candidatesTokensDetails", list[_Detail])
    if read is None and written is None:
        raise UnpriceableError("The model charges images apart, and the usage does not tell them from text.")
    _move(read or [], counts, "input", "input_image", "input_video")
    _move(written or [], counts, "output", "output_image", "output_video")


def _move(
    details: list[_Detail], counts: dict[TokenClass, int], rest: TokenClass, image: TokenClass, video: TokenClass
) -> None:
    for detail in details:
        name = image if detail.modality in ("IMAGE", "DOCUMENT") else video if detail.modality == "VIDEO" else None
        if name is not None:
            moved = min(_count(detail.token_count), counts[rest])
            counts[name] = counts.get(name, 0) + moved
            counts[rest] -= moved


def _reported(usage: canon.Usage, field: str, kind: type[_T]) -> _T | None:
    """Return what a provider reported besides canon's classes; ``None`` where it did not, or not in this form."""
    for fields in (usage.extras or {}).values():
        if field in fields:
            try:
                return msgspec.convert(fields[field], kind)
            except msgspec.ValidationError:
                return None
    return None
