"""The cells of the table of translations: each thing that can be asked, in each dialect, of each provider."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.dialects import DIALECTS, PROVIDERS, SDK_ERRORS, Behind, World, raised_by
from tests.support.dialects_features import FEATURES, ByDialect, Feature
from tests.support.server import ROOT

WORKS = "works"
WITHOUT = "works, without "
REFUSED = "refused: "
NOT_YET = "not yet: "

_EXPECTED = ROOT / "tests" / "dialects" / "outcomes.json"


def cells() -> Iterator[tuple[Feature, str, Behind]]:
    """All of them."""
    for feature in FEATURES:
        for dialect in DIALECTS:
            if dialect in feature.asks:
                for behind in PROVIDERS:
                    yield feature, dialect, behind


def outcome(world: World, feature: Feature, dialect: str, behind: Behind, *, stream: bool) -> str:
    """Return what comes of asking: that it works, what was left out, or who refused it with which sentence.

    Raises AssertionError where the provider was asked something else, or the SDK got something else, than it must be.
    """
    model = behind.thinker if feature.thinks else behind.model
    try:
        reached, got = world.ask(dialect, behind, feature.asks[dialect], feature.answer, stream=stream, model=model)
    except SDK_ERRORS as error:
        raised = raised_by(error, world.clients.headers)
        code = raised.headers.get("x-rini-code", "")
        return f"{REFUSED}{raised.status} {code}: {raised.message}" if code else f"no refusal of Rini's own: {error}"
    arrived = feature.reached(reached)
    right = feature.wanted(arrived) if callable(feature.wanted) else arrived == feature.wanted
    left_out = got.dropped and _is_nothing(arrived)
    assert right or left_out, f"the provider got {arrived!r}, not {feature.wanted!r}; dropped: {got.dropped}"
    shown, told = feature.got(got), feature.told
    if isinstance(told, ByDialect):
        told = told[dialect]
    assert _is_told(shown, told), f"the SDK got {shown!r}, not {told!r}"
    if stream and not got.calls:
        assert got.pieces > 1 or not got.text, "a text comes in pieces"
    return WITHOUT + ", ".join(got.dropped) if got.dropped else WORKS


def _is_nothing(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_nothing(each) for each in value)
    return value is None or value is False


def _is_told(shown: Any, told: Any) -> bool:
    """Whether what is shown is what is told; a tuple of words in the place of one word names all that will do."""
    if isinstance(shown, tuple) and isinstance(told, tuple) and len(shown) == len(told):
        return all(_is_told(one, other) for one, other in zip(shown, told, strict=True))
    if isinstance(told, tuple) and isinstance(shown, str):
        return shown in told
    return shown == told


def expected() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Return the outcome that every cell must have: by feature, dialect and provider."""
    return json.loads(_EXPECTED.read_text(encoding="utf-8"))


def _asked(world: World, feature: Feature, dialect: str, behind: Behind) -> tuple[str, str]:
    """Return the outcome and what is wrong with it, if anything is."""
    whole, streamed = (outcome(world, feature, dialect, behind, stream=stream) for stream in (False, True))
    if whole != streamed:
        return whole, f"{whole!r}, and streamed {streamed!r}"
    return whole, "" if whole.startswith((WORKS, REFUSED)) else whole


def ask_all(world: World) -> list[str]:
    """Ask in every cell and write down the outcomes as those that are expected; return what is wrong, which is not written down.

    A cell that is known to fail keeps its words as long as it does.
    """
    known = expected() if _EXPECTED.exists() else {}
    found: dict[str, dict[str, dict[str, str]]] = {}
    wrong: list[str] = []
    for feature, dialect, behind in cells():
        before = known.get(feature.name, {}).get(dialect, {}).get(behind.name, "")
        try:
            came, fault = _asked(world, feature, dialect, behind)
        except AssertionError as error:
            came, fault = before, str(error)
        if fault and not before.startswith(NOT_YET):
            came = f"{NOT_YET}it comes out wrong."
            wrong.append(f"{feature.name}, {dialect}, {behind.name}: {fault}")
        found.setdefault(feature.name, {}).setdefault(dialect, {})[behind.name] = came
    _EXPECTED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return wrong
