"""Tools on offer, the choice between them, and calls of them: function, custom and the legacy ``functions``."""

from typing import Any

from rini.canon import Extras, Tool, ToolCall, ToolChoice, extras_of, with_extras
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.foreign import name_foreign
from rini.wire.json_schema import fits_openai_strict, is_plain_object, object_root
from rini.wire.openai_chat.json_value import (
    NAME,
    NOTE,
    Json,
    as_list,
    as_object,
    as_string,
    encode,
    left_as_extras,
    nested_extras,
    note,
    own_extras,
    pop_flag,
    pop_list,
    pop_object,
    pop_string,
    put_back,
)

_MODES = ("auto", "required", "none")


def decode_tools(request: Json) -> tuple[Tool, ...]:
    """Take the tools out of a request; legacy ``functions`` follow them."""
    offered = [_decode_tool(as_object(item, "A tool")) for item in pop_list(request, "tools") or ()]
    for item in pop_list(request, "functions") or ():
        function = as_object(item, "A function")
        function[NOTE + "legacy"] = True
        offered.append(_decode_function(function))
    return tuple(offered)


def encode_tools(tools: tuple[Tool, ...], dropped: list[str]) -> Json:
    """Return the request's ``tools``, or its ``functions`` when all are legacy. Raises UnsupportedError."""
    legacy = bool(tools) and all(note(tool.extras, "legacy") for tool in tools)
    encoded: list[Any] = []
    for index, tool in enumerate(tools):
        if tool.opaque is not None or tool.wire is not None:
            if tool.wire != NAME:
                raise UnsupportedError(NAME, f"tools[{index}]", f"it is a tool that only {tool.wire} has")
            encoded.append(tool.opaque)
            continue
        name_foreign_extras(tool.extras, f"tools[{index}]", dropped)
        own = own_extras(tool.extras)
        function: Json = {**nested_extras(own, "function"), "name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        if tool.parameters is not None:
            function["parameters"] = tool.parameters
        if tool.strict is not None:
            function["strict"] = tool.strict
        if not note(tool.extras, "schema"):
            function |= fitted_function(tool, NAME, f"tools[{index}]", dropped)
        encoded.append({**own, **function} if legacy else {**own, "type": "function", "function": function})
    if not encoded:
        return {}
    return {"functions" if legacy else "tools": encoded}


def fitted_function(tool: Tool, wire: str, path: str, dropped: list[str]) -> Json:
    """Return what of a function at ``path`` must change for OpenAI to take a schema that came in another wire format than ``wire``.

    Raises UnsupportedError where its root is no object.
    """
    changed: Json = {}
    parameters = tool.parameters
    if parameters is None:
        return changed
    if not is_plain_object(parameters):
        changed["parameters"] = object_root(parameters, wire, field=f"{path}.parameters", dropped=dropped)
    if tool.strict and not fits_openai_strict(changed.get("parameters", parameters)):
        dropped.append(f"{path}.strict")
        changed["strict"] = False
    return changed


def decode_tool_choice(request: Json) -> ToolChoice | None:
    """Take ``tool_choice``, or the legacy ``function_call``, out of a request."""
    choice = request.pop("tool_choice", None)
    if choice is not None:
        return _decode_choice(choice)
    legacy = request.pop("function_call", None)
    if legacy is None:
        return None
    marked = with_extras(NAME, {NOTE + "legacy": True})
    if type(legacy) is str:
        if legacy not in {"auto", "none"}:
            raise MalformedError("function_call is neither auto nor none nor a name.")
        return ToolChoice("none" if legacy == "none" else "auto", extras=marked)
    name = as_string(as_object(legacy, "function_call").get("name"), "function_call.name")
    return ToolChoice("tool", (name,), extras=marked)


def encode_tool_choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> Json:
    """Return ``tool_choice`` (or ``function_call``, where that is how it came and every tool is legacy)."""
    verbatim = extras_of(choice.extras, NAME).get("tool_choice")
    if verbatim is not None and _decode_choice(verbatim) == choice:
        return {"tool_choice": verbatim}
    if note(choice.extras, "legacy") and all(note(tool.extras, "legacy") for tool in tools):
        return {"function_call": {"name": choice.names[0]} if choice.mode == "tool" else choice.mode}
    if choice.mode == "none" or not choice.names:
        return {"tool_choice": "required" if choice.mode == "tool" else choice.mode}
    custom = {tool.name for tool in tools if tool.opaque is not None}
    named = [_named(name, custom) for name in choice.names]
    if len(named) == 1 and choice.mode != "auto":
        return {"tool_choice": named[0]}
    mode = "auto" if choice.mode == "auto" else "required"
    return {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}}


def decode_tool_calls(message: Json, *, positions: bool) -> list[ToolCall]:
    """Take the tool calls out of a message. ``positions`` keeps an ``index`` that a client gave them."""
    calls: list[ToolCall] = []
    for item in pop_list(message, "tool_calls") or ():
        call = as_object(item, "A tool call")
        if not positions:
            call.pop("index", None)
        calls.append(_decode_tool_call(call))
    legacy = pop_object(message, "function_call")
    if legacy is not None:
        calls.append(_decode_legacy_call(legacy))
    return calls


def encode_tool_call(call: ToolCall, call_id: str) -> Json:
    """Return an entry of ``tool_calls``."""
    own = own_extras(call.extras)
    kind = own.pop("type", "function")
    if kind == "custom":
        inner: Json = {**nested_extras(own, "custom"), "name": call.name, "input": call.arguments}
        return {**own, "id": call_id, "type": "custom", "custom": inner}
    if kind != "function":
        return {**own, "id": call_id, "type": kind}
    inner = {**nested_extras(own, "function"), "name": call.name, "arguments": call.arguments}
    return {**own, "id": call_id, "type": "function", "function": inner}


def encode_legacy_call(call: ToolCall) -> Json:
    """Return a ``function_call``."""
    return {**own_extras(call.extras), "name": call.name, "arguments": call.arguments}


def is_legacy(call: ToolCall) -> bool:
    """Whether the call came as ``function_call``."""
    return call.extras is not None and bool(note(call.extras, "legacy"))


def decode_arguments(arguments: Any) -> str:
    """Return a call's arguments as JSON text; some servers send the object itself."""
    if arguments is None:
        return ""
    if type(arguments) is not dict:
        return as_string(arguments, "arguments")
    try:
        return encode(arguments).decode()
    except UnsupportedError as error:
        raise MalformedError("A call's arguments are nested too deeply.") from error


def name_foreign_extras(extras: Extras | None, path: str, dropped: list[str]) -> None:
    """Name the extras at ``path`` (empty: the request's own) that belong to other wire formats."""
    if extras:
        name_foreign(extras, NAME, path, dropped)


def _decode_tool(item: Json) -> Tool:
    if (item.get("type") or "function") != "function":
        return Tool(name=_name_of(item) or "", wire=NAME, opaque=item)
    item.pop("type", None)
    function = pop_object(item, "function")
    if function is None:
        raise MalformedError("A function tool has no function.")
    tool = _decode_function(function)
    if tool.extras is not None:
        inner = dict(tool.extras[NAME])
        item |= {name: inner.pop(name) for name in (NOTE + "schema",) if name in inner}
        put_back(item, "function", inner)
    return Tool(tool.name, tool.description, tool.parameters, tool.strict, extras=left_as_extras(item))


def _decode_function(function: Json) -> Tool:
    name = pop_string(function, "name")
    if name is None:
        raise MalformedError("A function has no name.")
    parameters = pop_object(function, "parameters")
    strict = pop_flag(function, "strict")
    if parameters is not None and (not is_plain_object(parameters) or (strict and not fits_openai_strict(parameters))):
        function[NOTE + "schema"] = True  # it goes back as it came, whatever the provider says to it
    return Tool(
        name=name,
        description=pop_string(function, "description"),
        parameters=parameters,
        strict=strict,
        extras=left_as_extras(function),
    )


def _decode_choice(choice: Any) -> ToolChoice:
    if type(choice) is str:
        if choice in _MODES:
            return ToolChoice(choice)
        if choice == "any":  # Mistral's word
            return ToolChoice("required", extras=with_extras(NAME, {"tool_choice": choice}))
        raise MalformedError("tool_choice is not one of auto, required and none.")
    chosen = as_object(choice, "tool_choice")
    kind = chosen.get("type", "function")
    verbatim = with_extras(NAME, {"tool_choice": choice})
    if kind == "allowed_tools":
        allowed = as_object(chosen.get("allowed_tools"), "allowed_tools")
        mode = allowed.get("mode")
        tools = as_list(allowed.get("tools"), "allowed_tools.tools")
        names = tuple(name for tool in tools if (name := _name_of(as_object(tool, "An allowed tool"))) is not None)
        if type(mode) is not str or mode not in {"auto", "required"}:
            raise MalformedError("allowed_tools.mode is neither auto nor required.")
        return ToolChoice("auto" if mode == "auto" else "required", names, extras=verbatim)
    name = _name_of(chosen)
    if name is None:
        raise MalformedError("tool_choice names no tool.")
    plain = {"type": "function", "function": {"name": name}}
    return ToolChoice("tool", (name,), extras=None if chosen == plain else verbatim)


def _name_of(tool: Json) -> str | None:
    kind = tool.get("type") or "function"
    inner = tool.get(kind) if type(kind) is str else None
    name = (as_object(inner, kind) if type(inner) is dict else tool).get("name")
    return name if type(name) is str else None


def _named(name: str, custom: set[str]) -> Json:
    kind = "custom" if name in custom else "function"
    return {"type": kind, kind: {"name": name}}


def _decode_tool_call(call: Json) -> ToolCall:
    call_id = pop_string(call, "id") or ""
    kind = pop_string(call, "type") or "function"
    if kind not in {"function", "custom"}:
        call["type"] = kind
        return ToolCall(call_id, "", extras=left_as_extras(call))
    inner = pop_object(call, kind)
    if inner is None:
        raise MalformedError(f"A tool call has no {kind}.")
    name = pop_string(inner, "name")
    if name is None:
        raise MalformedError("A tool call has no name.")
    arguments = decode_arguments(inner.pop("input" if kind == "custom" else "arguments", None))
    put_back(call, kind, inner)
    if kind == "custom":
        call["type"] = kind
    return ToolCall(call_id, name, arguments, extras=left_as_extras(call))


def _decode_legacy_call(call: Json) -> ToolCall:
    name = pop_string(call, "name")
    if name is None:
        raise MalformedError("A function_call has no name.")
    arguments = decode_arguments(call.pop("arguments", None))
    call[NOTE + "legacy"] = True
    return ToolCall("", name, arguments, extras=left_as_extras(call))
