"""A generateContent request's body, read as canon."""

from typing import Any

from rini.canon import Message, Request, Role, with_extras
from rini.wire.codec import MalformedError
from rini.wire.gemini.config import decode_config
from rini.wire.gemini.fields import WIRE, a_string, an_object, camel, loads, objects
from rini.wire.gemini.part import decode_part
from rini.wire.gemini.tool import decode_choice, decode_tools, is_validated, strict

_ROLES: dict[str | None, Role] = {"user": "user", "model": "assistant", "function": "tool"}


def decode_request(body: bytes, model: str | None, *, stream: bool) -> Request:
    """Return the request in ``body``. Raises MalformedError."""
    try:
        return _request(camel(an_object(loads(body), "The request")), model, stream=stream)
    except RecursionError:
        raise MalformedError("The JSON is nested too deeply.") from None


def _request(rest: dict[str, Any], model: str | None, *, stream: bool) -> Request:
    if "contents" not in rest:
        raise MalformedError("contents is missing.")
    contents = rest.pop("contents")
    messages: list[Message] = []
    if "systemInstruction" in rest:
        messages.append(_system(an_object(rest.pop("systemInstruction"), "systemInstruction")))
    found = objects(contents, "contents")
    messages += (_message(content) for content in found)
    if not found:
        rest["contents"] = []
    choice, tool_config = decode_choice(rest.pop("toolConfig", None))
    if tool_config:
        rest["toolConfig"] = tool_config
    if "model" in rest:
        a_string(rest["model"], "model")
    model = model if model is not None else rest.get("model")
    if model is None:
        raise MalformedError("Neither the address nor the body names a model.")
    tools = decode_tools(rest.pop("tools", None), model)
    if is_validated(choice):
        tools = strict(tools)
    fields, config = decode_config(rest.pop("generationConfig", None), model)
    if config:
        rest["generationConfig"] = config
    return Request(
        model=model,
        messages=tuple(messages),
        tools=tools,
        tool_choice=choice,
        stream=stream,
        extras=with_extras(WIRE, rest),
        **fields,
    )


def _system(content: dict[str, Any]) -> Message:
    rest = camel(content)
    parts = tuple(decode_part(part) for part in objects(rest.pop("parts", None), "systemInstruction.parts"))
    if not parts:
        rest["parts"] = []
    return Message("system", parts, extras=with_extras(WIRE, rest))


def _message(content: dict[str, Any]) -> Message:
    """Return one content. Extras keep a role that is absent or not of Gemini's two, and parts that are absent."""
    rest = camel(content)
    word = rest.pop("role", None)
    if word is not None:
        a_string(word, "role")
    role = _ROLES.get(word, "user")
    if word not in ("user", "model"):
        rest["role"] = word
    parts = tuple(decode_part(part) for part in objects(rest.pop("parts", None), "parts"))
    if not parts:
        rest["parts"] = []
    origin = WIRE if role == "assistant" else None
    return Message(role, parts, origin=origin, extras=with_extras(WIRE, rest))
