"""Tools on offer and the choice between them. OpenAI's own tools, and those with a grammar, are opaque."""

from typing import Any

from rini.canon import Tool, ToolChoice, extras_of, with_extras
from rini.wire.codec import MalformedError, UnsupportedError
from rini.wire.foreign import name_foreign
from rini.wire.openai_chat.json_value import (
    NOTE,
    Json,
    as_list,
    as_object,
    as_string,
    pop_flag,
    pop_list,
    pop_object,
    pop_string,
)
from rini.wire.openai_chat.json_value import note as told_by_chat
from rini.wire.openai_chat.tool import fitted_function
from rini.wire.openai_responses.fields import NAME, left_as_extras, note, own_extras

_MODES = ("auto", "required", "none")


def decode_tools(request: Json) -> tuple[Tool, ...]:
    """Take the tools out of a request. Raises MalformedError."""
    return tuple(_decode_tool(as_object(item, "A tool")) for item in pop_list(request, "tools") or ())


def encode_tools(tools: tuple[Tool, ...], dropped: list[str], *, verbatim: bool) -> list[Any]:
    """Return the request's ``tools``; ``verbatim``: they came in this format. Raises UnsupportedError."""
    encoded: list[Any] = []
    for index, tool in enumerate(tools):
        if tool.opaque is not None or tool.wire is not None:
            if tool.wire != NAME:
                raise UnsupportedError(NAME, f"tools[{index}]", f"it is a tool that only {tool.wire} has")
            encoded.append(tool.opaque)
            continue
        name_foreign(tool.extras, NAME, f"tools[{index}]", dropped)
        function = encode_function(tool)
        if not verbatim and not told_by_chat(tool.extras, "schema"):
            function |= fitted_function(tool, NAME, f"tools[{index}]", dropped)
        encoded.append(function)
    return encoded


def encode_function(tool: Tool) -> Json:
    """Return a function.

    OpenAI makes the schema of a function strict where the request says nothing (its guide "Function calling", August 2026), and other
    wire formats do not: so what comes from one of them says that it is not.
    """
    function: Json = {"type": "function", **own_extras(tool.extras), "name": tool.name, "parameters": tool.parameters}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    elif not note(tool.extras, "default"):
        function["strict"] = False
    return function


def decode_tool_choice(choice: Any) -> ToolChoice | None:
    """Return the ``tool_choice`` of a request. Raises MalformedError."""
    if choice is None:
        return None
    if type(choice) is str:
        if choice in _MODES:
            return ToolChoice(choice)
        raise MalformedError("tool_choice is not one of auto, required and none.")
    chosen = as_object(choice, "tool_choice")
    kind = as_string(chosen.get("type"), "tool_choice.type")
    verbatim = with_extras(NAME, {"tool_choice": choice})
    if kind == "allowed_tools":
        mode = chosen.get("mode")
        if mode not in ("auto", "required"):
            raise MalformedError("tool_choice.mode is neither auto nor required.")
        tools = as_list(chosen.get("tools"), "tool_choice.tools")
        names = tuple(_name_of(as_object(tool, "An allowed tool")) for tool in tools)
        return ToolChoice("auto" if mode == "auto" else "required", names, extras=verbatim)
    name = chosen.get("name")
    if kind == "function":
        name = as_string(name, "tool_choice.name")
        return ToolChoice("tool", (name,), extras=None if len(chosen) == 2 else verbatim)
    return ToolChoice("tool", (_name_of(chosen),), extras=verbatim)


def encode_tool_choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> Any:
    """Return ``tool_choice``."""
    verbatim = extras_of(choice.extras, NAME).get("tool_choice")
    told = decode_tool_choice(verbatim)
    if told is not None and (told.mode, told.names) == (choice.mode, choice.names):
        return verbatim
    if choice.mode == "none" or not choice.names:
        return "required" if choice.mode == "tool" else choice.mode
    opaque: Json = {tool.name: as_object(tool.opaque, "A tool") for tool in tools if tool.opaque is not None}
    named = [_reference(name, opaque.get(name)) for name in choice.names]
    if len(named) == 1 and choice.mode != "auto":
        return named[0]
    return {"type": "allowed_tools", "mode": "auto" if choice.mode == "auto" else "required", "tools": named}


def _decode_tool(item: Json) -> Tool:
    kind = item.get("type")
    if kind is not None and kind != "function":
        return Tool(name=_name_of(item), wire=NAME, opaque=item)
    item.pop("type", None)
    name = pop_string(item, "name")
    if name is None:
        raise MalformedError("A function has no name.")
    strict = pop_flag(item, "strict")
    if strict is None:
        item[NOTE + "default"] = True
    return Tool(
        name=name,
        description=pop_string(item, "description"),
        parameters=pop_object(item, "parameters"),
        strict=strict,
        extras=left_as_extras(item),
    )


def _name_of(tool: Json) -> str:
    """Return what a tool is called: by its name, an MCP server by its label, and OpenAI's own by what they are."""
    for field in ("name", "server_label", "type"):
        name = tool.get(field)
        if type(name) is str:
            return name
    return ""


def _reference(name: str, opaque: Any) -> Json:
    if opaque is None:
        return {"type": "function", "name": name}
    reference: Json = {"type": opaque.get("type")}
    reference |= {field: opaque[field] for field in ("name", "server_label") if field in opaque}
    return reference
