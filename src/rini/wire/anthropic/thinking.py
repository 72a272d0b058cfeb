"""How Claude's generations are told to think, and how another provider's words for it are fitted to them.

By platform.claude.com/docs, "Extended thinking", "Adaptive thinking" and "Effort" (2026): models up to 3.5 do not think; 3.7 to 4.5 take a
budget; 4.6 takes a budget or thinks adaptively; 4.7 and later think adaptively alone, with an effort, and take no sampling
parameters. A model that is not known here is taken for one of 4.6. Thinking cannot go with a tool choice that forces a call.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from rini.canon import Reasoning, Request, extras_of, with_extras
from rini.wire.anthropic.fields import WIRE, Json, as_object, optional_integer, optional_text, text_field

MIN_BUDGET_TOKENS: Final = 1024
"""The least that thinking may be given."""

Generation = Literal["none", "budget", "either", "adaptive"]

_GENERATIONS: Final[tuple[tuple[re.Pattern[str], Generation], ...]] = (
    (re.compile(r"claude-(2|instant|3-(5|opus|sonnet|haiku))"), "none"),
    (re.compile(r"claude-3-7|claude-(opus|sonnet|haiku)-4(-[015])?([-@:]20|[-@]v\d|-latest|$)"), "budget"),
    (re.compile(r"claude-\w+-4-[789]|claude-[a-z]+-[5-9]|claude-mythos"), "adaptive"),
)

# What an effort is worth where only budgets are taken, and which effort a budget comes to.
_BUDGETS: Final[Mapping[str, int]] = {"low": 4096, "medium": 12288, "high": 24576}
_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")


def generation(model: str) -> Generation:
    """Return how ``model`` is told to think."""
    for pattern, found in _GENERATIONS:
        if pattern.search(model):
            return found
    return "either"


def takes_sampling(model: str) -> bool:
    """Tell whether ``model`` takes temperature, top_p and top_k."""
    return generation(model) != "adaptive"


def is_forced(request: Request) -> bool:
    """Tell whether a tool must be called, with which thinking cannot go."""
    return request.tool_choice is not None and request.tool_choice.mode in {"required", "tool"}


def decode_reasoning(rest: Json, model: str, max_tokens: int | None, *, forced: bool) -> Reasoning | None:
    """Take ``thinking`` and ``output_config.effort`` out of a body's fields. Adaptive thinking is a budget of -1.

    What encoding would change is kept in the extras, so that it goes back as it came.
    """
    effort = None
    if rest.get("output_config") is not None:
        config = as_object(rest["output_config"], "output_config")
        effort = optional_text(config, "effort", "output_config")
        left = {name: value for name, value in config.items() if name != "effort"}
        rest["output_config"] = left or None
    thinking = None
    if rest.get("thinking") is not None:
        given = as_object(rest["thinking"], "thinking")
        if text_field(given, "type", "thinking") in _TYPES:
            thinking = given
            del rest["thinking"]
    if thinking is None and effort is None:
        return None
    reasoning = _read(thinking, effort)
    said = (thinking, effort)
    if encode_reasoning(reasoning, model, max_tokens, [], forced=forced) != said:
        kept = {"thinking": thinking, "effort": effort}
        return Reasoning(
            reasoning.enabled, reasoning.effort, reasoning.budget_tokens, reasoning.include, with_extras(WIRE, kept)
        )
    return reasoning


def encode_reasoning(
    reasoning: Reasoning | None, model: str, max_tokens: int | None, dropped: list[str], *, forced: bool
) -> tuple[Json | None, str | None]:
    """Return ``thinking`` and ``output_config.effort``, each None where it says nothing."""
    if reasoning is None:
        return None, None
    own = extras_of(reasoning.extras, WIRE)
    if "thinking" in own and _is_same(_read(own["thinking"], own.get("effort")), reasoning):
        return own["thinking"], own.get("effort")
    kind = generation(model)
    enabled, effort, budget = _wanted(reasoning, kind, dropped)
    if kind == "none":
        if enabled or effort is not None:
            dropped.append("reasoning")
        return None, None
    thinking: Json
    if enabled is False:
        thinking = {"type": "disabled"}
    elif enabled is None:
        if reasoning.include is not None:
            dropped.append("reasoning.include")
        return None, None
    elif forced:
        dropped.append("reasoning")
        return ({"type": "disabled"} if kind == "adaptive" else None), effort
    elif budget is None:
        thinking = {"type": "adaptive"}
    else:
        fitted = _fit_budget(budget, max_tokens)
        if fitted != budget and reasoning.budget_tokens == budget:
            dropped.append("reasoning.budget_tokens")
        elif fitted is None:
            dropped.append("reasoning")
        thinking = {"type": "disabled"} if fitted is None else {"type": "enabled", "budget_tokens": fitted}
    if reasoning.include is not None:
        if thinking["type"] != "disabled":
            thinking["display"] = "summarized" if reasoning.include else "omitted"
        elif reasoning.include:
            dropped.append("reasoning.include")
    thinking |= {name: value for name, value in own.items() if name not in {"thinking", "effort"}}
    return thinking, effort


def _read(thinking: Json | None, effort: str | None) -> Reasoning:
    """Return what ``thinking`` and the effort mean."""
    if thinking is None:
        return Reasoning(effort=effort)
    own = {name: value for name, value in thinking.items() if name != "type"}
    enabled = thinking["type"] != "disabled"
    budget = None
    include = _SHOWN.get(str(own.get("display"))) if enabled else None
    if include is not None:
        del own["display"]
    if thinking["type"] == "adaptive":
        budget = -1
    elif thinking["type"] == "enabled":
        budget = optional_integer(own, "budget_tokens", "thinking")
        own.pop("budget_tokens", None)
    return Reasoning(enabled, effort, budget, include, with_extras(WIRE, own))


def _is_same(one: Reasoning, other: Reasoning) -> bool:
    return (one.enabled, one.effort, one.budget_tokens, one.include) == (
        other.enabled, other.effort, other.budget_tokens, other.include,
    )  # fmt: skip


def _wanted(reasoning: Reasoning, kind: Generation, dropped: list[str]) -> tuple[bool | None, str | None, int | None]:
    """Return whether to think, the effort, and the budget where one is to be sent, as models of this kind take them."""
    enabled, budget = reasoning.enabled, reasoning.budget_tokens
    word = reasoning.effort.lower() if reasoning.effort is not None else None
    if enabled is False or budget == 0 or (word == "none" and enabled is None):
        return False, None, None
    effort = None if word in (None, "none") else "low" if word == "minimal" else word
    if effort is not None and effort not in _EFFORTS:
        dropped.append("reasoning.effort")
        effort = None
    elif word == "minimal" or (kind == "either" and effort == "xhigh"):
        dropped.append("reasoning.effort")
        effort = "low" if word == "minimal" else "high"
    if not (enabled or effort is not None or budget is not None):
        return None, None, None
    limit = budget if budget is not None and budget > 0 else None
    if kind == "budget":
        if effort is not None and limit is None:
            if effort not in _BUDGETS:
                dropped.append("reasoning.effort")
            limit = _BUDGETS.get(effort, _BUDGETS["high"])
        elif effort is not None:
            dropped.append("reasoning.effort")
        return True, None, limit or _BUDGETS["medium"]
    if kind == "adaptive" and limit is not None:
        dropped.append("reasoning.budget_tokens")
        return True, effort or next((each for each, worth in _BUDGETS.items() if limit <= worth), "high"), None
    return True, effort, limit


def _fit_budget(budget: int, max_tokens: int | None) -> int | None:
    """Return the nearest budget that the API takes; None where the token limit leaves no room for any."""
    budget = max(budget, MIN_BUDGET_TOKENS)
    if max_tokens is not None and budget >= max_tokens:
        budget = max_tokens - 1
    return budget if budget >= MIN_BUDGET_TOKENS else None


_TYPES: Final = frozenset({"enabled", "adaptive", "disabled"})
_SHOWN: Final[Mapping[str, Any]] = {"summarized": True, "omitted": False}
