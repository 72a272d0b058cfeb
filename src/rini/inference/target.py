"""Where a call goes: a provider, an address, a key."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from rini.accounts.key_cache import KeyCache
from rini.errors import LocalModelError, ModelNotFoundError
from rini.providers.catalog import Provider, provider_named
from rini.providers.local import LocalModel, LocalModelUnavailableError
from rini.wire.codec import Codec


class Target(msgspec.Struct, frozen=True):
    """Everything that a call needs to know of the other side. ``trusted`` addresses are the operator's own.

    ``codec`` is the wire format of the call. ``key`` is in ``headers`` too, in the provider's own form.

    ``revive`` brings a target that cannot be reached back to life, where that can be done: the model in the box.
    ``retries`` is how often a call that it did not begin to answer is repeated. ``tools`` says whether its models call any.
    """

    provider: Provider
    codec: Codec
    base_url: str
    headers: Mapping[str, str]
    key_id: int | None
    trusted: bool
    key: str = ""
    revive: "Callable[[], Awaitable[Target]] | None" = None
    retries: int = 0
    tools: bool = True

    def __repr__(self) -> str:
        return f"Target({self.provider.name}, key_id={self.key_id})"


class Router:
    """Finds the target of a call. ``retries`` is what each provider's target gets; the model in the box is revived instead."""

    def __init__(
        self, keys: KeyCache, addresses: Mapping[str, str], local_model: LocalModel | None, retries: int = 0
    ) -> None:
        self._retries = retries
        self._keys = keys
        self._addresses = addresses
        self._local_model = local_model

    async def target(
        self, user_id: int, provider_name: str, model: str, key_id: int | None = None, wire: str | None = None
    ) -> Target:
        """Return where ``user_id``'s call of a provider's model goes. ``wire`` is the client's own format, if it speaks one.

        Raises InvalidRequestError for an unknown provider, ProviderKeyMissingError without a key, LocalModelError when the
        model in the box is not to be had, ModelNotFoundError when it has another name.
        """
        provider = provider_named(provider_name)
        if provider.address == "local":
            return await self._local(provider, model)
        key = await self._keys.open(user_id, provider.name, key_id)
        return Target(
            provider=provider,
            codec=provider.codec_for(wire, model),
            base_url=key.base_url or self._addresses[provider.name],
            headers={**provider.authenticate(key.value), "content-type": "application/json"},
            key_id=key.id,
            key=key.value,
            trusted=key.base_url is None,
            retries=self._retries,
        )

    async def _local(self, provider: Provider, name: str) -> Target:
        model = self._local_model
        if model is None:
            raise LocalModelError("The model in the box is switched off (RINI_LOCAL_MODEL=off).")
        if name != model.model_id:
            raise ModelNotFoundError(
                f"The model in the box is '{model.model_id}'; there is no '{name}'.", provider=provider.name, model=name
            )
        try:
            endpoint = await model.ensure_started()
        except LocalModelUnavailableError as error:
            raise LocalModelError(str(error)) from None

        async def revive() -> Target:
            await model.endpoint_failed(endpoint)
            return await self._local(provider, name)

        return Target(
            provider=provider,
            codec=provider.codec,
            base_url=endpoint.base_url,
            headers={**provider.authenticate(endpoint.api_key), "content-type": "application/json"},
            key_id=None,
            trusted=True,
            revive=revive,
            tools=endpoint.tools,
        )
