"""Texts to vectors."""

from array import array
from typing import Literal, TypeAlias

import msgspec

from rini.canon.extras import Extras
from rini.canon.usage import Usage

Vector: TypeAlias = "array[float]"
"""One embedding: typecode ``d`` where its numbers came as JSON, ``f`` where they came as 32-bit floats."""

EmbeddingInput: TypeAlias = str | tuple[int, ...]
"""A text, or its tokens in the model's own vocabulary."""

VectorEncoding: TypeAlias = Literal["float", "base64"]


class EmbeddingRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be embedded. Without ``dimensions`` the vectors have as many as the model makes.

    ``encoding`` is how the answer's numbers are written: as JSON numbers, or in base64 as little-endian 32-bit floats.
    """

    model: str
    inputs: tuple[EmbeddingInput, ...]
    dimensions: int | None = None
    encoding: VectorEncoding = "float"
    extras: Extras | None = None


class EmbeddingReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The vectors, in the order of the inputs. ``model`` and ``usage`` are None where the provider did not say."""

    vectors: tuple[Vector, ...]
    model: str | None = None
    usage: Usage | None = None
    extras: Extras | None = None
