"""From the name in a request to a provider's model."""

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from functools import lru_cache

import msgspec

from rini.db import Database
from rini.errors import InvalidRequestError, ModelNotFoundError
from rini.kit.text import storable
from rini.models import aliases
from rini.models.aliases import OwnNames
from rini.providers.catalog import PROVIDERS
from rini.providers.model_names import LONGEST_NAME, ModelName, bare_name, explicit_name

__all__ = ["ModelName", "ModelNames"]

KEPT_FOR_SECONDS = 5.0
KEPT_USERS = 10_000
REMEMBERED_NAMES = 4096

_LONGEST = len("models/") + max(map(len, PROVIDERS)) + 1 + LONGEST_NAME
_EXAMPLES = "such as openai/gpt-4o-mini or openai_compatible/llama3"
_HOW = f"write provider/model, {_EXAMPLES} (the providers are {', '.join(PROVIDERS)}), or make an alias with POST /models/aliases"


class _Read(msgspec.Struct, frozen=True):
    """A name as far as it can be read without knowing the user: ``explicit`` is final, ``known`` what the bare name means else."""

    bare: str
    explicit: ModelName | None
    known: ModelName | None


class ModelNames:
    """Resolves names. A change in this process counts at once (``forget``), one in another within KEPT_FOR_SECONDS.

    ``local_models`` are the names of the models in the box.
    """

    def __init__(self, database: Database, local_models: Collection[str] = ()) -> None:
        self._database = database
        self._local_models = frozenset(local_models)
        self._kept: OrderedDict[int, tuple[float, OwnNames]] = OrderedDict()
        self._forgotten = 0

    async def resolve(self, user_id: int, name: str) -> ModelName:
        """Return the model that ``name`` means for the user.

        ``provider/model`` is what it says, with ``models/`` before it or not. Else it is the user's alias, a model in the box, a
        model of the provider that names its models so, or one of the user's OpenAI-compatible server if there is exactly one.

        Raises ModelNotFoundError, whose sentence says how to write it, and InvalidRequestError for a text that is no name.
        """
        read = _read(name)
        if read.explicit is not None:
            return read.explicit
        own = self._known(user_id) or await self._load(user_id)
        alias = own.aliases.get(read.bare)
        if alias is not None:
            return alias
        if read.bare in self._local_models:
            return ModelName("local", read.bare)
        if read.known is not None:
            return read.known
        if own.servers != 1:
            own = await self._load(user_id)  # a key that was stored a moment ago
        if own.servers == 1:
            return ModelName("openai_compatible", read.bare)
        raise ModelNotFoundError(f"It is not known whose model '{read.bare}' is: {_HOW}.", model=read.bare)

    async def aliases(self, user_id: int) -> Mapping[str, ModelName]:
        """Return the user's aliases, in the order of their names."""
        return (self._known(user_id) or await self._load(user_id)).aliases

    def forget(self, user_id: int) -> None:
        """Look the user's aliases up anew at the next request."""
        self._forgotten += 1
        self._kept.pop(user_id, None)

    def _known(self, user_id: int) -> OwnNames | None:
        kept = self._kept.get(user_id)
        return kept[1] if kept is not None and time.monotonic() - kept[0] < KEPT_FOR_SECONDS else None

    async def _load(self, user_id: int) -> OwnNames:
        began, before = time.monotonic(), self._forgotten
        own = await self._database.read(aliases.own_names, user_id)
        if before == self._forgotten:  # else what was read meanwhile may be what was changed
            self._kept[user_id] = (began, own)
            while len(self._kept) > KEPT_USERS:
                self._kept.popitem(last=False)
        return own


def _read(name: str) -> _Read:
    if len(name) > _LONGEST:
        raise ModelNotFoundError(f"No model has a name of {len(name):,} characters.", model=name[:LONGEST_NAME])
    return _read_short(name)


@lru_cache(REMEMBERED_NAMES)
def _read_short(name: str) -> _Read:
    try:
        bare = storable(name).removeprefix("models/")
    except ValueError as error:
        raise InvalidRequestError(f"model: {error}.") from None
    if not bare.strip():
        raise InvalidRequestError(f"model: must not be empty: {_HOW}.")
    explicit = explicit_name(bare)
    if explicit is None and bare.endswith("/") and bare[:-1] in PROVIDERS:
        raise ModelNotFoundError(f"'{bare}' names no model: {_HOW}.", model=bare)
    if len(bare if explicit is None else explicit.model) > LONGEST_NAME:
        raise ModelNotFoundError(f"No model has a name of more than {LONGEST_NAME} characters.", model=bare)
    return _Read(bare, explicit, None if explicit is not None else bare_name(bare) or _listed_name(bare))


def _listed_name(name: str) -> ModelName | None:
    """Return whose price list has a model of just this name: new names are there before the patterns know them."""
    # Late: the lists take 70 ms and 7 MB, which only unusual names need (see Prices.load).
    from rini.usage.list_prices import find_model  # noqa: PLC0415

    if name.startswith("gpt-oss"):  # open weights, which are priced and not served
        return None
    for provider in ("openai", "anthropic", "google"):
        found = find_model(provider, name)
        if found is not None and found.id == name:
            return ModelName(provider, name)
    return None
