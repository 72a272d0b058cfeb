"""How Gemini's generations are told to think, and how another provider's words for it are fitted to them.

By the pages "Gemini thinking" and "OpenAI compatibility" (Gemini API, 2026): up to 2.0 there is nothing to say; 2.5 takes budgets, each
model within its own range, and Pro cannot be switched off; 3 takes levels, and budgets for compatibility, and cannot be switched
off either, but thinks least at its lowest level.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from rini.canon import Reasoning, extras_of, with_extras
from rini.wire.gemini.fields import WIRE, a_boolean, an_integer, camel

# What Google's own OpenAI-compatible endpoint takes for reasoning_effort.
_BUDGETS: Final[Mapping[str, int]] = {
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 24576,
    "max": 24576,
}
_LEVELS: Final = ("minimal", "low", "medium", "high")
_UNTHINKING: Final = re.compile(r"gemini-1|gemini-2\.0(?!-flash-thinking)|gemma")
_BY_BUDGET: Final = re.compile(r"gemini-2\b|gemini-2\.")
_RANGES: Final = (
    (re.compile(r"gemini-2\.5-pro"), 128, 32768),
    (re.compile(r"gemini-2\.5-flash-lite"), 512, 24576),
    (re.compile(r"gemini-2\.5-flash"), 0, 24576),
)
_NEVER_OFF: Final = re.compile(r"gemini-2\.5-pro|gemini-[3-9]")
_PRO_3: Final = re.compile(r"gemini-3-pro")  # it has two levels; 3.1 has three, the Flash models four
_PRO_31: Final = re.compile(r"gemini-[3-9](\.\d+)?-pro")


def decode_reasoning(value: Mapping[str, Any], model: str) -> Reasoning:
    """Return what a ``thinkingConfig`` says. What encoding would change is kept in the extras, and goes back as it came."""
    rest = camel(value)
    include = rest.pop("includeThoughts", None)
    if include is not None:
        a_boolean(include, "includeThoughts")
    budget = rest.pop("thinkingBudget", None)
    if budget is not None:
        budget = an_integer(budget, "thinkingBudget")
    level = rest.get("thinkingLevel")  # stays in the extras: its spelling is the client's, and it is sent to any model
    reasoning = Reasoning(
        enabled=False if budget == 0 else None,
        effort=level.lower() if isinstance(level, str) else None,
        budget_tokens=budget or None,
        include=include,
        extras=with_extras(WIRE, rest),
    )
    if budget is not None and encode_reasoning(reasoning, model, []).get("thinkingBudget") != budget:
        extras = {WIRE: {**rest, "thinkingBudget": budget}}
        return Reasoning(reasoning.enabled, reasoning.effort, reasoning.budget_tokens, reasoning.include, extras)
    return reasoning


def encode_reasoning(reasoning: Reasoning, model: str, dropped: list[str]) -> dict[str, Any]:
    """Return the ``thinkingConfig`` for ``model``; empty where it takes none."""
    extras = dict(extras_of(reasoning.extras, WIRE))
    level, budget = extras.pop("thinkingLevel", None), extras.pop("thinkingBudget", None)
    fields: dict[str, Any] = {}
    if reasoning.effort is None or (isinstance(level, str) and level.lower() == reasoning.effort):
        fields = {} if level is None else {"thinkingLevel": level}
    if budget is not None and budget == (reasoning.budget_tokens or 0):
        fields["thinkingBudget"] = budget
    elif not (fields and reasoning.enabled is None and reasoning.budget_tokens is None):
        if _UNTHINKING.search(model) and not extras:
            if reasoning.include or (reasoning.enabled is not False and reasoning != _NOTHING):
                dropped.append("reasoning")
            return fields
        fields |= _wanted(reasoning, model, dropped, leveled=bool(fields))
    if reasoning.include is not None:
        fields["includeThoughts"] = reasoning.include
    return fields | extras


def _wanted(reasoning: Reasoning, model: str, dropped: list[str], *, leveled: bool) -> dict[str, Any]:
    """Return the budget or the level that is nearest to what is wanted."""
    effort = None if reasoning.effort is None else reasoning.effort.lower()
    budget = reasoning.budget_tokens
    if reasoning.enabled is False or budget == 0 or (effort == "none" and not budget):
        if not _NEVER_OFF.search(model):
            return {"thinkingBudget": 0}
        dropped.append("reasoning.enabled" if reasoning.enabled is False or effort is None else "reasoning.effort")
        return (
            {"thinkingBudget": 128}
            if _BY_BUDGET.search(model)
            else {"thinkingLevel": _nearest("minimal", model).upper()}
        )
    # A budget that the model decides says less than an effort, and only one of the two may be given (ThinkingConfig, Gemini API reference).
    if budget is not None and (budget >= 0 or effort not in _BUDGETS):
        if effort is not None and not leveled:
            dropped.append("reasoning.effort")
        fitted = _within(budget, model)
        if fitted != budget:
            dropped.append("reasoning.budget_tokens")
        return {"thinkingBudget": fitted}
    if effort is None or leveled:
        return {"thinkingBudget": -1} if reasoning.enabled and not leveled else {}
    if effort not in _BUDGETS:
        dropped.append("reasoning.effort")
        return {}
    if _BY_BUDGET.search(model):
        if effort in {"xhigh", "max"}:
            dropped.append("reasoning.effort")
        return {"thinkingBudget": _within(_BUDGETS[effort], model)}
    nearest = _nearest(effort, model)
    if nearest != effort:
        dropped.append("reasoning.effort")
    return {"thinkingLevel": nearest.upper()}


def _nearest(effort: str, model: str) -> str:
    """Return the level that ``model`` has for an effort."""
    if _PRO_3.search(model):
        return "low" if effort in {"minimal", "low"} else "high"
    if effort == "minimal" and _PRO_31.search(model):
        return "low"
    return effort if effort in _LEVELS else "high"


def _within(budget: int, model: str) -> int:
    """Return the nearest budget that ``model`` takes; -1 leaves it to the model."""
    if budget < 0:
        return budget
    for pattern, least, most in _RANGES:
        if pattern.search(model):
            return min(max(budget, least), most)
    return budget


_NOTHING = Reasoning()
