"""The providers, as data: which wire format they speak, how they are addressed and how they are told who asks."""

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import Codec
from rini.wire.gemini import GEMINI
from rini.wire.openai_chat import OPENAI_CHAT, OPENAI_COMPATIBLE_CHAT

ANTHROPIC_VERSION = "2023-06-01"

ProviderName = Literal["openai", "anthropic", "google", "openai_compatible", "local"]


class Provider(msgspec.Struct, frozen=True):
    """One provider.

    ``authenticate`` returns the headers that carry a key. ``key`` says whether a user's key is needed, and ``address`` where
    the provider stands: the operator's setting, the key's ``base_url``, or this machine.
    """

    name: ProviderName
    label: str
    codec: Codec
    authenticate: Callable[[str], Mapping[str, str]]
    address: Literal["setting", "key", "local"]

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


PROVIDERS: Mapping[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider("openai", "OpenAI", OPENAI_CHAT, _bearer, "setting"),
        Provider("anthropic", "Anthropic", ANTHROPIC, _anthropic, "setting"),
        Provider("google", "Google", GEMINI, _google, "setting"),
        Provider("openai_compatible", "The OpenAI-compatible server", OPENAI_COMPATIBLE_CHAT, _bearer, "key"),
        Provider("local", "The model in the box", OPENAI_COMPATIBLE_CHAT, _bearer, "local"),
    )
}
