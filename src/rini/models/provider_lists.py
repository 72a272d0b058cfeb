"""Asking a provider for its models."""

import asyncio
from collections.abc import Mapping

import msgspec

from rini.canon import ModelInfo
from rini.errors import ModelNotFoundError, ProviderError, ProviderTimeoutError
from rini.inference.target import Target
from rini.kit.http import Timeouts, Transport, TransportError
from rini.providers.failures import failure_error, malformed_error, redirect_error, transport_error
from rini.wire.codec import MalformedError
from rini.wire.model_lists import ANTHROPIC_MODELS, GEMINI_MODELS, OPENAI_MODELS, ModelListCodec

SECONDS = 5.0
"""How long a provider has for all pages of its list."""

MOST_PAGES = 20
MOST_MODELS = 5000
MOST_BYTES = 4 * 1024 * 1024
"""Of all pages together. The longest list known has 600 KB."""

LISTS: Mapping[str, ModelListCodec] = {
    "openai": OPENAI_MODELS,
    "anthropic": ANTHROPIC_MODELS,
    "google": GEMINI_MODELS,
    "openai_compatible": OPENAI_MODELS,
}
"""The providers that list their models, and how."""

_MODEL_BYTES = 1000
"""What a model takes besides its texts."""

_TIMEOUTS = Timeouts(SECONDS, SECONDS, SECONDS)


class Fetched(msgspec.Struct, frozen=True):
    """A provider's models under its own names, each once, and about how many bytes they take to keep."""

    models: tuple[ModelInfo, ...]
    size: int


async def fetch_list(transport: Transport, target: Target) -> Fetched:
    """Return what the provider lists. Pages are followed as far as the limits above go. Raises RiniError."""
    provider = target.provider
    codec = LISTS[provider.name]
    found: dict[str, ModelInfo] = {}
    size = 0
    following: str | None = None
    try:
        async with asyncio.timeout(SECONDS):
            for _ in range(MOST_PAGES):
                body = await _get(transport, target, codec.list_path(following), "", MOST_BYTES - size)
                size += len(body)
                # In a thread: what a server sends may take a while to read.
                page = await asyncio.to_thread(codec.decode_list, body, provider.name)
                for model in page.models[: MOST_MODELS - len(found)]:
                    found.setdefault(model.id, model)
                if page.following in (None, following) or len(found) >= MOST_MODELS or size >= MOST_BYTES:
                    break
                following = page.following
    except TimeoutError:
        raise ProviderTimeoutError(
            f"{provider.label} did not list its models within {SECONDS:g} seconds.", provider=provider.name
        ) from None
    except MalformedError as error:
        raise malformed_error(str(error), provider) from error
    return Fetched(tuple(found.values()), size + _MODEL_BYTES * len(found))


async def fetch_model(transport: Transport, target: Target, model: str) -> ModelInfo:
    """Return what the provider says of one model, whose name there may be another. Raises RiniError, ModelNotFoundError among them."""
    provider = target.provider
    codec = LISTS[provider.name]
    unknown = ModelNotFoundError(
        f"{provider.label} does not know the model '{model}'.", provider=provider.name, model=model
    )
    try:
        return codec.decode_model(
            await _get(transport, target, codec.model_path(model), model, MOST_BYTES), provider.name
        )
    except MalformedError:
        raise unknown from None
    except ProviderError as error:
        # However the answer is worded: this path is there for the model alone.
        if error.fields.get("provider_status") == 404:
            raise unknown from None
        raise


async def _get(transport: Transport, target: Target, path: str, model: str, most: int) -> bytes:
    provider = target.provider
    try:
        response = await transport.get(
            target.base_url + path, target.headers, trusted=target.trusted, timeouts=_TIMEOUTS, max_bytes=most
        )
    except TransportError as error:
        raise transport_error(error, provider) from error
    if 200 <= response.status < 300:
        return response.body
    if 300 <= response.status < 400:
        raise redirect_error(response.status, provider)
    failure = provider.codec.decode_failure(response.status, response.headers, response.body)
    raise failure_error(failure, provider, model, target.key)
