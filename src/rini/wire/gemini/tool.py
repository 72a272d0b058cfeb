"""Tools and whether to call them, in both directions.

Gemini groups tools: one tool object may hold many function declarations and server-side tools beside them. Canon's are a flat list, where
a server-side tool is an opaque ``{name: options}``. Without more said, neighbouring functions make one tool object and every other tool
makes one of its own; where a request grouped them otherwise, each tool keeps its object's place in the extras, as ``toolIndex``.
"""

from typing import Any, cast

import msgspec

from rini.canon import Tool, ToolChoice, extras_of, with_extras
from rini.wire.codec import UnsupportedError
from rini.wire.gemini.fields import WIRE, a_string, an_object, camel, objects, strings
from rini.wire.gemini.schema import from_json_schema, reads_openapi_only, to_json_schema
from rini.wire.json_schema import GEMINI, fits, fitted

_MODES = {"AUTO": "auto", "VALIDATED": "auto", "ANY": "required", "NONE": "none"}
# The numbers of FunctionCallingConfig.Mode in google.ai.generativelanguage.v1beta.
_NUMBERS = {1: "AUTO", 2: "ANY", 3: "NONE", 4: "VALIDATED"}


def decode_tools(value: object, model: str) -> tuple[Tool, ...]:
    """Return the tools of a request, flat. Raises MalformedError."""
    tools: list[Tool] = []
    places: list[int] = []
    for item in objects(value, "tools"):
        place = places[-1] + 1 if places else 0
        for name, content in camel(item).items():
            if name == "functionDeclarations":
                found = [_decode_function(each, model) for each in objects(content, name)]
            else:
                found = [Tool(name, wire=WIRE, opaque={name: content})]
            tools += found
            places += [place] * len(found)
    if places != _places(tools):
        return tuple(_placed(tool, place) for tool, place in zip(tools, places, strict=True))
    return tuple(tools)


def strict(tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """Return ``tools`` with functions whose arguments are held to their schemas, as VALIDATED asks."""
    return tuple(tool if tool.opaque is not None else msgspec.structs.replace(tool, strict=True) for tool in tools)


def encode_tools(tools: tuple[Tool, ...], model: str, dropped: list[str], *, validated: bool) -> list[dict[str, Any]]:
    """Return the tool objects that offer ``tools``; adds what was left out to ``dropped``. Raises UnsupportedError.

    ``validated``: the choice holds calls to their schemas.
    """
    groups: dict[int, dict[str, Any]] = {}
    # Tools without a place, added to those that have one, come after them.
    after = max((extras_of(tool.extras, WIRE).get("toolIndex", -1) for tool in tools), default=-1) + 1
    for index, (tool, default) in enumerate(zip(tools, _places(tools), strict=True)):
        path = f"tools[{index}]"
        extras = dict(extras_of(tool.extras, WIRE))
        group = groups.setdefault(extras.pop("toolIndex", after + default), {})
        if tool.opaque is None:
            group.setdefault("functionDeclarations", []).append(_encode_function(tool, model, extras, path, dropped))
            if tool.strict and not validated:
                dropped.append(f"{path}.strict")
        elif tool.wire != WIRE:
            raise UnsupportedError(WIRE, path, f"{tool.name or 'it'} is a tool that only {tool.wire} knows")
        else:
            group.update(tool.opaque)
    return [groups[place] for place in sorted(groups)]


def decode_choice(value: object) -> tuple[ToolChoice | None, dict[str, Any]]:
    """Return a ``toolConfig``'s choice, and its other fields. Raises MalformedError."""
    if value is None:
        return None, {}
    rest = camel(an_object(value, "toolConfig"))
    calling = camel(an_object(rest.get("functionCallingConfig", {}), "functionCallingConfig"))
    raw = calling.pop("mode", None)
    word = None if raw is None else _mode(raw)
    if word not in _MODES:
        # Nothing is said about the choice, or in a word that canon has no name for.
        return None, rest
    del rest["functionCallingConfig"]
    names = strings(calling.pop("allowedFunctionNames", []), "allowedFunctionNames")
    mode = "tool" if word == "ANY" and len(names) == 1 else _MODES[word]
    choice = ToolChoice(cast("Any", mode), names)
    if raw != _word(choice):
        calling["mode"] = raw
    return ToolChoice(choice.mode, names, extras=with_extras(WIRE, calling)), rest


def encode_choice(choice: ToolChoice) -> dict[str, Any]:
    """Return the ``functionCallingConfig`` for ``choice``."""
    fields: dict[str, Any] = {"mode": _word(choice)}
    if choice.names:
        fields["allowedFunctionNames"] = list(choice.names)
    fields.update(extras_of(choice.extras, WIRE))
    return fields


def is_validated(choice: ToolChoice | None) -> bool:
    """Tell whether ``choice`` is VALIDATED: calls are held to their schemas, but none must be made."""
    return choice is not None and _mode(encode_choice(choice)["mode"]) == "VALIDATED"


def _decode_function(value: dict[str, Any], model: str) -> Tool:
    fields = camel(value)
    name = a_string(fields.pop("name", ""), "functionDeclarations.name")
    description = fields.pop("description", None)
    if description is not None:
        a_string(description, "functionDeclarations.description")
    parameters = None
    if "parametersJsonSchema" in fields and "parameters" not in fields:
        parameters = an_object(fields.pop("parametersJsonSchema"), "parametersJsonSchema")
        if reads_openapi_only(model) or not fits(parameters, GEMINI):
            fields["parametersJsonSchema"] = parameters  # it goes back as it came
    elif "parameters" in fields:
        parameters = to_json_schema(an_object(fields["parameters"], "parameters"))
    return Tool(name, description=description, parameters=parameters, extras=with_extras(WIRE, fields))


def _encode_function(tool: Tool, model: str, extras: dict[str, Any], path: str, dropped: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        fields["description"] = tool.description
    original, verbatim = extras.pop("parameters", None), extras.pop("parametersJsonSchema", None)
    if original is not None and to_json_schema(original) == tool.parameters:
        fields["parameters"] = original
        if verbatim is not None:
            fields["parametersJsonSchema"] = verbatim
    elif tool.parameters is not None and verbatim == tool.parameters:
        fields["parametersJsonSchema"] = verbatim
    elif tool.parameters is not None and reads_openapi_only(model):
        if tool.parameters.get("properties") or "properties" not in tool.parameters:
            # An object without properties is refused there: a function without arguments has no parameters.
            fields["parameters"] = from_json_schema(tool.parameters, f"{path}.parameters", dropped)
    elif tool.parameters is not None:
        fields["parametersJsonSchema"] = fitted(tool.parameters, GEMINI, field=f"{path}.parameters", dropped=dropped)
    fields.update(extras)
    return fields


def _places(tools: tuple[Tool, ...] | list[Tool]) -> list[int]:
    """Return for each tool the place of its tool object by default."""
    places: list[int] = []
    joins = False
    for tool in tools:
        function = tool.opaque is None
        places.append((places[-1] if places else 0) + (0 if function and joins else bool(places)))
        joins = function
    return places


def _placed(tool: Tool, place: int) -> Tool:
    extras = {WIRE: {**extras_of(tool.extras, WIRE), "toolIndex": place}}
    return Tool(
        tool.name,
        description=tool.description,
        parameters=tool.parameters,
        wire=tool.wire,
        opaque=tool.opaque,
        extras=extras,
    )


def _mode(raw: object) -> str | None:
    return _NUMBERS.get(raw) if isinstance(raw, int) else a_string(raw, "mode").upper()


def _word(choice: ToolChoice) -> str:
    match choice.mode:
        case "auto":
            # Names go with ANY and VALIDATED only (FunctionCallingConfig, Gemini API reference).
            return "VALIDATED" if choice.names else "AUTO"
        case "none":
            return "NONE"
        case "required" | "tool":
            return "ANY"
