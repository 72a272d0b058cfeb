"""One request for embeddings while it is worked on, and what it has cost so far."""

from typing import Protocol

import msgspec

from rini.canon import Usage, Vector
from rini.errors import EmbeddingInputError
from rini.inference.estimate import text_tokens
from rini.inference.target import Target
from rini.kit.http import Response
from rini.providers.local import EMBEDDING_MODEL_ID, LocalEmbedder, TextTooLongError


class Spent(msgspec.Struct, frozen=True):
    """Tokens that were read; ``estimated`` where not all of them were counted. ``usage`` is how the provider told of them, if it is known."""

    tokens: int
    estimated: bool
    usage: Usage | None = None


class EmbeddingWork(Protocol):
    """What makes the vectors of one request."""

    @property
    def target(self) -> Target:
        """Where the request goes."""
        ...

    @property
    def vectors(self) -> list[Vector]:
        """All vectors, in order, once it has run."""
        ...

    @property
    def model(self) -> str | None:
        """The model that answered, as it calls itself."""
        ...

    @property
    def answer(self) -> Response | None:
        """The provider's own answer, where the client speaks its format; then there are no vectors."""
        ...

    @property
    def answered(self) -> bool:
        """Whether something of the answer came."""
        ...

    async def run(self) -> None:
        """Make all vectors. Raises RiniError."""
        ...

    def spent(self, *, broke_off: bool) -> Spent:
        """Return what was read; where the request ``broke_off``, what was under way too, by estimate."""
        ...


class LocalWork:
    """Embedding with the model in the box."""

    def __init__(self, target: Target, texts: list[str], embedder: LocalEmbedder) -> None:
        self.target = target
        self.vectors: list[Vector] = []
        self.model: str | None = EMBEDDING_MODEL_ID
        self.answer: Response | None = None
        self.answered = False
        self._texts = texts
        self._embedder = embedder
        self._tokens: int | None = None

    async def run(self) -> None:
        """Make all vectors. Raises EmbeddingInputError for a text that is too long."""
        try:
            self.vectors, self._tokens = await self._embedder.embed(self._texts)
        except TextTooLongError as error:
            raise EmbeddingInputError(
                f"input[{error.index}]: is too long for the model '{EMBEDDING_MODEL_ID}': {error}.",
                index=error.index,
                estimated_tokens=error.tokens or text_tokens(self._texts[error.index]),
            ) from None

    def spent(self, *, broke_off: bool) -> Spent:
        """Return the tokens of the texts: counted by the model once it has run."""
        del broke_off
        if self._tokens is None:
            return Spent(sum(map(text_tokens, self._texts)), estimated=True)
        return Spent(self._tokens, estimated=False)
