"""The operator's own prices: a TOML file, documented in docs/prices.md."""

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast, get_args

from rini.usage.rates import Rates, TokenClass, rates

PROVIDERS = ("openai", "anthropic", "google", "openai_compatible", "local")
"""The providers that a file may price."""


class PriceFileError(ValueError):
    """The file is not right. ``mistakes`` holds one sentence for each mistake."""

    def __init__(self, path: Path, mistakes: list[str]) -> None:
        super().__init__(f"{path}: {' '.join(mistakes)}")
        self.mistakes = mistakes


class Overrides:
    """Rates by provider and model. A name with ``*`` at its end holds for all models that begin so; the longest wins."""

    def __init__(self, found: Mapping[str, Mapping[str, Rates]]) -> None:
        self._exact = {
            provider: {name: rate for name, rate in models.items() if not name.endswith("*")}
            for provider, models in found.items()
        }
        self._prefixes = {
            provider: sorted(
                ((name[:-1], rate) for name, rate in models.items() if name.endswith("*")),
                key=lambda item: len(item[0]),
                reverse=True,
            )
            for provider, models in found.items()
        }

    def find(self, provider: str, model: str) -> Rates | None:
        """Return the operator's rates for ``model``, if there are any."""
        exact = self._exact.get(provider)
        if exact is None:
            return None
        if model in exact:
            return exact[model]
        return next((rate for prefix, rate in self._prefixes[provider] if model.startswith(prefix)), None)


NO_OVERRIDES = Overrides({})


def load_overrides(path: Path) -> Overrides:
    """Read the file at ``path``. Raises PriceFileError, which names every mistake in it."""
    try:
        with path.open("rb") as file:
            document = tomllib.load(file, parse_float=Decimal)
    except OSError as error:
        raise PriceFileError(path, [f"The file cannot be read: {error.strerror}."]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PriceFileError(path, [f"This is not TOML: {error}."]) from error
    mistakes: list[str] = []
    found: dict[str, dict[str, Rates]] = {}
    for provider, models in document.items():
        if provider not in PROVIDERS:
            mistakes.append(f"[{provider}] is no provider; there are {', '.join(PROVIDERS)}.")
        elif not isinstance(models, Mapping):
            mistakes.append(f"[{provider}] must hold one table for each model.")
        else:
            found[provider] = {}
            for model, prices in cast("Mapping[str, object]", models).items():
                wrong, given = _check(f'[{provider}."{model}"]', model, prices)
                mistakes += wrong
                if not wrong:
                    found[provider][model] = rates(model, {-1: given})
    if mistakes:
        raise PriceFileError(path, mistakes)
    return Overrides(found)


def _check(where: str, model: str, prices: object) -> tuple[list[str], dict[TokenClass, Decimal]]:
    """Return the mistakes in one model's table, and its prices in USD for one token."""
    if not isinstance(prices, Mapping):
        return [f"{where} must be a table of prices."], {}
    mistakes: list[str] = []
    given: dict[TokenClass, Decimal] = {}
    if "*" in model[:-1]:
        mistakes.append(f"{where}: a * may only stand at the end of a model's name.")
    for name, value in cast("Mapping[str, Any]", prices).items():
        if name not in _CLASSES:
            mistakes.append(f"{where}: {name} is no class of tokens; there are {', '.join(_CLASSES)}.")
        elif isinstance(value, bool) or not isinstance(value, int | Decimal):
            mistakes.append(f"{where}: {name} must be a number, USD per million tokens.")
        elif not (Decimal(value).is_finite() and 0 <= value <= _MOST):
            mistakes.append(f"{where}: {name} must be between 0 and {_MOST} USD per million tokens.")
        else:
            given[_CLASSES[name]] = Decimal(value).scaleb(-6)
    if "input" not in prices:
        mistakes.append(f"{where}: input is missing.")
    if "cache_read" in prices and "input_audio" in prices and "cache_audio_read" not in prices:
        mistakes.append(f"{where}: cache_audio_read is missing, as cache_read and input_audio have different prices.")
    return mistakes, given


_MOST = 1_000_000
_CLASSES: Mapping[str, TokenClass] = MappingProxyType(
    {name: name for name in cast("tuple[TokenClass, ...]", get_args(TokenClass)) if name != "web_search"}
)
