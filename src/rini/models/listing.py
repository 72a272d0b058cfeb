"""The models that a user can reach: of the providers that the user has keys of, in the box, and by alias."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from rini.canon import ModelInfo
from rini.errors import KeyUnreadableError, ModelNotFoundError, ProviderKeyMissingError, RiniError
from rini.inference.target import Router, Target
from rini.inference.window import Windows
from rini.kit.http import Transport
from rini.models.details import described
from rini.models.naming import ModelName, ModelNames
from rini.models.provider_lists import LISTS, fetch_list, fetch_model
from rini.telemetry.logs import get_logger
from rini.usage.prices import Prices

KEPT_SECONDS = 300.0
"""How long a provider's list is kept."""

FAILURE_KEPT_SECONDS = 30.0
"""How long it is not asked again after it failed. What it listed last goes on."""

MAX_KEPT_BYTES = 64 * 1024 * 1024
MAX_KEPT = 10_000

ALIAS_OWNER = "alias"

MayCall = Callable[[str, str], bool]
"""Whether a provider's model, by the provider's own name, may be called."""

_Key = tuple[int, str, int | None]

_log = get_logger(__name__)


class _Kept(msgspec.Struct):
    """What a provider listed last for a key, in about ``size`` bytes."""

    until: float
    models: tuple[ModelInfo, ...]
    size: int


def _all(_provider: str, _model: str) -> bool:
    return True


class Listing:
    """Lists models. To be closed before ``transport`` is.

    A list belongs to a user's key, so another key gets another list at once. ``boxed`` are the models in the box.
    """

    def __init__(
        self,
        router: Router,
        transport: Transport,
        names: ModelNames,
        prices: Prices,
        windows: Windows,
        boxed: tuple[ModelInfo, ...] = (),
    ) -> None:
        self._router = router
        self._transport = transport
        self._names = names
        self._prices = prices
        self._windows = windows
        self._boxed = boxed
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._kept_bytes = 0
        self._asking: dict[_Key, asyncio.Task[tuple[ModelInfo, ...]]] = {}

    def close(self) -> None:
        """Ask no further."""
        for task in self._asking.values():
            task.cancel()

    async def of(self, user_id: int, may_call: MayCall = _all) -> tuple[ModelInfo, ...]:
        """Return the models that the user can reach and ``may_call`` lets pass, each with the id ``provider/model``.

        First the providers' in the catalogue's order, then those in the box, then the user's aliases, whose id is the alias. A
        provider that fails is left out, or listed as it was last.
        """
        by_provider = await asyncio.gather(*(self._of_provider(user_id, provider) for provider in LISTS))
        models = [model for listed in (*by_provider, self._boxed) for model in listed if may_call(*_named(model))]
        by_id = {model.id: model for model in models}
        for alias, target in (await self._names.aliases(user_id)).items():
            if may_call(target.provider, target.model):
                models.append(_as_alias(alias, target, by_id.get(str(target))))
        return tuple(models)

    async def one(self, user_id: int, name: str, may_call: MayCall = _all) -> ModelInfo:
        """Return the model that ``name`` means for the user, by ``ModelNames.resolve``.

        What the list does not hold its provider is asked for. Raises ModelNotFoundError for what the user cannot reach, and
        RiniError where the provider fails.
        """
        target = await self._names.resolve(user_id, name)
        if not may_call(target.provider, target.model):
            raise _not_found(target)
        found = await self._find(user_id, target)
        alias = name.removeprefix("models/")
        return _as_alias(alias, target, found) if alias in await self._names.aliases(user_id) else found

    async def _find(self, user_id: int, name: ModelName) -> ModelInfo:
        listed = self._boxed if name.provider not in LISTS else await self._of_provider(user_id, name.provider)
        wanted = str(name)
        found = next((model for model in listed if model.id == wanted), None)
        if found is not None:
            return found
        if name.provider not in LISTS:
            raise _not_found(name)
        try:
            target = await self._router.target(user_id, name.provider, name.model)
        except ProviderKeyMissingError as error:
            raise ModelNotFoundError(error.detail, provider=name.provider, model=name.model) from None
        return described(await fetch_model(self._transport, target, name.model), self._prices, self._windows)

    async def _of_provider(self, user_id: int, provider: str) -> tuple[ModelInfo, ...]:
        try:
            target = await self._router.target(user_id, provider, "")
        except ProviderKeyMissingError:
            return ()
        except KeyUnreadableError as error:
            _log.warning("models_not_listed", provider=provider, user_id=user_id, code=error.code)
            return ()
        key = (user_id, provider, target.key_id)
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() < kept.until:
            self._kept.move_to_end(key)
            return kept.models
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key, target), name="list a provider's models")
            task.add_done_callback(lambda task: self._asked(key, task))
        # Whoever leaves must not take the answer from the others.
        return await asyncio.shield(task)

    def _asked(self, key: _Key, task: asyncio.Task[tuple[ModelInfo, ...]]) -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # told to whoever asked, unless all of them left

    async def _ask(self, key: _Key, target: Target) -> tuple[ModelInfo, ...]:
        try:
            fetched = await fetch_list(self._transport, target)
        except RiniError as error:
            user_id, provider, key_id = key
            status = error.fields.get("provider_status")
            _log.warning(
                "models_not_listed", provider=provider, user_id=user_id, key_id=key_id, code=error.code, status=status
            )
            before = self._kept.get(key) or _Kept(0, (), 0)
            self._keep(key, _Kept(time.monotonic() + FAILURE_KEPT_SECONDS, before.models, before.size))
            return before.models
        user_id, provider, key_id = key
        tokens = {model.id: model.context_tokens for model in fetched.models if model.context_tokens is not None}
        self._windows.listed(user_id, provider, key_id, tokens)
        # In a thread: a model's prices take up to 0.1 ms to find.
        models = await asyncio.to_thread(self._described, fetched.models)
        self._keep(key, _Kept(time.monotonic() + KEPT_SECONDS, models, fetched.size))
        return models

    def _described(self, models: tuple[ModelInfo, ...]) -> tuple[ModelInfo, ...]:
        return tuple(described(model, self._prices, self._windows) for model in models)

    def _keep(self, key: _Key, found: _Kept) -> None:
        former = self._kept.pop(key, None)
        self._kept_bytes += found.size - (0 if former is None else former.size)
        self._kept[key] = found
        while len(self._kept) > 1 and (self._kept_bytes > MAX_KEPT_BYTES or len(self._kept) > MAX_KEPT):
            self._kept_bytes -= self._kept.popitem(last=False)[1].size


def _named(model: ModelInfo) -> tuple[str, str]:
    return model.provider, model.id[len(model.provider) + 1 :]


def _as_alias(alias: str, target: ModelName, model: ModelInfo | None) -> ModelInfo:
    """Return the alias as a model of its own, with what is known of the one that it means."""
    model = model or ModelInfo(id="", provider=target.provider)
    return msgspec.structs.replace(model, id=alias, display_name=f"{alias} ({target})", owned_by=ALIAS_OWNER)


def _not_found(name: ModelName) -> ModelNotFoundError:
    return ModelNotFoundError(f"There is no model '{name}' for you.", provider=name.provider, model=name.model)
