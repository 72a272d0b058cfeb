"""A request's body as canon's Request: what Rini does as a server."""

from typing import Any

from rini.canon import Message, Request, Role, Tool, extras_of, with_extras
from rini.wire.anthropic.blocks import decode_content
from rini.wire.anthropic.fields import (
    WIRE,
    Json,
    as_list,
    as_object,
    load,
    optional_flag,
    optional_integer,
    optional_number,
    optional_text,
    other_fields,
    text_field,
)
from rini.wire.anthropic.options import (
    SAMPLING,
    decode_format,
    decode_tool_choice,
    keep_sampling,
)
from rini.wire.anthropic.thinking import decode_reasoning
from rini.wire.codec import MalformedError
from rini.wire.json_schema import ANTHROPIC_STRICT, fits, is_plain_object


def decode_request(body: bytes, *, model: str | None = None, stream: bool | None = None) -> Request:
    """Return the request in ``body``; ``model`` and ``stream`` win over what it says. Raises MalformedError.

    ``system`` becomes the leading system message. Whatever has no name in canon is in the extras of what it stood in.
    """
    rest = dict(as_object(load(body), "The request"))
    if model is None:
        model = text_field(rest, "model", "The request")
    messages: list[Message] = []
    if rest.get("system"):
        messages.append(Message("system", decode_content(rest["system"], "system")))
    for position, value in enumerate(as_list(rest.get("messages"), "messages")):
        messages.append(_decode_message(value, f"messages[{position}]"))
    max_tokens = optional_integer(rest, "max_tokens", "The request")
    user = _take_user(rest)
    tool_choice, parallel = decode_tool_choice(rest)
    forced = tool_choice is not None and tool_choice.mode in {"required", "tool"}
    reasoning = decode_reasoning(rest, model, max_tokens, forced=forced)
    response_format = decode_format(rest)
    temperature, top_p, top_k = (optional_number(rest, name, "The request") for name in SAMPLING)
    sampling = {name: rest[name] for name in SAMPLING if rest.get(name) is not None}
    kept = keep_sampling(sampling, model, thinks=reasoning is not None and reasoning.enabled is True)
    if max_tokens == 0:
        kept["max_tokens"] = 0  # only the prompt cache is to be filled, which no other provider does
    asked_to_stream = optional_flag(rest, "stream", "The request") or False
    return Request(
        model=model,
        messages=tuple(messages),
        tools=_decode_tools(rest.get("tools")),
        tool_choice=tool_choice,
        parallel_tool_calls=parallel,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        stop=_decode_stop(rest.get("stop_sequences")),
        response_format=response_format,
        reasoning=reasoning,
        user=user,
        stream=asked_to_stream if stream is None else stream,
        extras=with_extras(WIRE, {**kept, **_unnamed(rest)}),
    )


def _unnamed(rest: Json) -> Json:
    return {name: value for name, value in rest.items() if name not in _NAMED and value is not None}


def _decode_message(value: object, where: str) -> Message:
    fields = as_object(value, where)
    role = _ROLES.get(text_field(fields, "role", where))
    if role is None:
        raise MalformedError(f"{where}.role is none of user, assistant and system.")
    return Message(
        role,
        decode_content(fields.get("content"), f"{where}.content"),
        # Who sends a conversation in this format says that its answers came over it.
        origin=WIRE if role == "assistant" else None,
        extras=other_fields(fields, _MESSAGE),
    )


def _decode_tools(value: object) -> tuple[Tool, ...]:
    if value is None:
        return ()
    tools: list[Tool] = []
    for position, each in enumerate(as_list(value, "tools")):
        where = f"tools[{position}]"
        fields = as_object(each, where)
        if optional_text(fields, "type", where) not in (None, "custom"):
            name: Any = fields.get("name")
            tools.append(Tool(name if isinstance(name, str) else "", wire=WIRE, opaque=fields))
            continue
        schema = (
            None if fields.get("input_schema") is None else as_object(fields["input_schema"], f"{where}.input_schema")
        )
        extras = other_fields(fields, _TOOL)
        strict = optional_flag(fields, "strict", where)
        if schema is not None and (not is_plain_object(schema) or (strict and not fits(schema, ANTHROPIC_STRICT))):
            # Encoding may fit it; what came over this wire goes back as it came.
            extras = {WIRE: {**extras_of(extras, WIRE), "input_schema": schema}}
        tools.append(
            Tool(
                text_field(fields, "name", where),
                description=optional_text(fields, "description", where),
                parameters=schema,
                strict=strict,
                extras=extras,
            )
        )
    return tuple(tools)


def _decode_stop(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    stop = tuple(as_list(value, "stop_sequences"))
    if not all(isinstance(each, str) for each in stop):
        raise MalformedError("stop_sequences holds something that is no string.")
    return stop


def _take_user(rest: Json) -> str | None:
    if rest.get("metadata") is None:
        return None
    metadata = as_object(rest["metadata"], "metadata")
    user = optional_text(metadata, "user_id", "metadata")
    rest["metadata"] = {name: value for name, value in metadata.items() if name != "user_id"} or None
    return user


_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_MESSAGE = frozenset({"role", "content"})
_TOOL = frozenset({"type", "name", "description", "input_schema", "strict"})
_NAMED = frozenset(
    {"model", "system", "messages", "max_tokens", "stop_sequences", "stream", "tools", "temperature", "top_p", "top_k"}
)
