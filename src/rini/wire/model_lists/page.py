"""What a list's codec offers, and the part of a list that a client asks for."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from rini.canon import ModelInfo


class ModelPage(msgspec.Struct, frozen=True):
    """Some models of a list. ``following`` is what the next page is asked for with; ``None`` at the end."""

    models: tuple[ModelInfo, ...]
    following: str | None = None


class ModelListCodec(Protocol):
    """How a provider lists its models."""

    def list_path(self, following: str | None = None) -> str:
        """Return the path and query of a page below the provider's base address, with a leading slash."""
        ...

    def decode_list(self, body: bytes, provider: str) -> ModelPage:
        """Return a page. Raises MalformedError where there is no list.

        What is said of a model in another form than expected counts as not said; one without a usable id is left out.
        """
        ...

    def model_path(self, model: str) -> str:
        """Return the path of one model below the provider's base address."""
        ...

    def decode_model(self, body: bytes, provider: str) -> ModelInfo:
        """Return the model in ``body``. Raises MalformedError."""
        ...


class Excerpt(msgspec.Struct, frozen=True):
    """A part of a list, and whether there is more before and behind it."""

    models: Sequence[ModelInfo]
    more_before: bool
    more_behind: bool


def excerpt(
    models: Sequence[ModelInfo], limit: int, *, after: str | None = None, before: str | None = None
) -> Excerpt | None:
    """Return up to ``limit`` models behind the one with the id ``after``, or right before ``before``, or the first ones.

    ``None`` says that the list has no such id.
    """
    named = after if after is not None else before
    place = -1
    if named is not None:
        place = next((at for at, model in enumerate(models) if model.id == named), -1)
        if place < 0:
            return None
    if before is not None and after is None:
        start, end = max(0, place - limit), place
    else:
        start, end = place + 1, place + 1 + limit
    return Excerpt(models[start:end], start > 0, end < len(models))
