"""The providers, as data: which wire format they speak, how they are addressed and how they are told who asks."""

import re
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from rini.canon import VectorEncoding
from rini.errors import InvalidRequestError
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import Codec
from rini.wire.embedding_codec import EmbeddingCodec
from rini.wire.gemini import GEMINI
from rini.wire.gemini_embeddings import GEMINI_EMBEDDINGS
from rini.wire.openai_chat import OPENAI_CHAT, OPENAI_COMPATIBLE_CHAT
from rini.wire.openai_embeddings import OPENAI_EMBEDDINGS
from rini.wire.openai_responses import OPENAI_RESPONSES
from rini.wire.token_counts import ANTHROPIC_COUNTS, GEMINI_COUNTS, LLAMA_COUNTS, OPENAI_COUNTS, TokenCountCodec

ANTHROPIC_VERSION = "2023-06-01"

ProviderName = Literal["openai", "anthropic", "google", "openai_compatible", "local"]

# developers.openai.com/api/docs/models, "Endpoints" of each model, November 2026: these have no chat completions.
_ONLY_RESPONSES = re.compile(
    r"(ft:)?(o[13]-pro|gpt-5(\.\d)?-pro|gpt-5(\.\d)?-codex|codex-|computer-use-|o[34].*-deep-research)"
)


class EmbeddingCall(msgspec.Struct, frozen=True):
    """How a provider is asked for embeddings: at most ``most_inputs`` in a request, of about ``most_tokens`` together.

    ``encoding`` is the form in which it is asked for the numbers.
    """

    codec: EmbeddingCodec
    most_inputs: int
    most_tokens: int | None = None
    encoding: VectorEncoding = "float"


class Provider(msgspec.Struct, frozen=True):
    """One provider.

    ``codec`` is what it is asked in; ``others`` are further wire formats that it speaks, for clients that speak them too.
    ``authenticate`` returns the headers that carry a key. ``key`` says whether a user's key is needed, and ``address`` where
    the provider stands: the operator's setting, the key's ``base_url``, or this machine. ``embedding`` is None where it has no
    embeddings, and where they are made in this process. ``counts`` is its call that counts tokens, None where it has none.
    """

    name: ProviderName
    label: str
    codec: Codec
    authenticate: Callable[[str], Mapping[str, str]]
    address: Literal["setting", "key", "local"]
    embedding: EmbeddingCall | None = None
    others: tuple[Codec, ...] = ()
    counts: TokenCountCodec | None = None

    def codec_for(self, wire: str | None, model: str) -> Codec:
        """Return the codec in which a client of the format ``wire`` is best served: its own where the provider speaks it.

        A model that is only to be had in another format than the provider's usual one is asked in that.
        """
        for codec in self.others:
            if codec.name == wire or (codec.name == OPENAI_RESPONSES.name and _ONLY_RESPONSES.match(model)):
                return codec
        return self.codec

    @property
    def needs_key(self) -> bool:
        """Whether a user must store a key first."""
        return self.address != "local"


def _bearer(key: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def _anthropic(key: str) -> Mapping[str, str]:
    return {"x-api-key": key, "anthropic-version": ANTHROPIC_VERSION}


def _google(key: str) -> Mapping[str, str]:
    return {"x-goog-api-key": key}


# OpenAI takes 300,000 tokens in a request ("Create embeddings", August 2026); an estimate may be off by half. In base64 an answer
# has a quarter of the bytes.
_OPENAI = EmbeddingCall(OPENAI_EMBEDDINGS, most_inputs=2048, most_tokens=150_000, encoding="base64")
_GOOGLE = EmbeddingCall(GEMINI_EMBEDDINGS, most_inputs=100)
# As many as text-embeddings-inference takes by default. A server that takes fewer says so, and gets them in halves.
_COMPATIBLE = EmbeddingCall(OPENAI_EMBEDDINGS, most_inputs=32)

PROVIDERS: Mapping[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            "openai", "OpenAI", OPENAI_CHAT, _bearer, "setting", _OPENAI, (OPENAI_RESPONSES,), counts=OPENAI_COUNTS
        ),
        Provider("anthropic", "Anthropic", ANTHROPIC, _anthropic, "setting", counts=ANTHROPIC_COUNTS),
        Provider("google", "Google", GEMINI, _google, "setting", _GOOGLE, counts=GEMINI_COUNTS),
        Provider(
            "openai_compatible", "The OpenAI-compatible server", OPENAI_COMPATIBLE_CHAT, _bearer, "key", _COMPATIBLE
        ),
        Provider("local", "The model in the box", OPENAI_COMPATIBLE_CHAT, _bearer, "local", counts=LLAMA_COUNTS),
    )
}


def provider_named(name: str) -> Provider:
    """Return the provider of a name. Raises InvalidRequestError for an unknown one."""
    provider = PROVIDERS.get(name)
    if provider is None:
        raise InvalidRequestError(f"provider: '{name}' is not known; it must be one of {', '.join(PROVIDERS)}.")
    return provider
