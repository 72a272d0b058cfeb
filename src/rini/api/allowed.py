"""Requests with a token that may call certain models only: another model than the one that was checked must not answer them."""

from collections.abc import Iterable

import msgspec

from rini.accounts.access import Caller
from rini.api.lean import decode_body
from rini.errors import ModelNotAllowedError
from rini.models.naming import ModelName

# Anthropic's and LiteLLM's fallbacks; OpenRouter's models, route and preset; the rest is LiteLLM's.
_ASK_OTHERS = frozenset(
    {
        "fallbacks",
        "models",
        "route",
        "preset",
        "model_list",
        "context_window_fallback_dict",
        "content_policy_fallback_dict",
    }
)


class _Tool(msgspec.Struct):
    model: str | None = None


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_tool = msgspec.json.Decoder(_Tool)
_encode = msgspec.json.Encoder().encode


def only_allowed(caller: Caller, name: ModelName, body: bytes) -> bytes:
    """Return the body of a request for the model ``name``, which the caller may call, each of its fields once where not all models are.

    Of a field that is there twice one provider takes the first and another the last, and some read ``Model`` as ``model``.
    Raises ModelNotAllowedError where other models may come to answer.
    """
    if caller.models is None:
        return body
    fields = decode_body(_fields, body)
    check_names([field for field, value in fields.items() if bytes(value) != b"null"], name)
    for model in _models_of_tools(fields.get("tools")):
        if not caller.may_call(name.provider, model):
            raise _refused("tools", f"may not call {name.provider}/{model}, which one of the tools names", name)
    return _encode(fields)


def check_names(fields: Iterable[str], name: ModelName) -> None:
    """Raise ModelNotAllowedError where one of the fields would have other models asked; to be called for a token that may not call all."""
    for field in fields:
        folded = field.casefold()
        if folded in _ASK_OTHERS:
            raise _refused(field, "may call certain models only, and this field has others asked", name)
        if folded in ("model", "tools") and folded != field:
            raise _refused(field, f"may call certain models only; write {folded}", name)


def _models_of_tools(tools: msgspec.Raw | None) -> list[str]:
    """Return the models that tools of the provider's own would ask: OpenAI's image generation, Anthropic's advisor."""
    found: list[str] = []
    try:
        for tool in _list.decode(tools or b"[]"):
            found += _models_of_tool(tool)
    except (msgspec.MsgspecError, UnicodeError):
        return found  # no list of tools, which is told elsewhere
    return found


def _models_of_tool(tool: msgspec.Raw) -> list[str]:
    try:
        model = _tool.decode(tool).model
    except (msgspec.MsgspecError, UnicodeError):
        return []
    return [] if model is None else [model]


def _refused(field: str, why: str, name: ModelName) -> ModelNotAllowedError:
    return ModelNotAllowedError(f"{field[:100]}: this access token {why}.", provider=name.provider, model=name.model)
