"""The parameters of a request whose rules are this API's own: sampling, the answer's form, the choice of tools.

A parameter that comes from another wire format is fitted to the API's rules, and named when that leaves something out.
One that came over this wire goes back as it came, even where the API would refuse it: decoding keeps the value in extras
where fitting would change it, and encoding prefers it as long as canon still says the same.

The rules are those of platform.claude.com/docs, "Structured outputs" and "Messages", November 2026.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from rini.canon import Request, ResponseFormat, ToolChoice, extras_of, with_extras
from rini.wire.anthropic.fields import (
    WIRE,
    Json,
    as_object,
    object_or_none,
    optional_flag,
    other_fields,
    text_field,
)
from rini.wire.anthropic.thinking import takes_sampling
from rini.wire.codec import UnsupportedError
from rini.wire.json_schema import ANTHROPIC_STRICT, fits, fitted

DEFAULT_MAX_TOKENS: Final = 32_000
"""The token limit of a request that names none, where the API demands one.

It is the highest that every model still served accepts (Opus 4.1 writes 32,000 tokens at most, Haiku 4.5 64,000, all newer
ones 128,000), for thinking counts towards it and a low limit would cut answers short.
"""

_ROOM_TO_ANSWER = 8_192

SAMPLING: Final = ("temperature", "top_p", "top_k")


def max_tokens_of(request: Request, thinking: Json | None) -> int:
    """Return the limit to send: the request's own, or a default that leaves room beside the thinking budget."""
    if request.max_tokens is not None:
        return request.max_tokens
    budget = thinking.get("budget_tokens") if thinking else None
    return max(DEFAULT_MAX_TOKENS, (budget or 0) + _ROOM_TO_ANSWER)


def encode_sampling(request: Request, dropped: list[str], *, thinks: bool) -> Json:
    """Return temperature, top_p and top_k as the API takes them."""
    own = extras_of(request.extras, WIRE)
    fields = {name: getattr(request, name) for name in SAMPLING if getattr(request, name) is not None}
    fitted = _fit_sampling(fields, request.model, thinks=thinks)
    for name, value in fields.items():
        if own.get(name) == value:
            fitted[name] = value
        elif fitted.get(name) != value:
            dropped.append(name)
    return fitted


def keep_sampling(fields: Json, model: str, *, thinks: bool) -> Json:
    """Return those of the decoded sampling ``fields`` that encoding would change."""
    fitted = _fit_sampling(fields, model, thinks=thinks)
    return {name: value for name, value in fields.items() if fitted.get(name) != value}


def _fit_sampling(fields: Mapping[str, Any], model: str, *, thinks: bool) -> Json:
    if not fields or not takes_sampling(model):
        return {}
    fitted = dict(fields)
    if fitted.get("temperature", 0) > 1:
        fitted["temperature"] = 1
    if thinks:
        if fitted.get("temperature", 1) != 1:
            del fitted["temperature"]
        if fitted.get("top_p", 1) < 0.95:
            del fitted["top_p"]
        fitted.pop("top_k", None)
    # Many models take only one of the two; at 1 either says nothing.
    if "temperature" in fitted and "top_p" in fitted:
        if fitted["top_p"] == 1:
            del fitted["top_p"]
        elif fitted["temperature"] == 1:
            del fitted["temperature"]
    top_k = fitted.get("top_k")
    if isinstance(top_k, float) and top_k.is_integer():
        fitted["top_k"] = int(top_k)
    return fitted


def decode_format(rest: Json) -> ResponseFormat | None:
    """Take ``output_config.format``, or the older ``output_format``, out of a body's fields."""
    config = rest.get("output_config")
    if config is not None and config.get("format") is not None:
        format_ = as_object(config["format"], "output_config.format")
        if format_.get("type") != "json_schema":
            return None
        _keep(rest, "output_config", config, "format")
        return _format_of(format_, "output_config.format", older=False)
    if rest.get("output_format") is not None:
        format_ = as_object(rest["output_format"], "output_format")
        if format_.get("type") != "json_schema":
            return None
        del rest["output_format"]
        return _format_of(format_, "output_format", older=True)
    return None


def _format_of(format_: Json, where: str, *, older: bool) -> ResponseFormat:
    schema = None if format_.get("schema") is None else as_object(format_["schema"], f"{where}.schema")
    own = dict(extras_of(other_fields(format_, _FORMAT), WIRE))
    if schema is not None and not fits(schema, ANTHROPIC_STRICT):
        own["schema"] = schema
    if older:
        own = {"output_format": own}
    return ResponseFormat("json_schema", schema=schema, extras=with_extras(WIRE, own))


def encode_format(wanted: ResponseFormat | None, dropped: list[str]) -> tuple[str, Json] | None:
    """Return the field that says which form the answer must have, and its value. Raises UnsupportedError."""
    if wanted is None or wanted.kind == "text":
        return None
    if wanted.kind == "json":
        raise UnsupportedError(WIRE, "response_format", "JSON is only written to a schema")
    own = extras_of(wanted.extras, WIRE)
    older = object_or_none(own.get("output_format"))
    if older is not None:
        own = older
    # A name is a label that nothing depends on, and the answer always holds the schema.
    if wanted.description is not None:
        dropped.append("response_format.description")
    if wanted.strict is False:
        dropped.append("response_format.strict")
    format_: Json = {"type": "json_schema"}
    if wanted.schema is not None:
        format_["schema"] = (
            wanted.schema
            if own.get("schema") == wanted.schema
            else fitted(wanted.schema, ANTHROPIC_STRICT, field="response_format.schema", dropped=dropped)
        )
    elif not own and older is None:
        raise UnsupportedError(WIRE, "response_format.schema", "JSON is only written to a schema")
    for name, value in own.items():
        format_.setdefault(name, value)
    return ("output_format" if older is not None else "format"), format_


def decode_tool_choice(rest: Json) -> tuple[ToolChoice | None, bool | None]:
    """Take ``tool_choice`` out of a body's fields: the choice, and whether tools may be called in parallel."""
    if rest.get("tool_choice") is None:
        rest.pop("tool_choice", None)
        return None, None
    fields = as_object(rest["tool_choice"], "tool_choice")
    type_ = text_field(fields, "type", "tool_choice")
    if type_ not in _CHOICES:
        return None, None
    del rest["tool_choice"]
    names = (text_field(fields, "name", "tool_choice"),) if type_ == "tool" else ()
    if type_ == "none":
        return ToolChoice("none", extras=other_fields(fields, frozenset({"type"}))), None
    alone = optional_flag(fields, "disable_parallel_tool_use", "tool_choice")
    known = _TOOL_CHOICE if type_ == "tool" else _TOOL_CHOICE - {"name"}
    choice = ToolChoice(_CHOICES[type_], names, other_fields(fields, known))
    return choice, None if alone is None else not alone


def encode_tool_choice(request: Request, offered: Sequence[Json], dropped: list[str]) -> Json | None:
    """Return ``tool_choice``. ``required`` with several names must have been narrowed to them. Raises UnsupportedError."""
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    if choice is None:
        if parallel is not False or not offered:
            if parallel is not None:
                dropped.append("parallel_tool_calls")
            return None
        return {"type": "auto", "disable_parallel_tool_use": True}
    own = extras_of(choice.extras, WIRE)
    if choice.mode == "none":
        if parallel is not None:
            dropped.append("parallel_tool_calls")
        return {"type": "none", **own}
    fields: Json
    if choice.mode == "tool" or (choice.mode == "required" and len(choice.names) == 1):
        if len(choice.names) != 1:
            raise UnsupportedError(WIRE, "tool_choice.names", "exactly one tool must be named")
        fields = {"type": "tool", "name": choice.names[0]}
    else:
        fields = {"type": "any" if choice.mode == "required" else "auto"}
        if choice.names and choice.mode == "auto":
            dropped.append("tool_choice.names")
    if parallel is not None:
        fields["disable_parallel_tool_use"] = not parallel
    return {**fields, **own}


def _keep(rest: Json, name: str, fields: Json, taken: str) -> None:
    """Leave of the object ``name`` what is not ``taken``, and nothing where that was all."""
    left = {key: value for key, value in fields.items() if key != taken}
    if left:
        rest[name] = left
    else:
        del rest[name]


_FORMAT = frozenset({"type", "schema"})
_CHOICES: dict[str, Literal["auto", "required", "tool", "none"]] = {
    "auto": "auto",
    "any": "required",
    "tool": "tool",
    "none": "none",
}
_TOOL_CHOICE = frozenset({"type", "name", "disable_parallel_tool_use"})
