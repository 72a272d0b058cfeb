"""What a request asks for besides its conversation, read from each format's plain JSON in the same words for all."""

from collections.abc import Callable
from typing import Any

Asked = dict[str, Any]


def asked(form: str, body: dict[str, Any]) -> Asked:
    """Return the choice of tools (``auto``, ``required``, ``none`` or a tool's name), the tools' names, limits, stop strings, the form."""
    return _READERS[form](body)


def _chat(body: dict[str, Any]) -> Asked:
    functions = [{"function": each} for each in body.get("functions") or ()]
    tools = [each["function"]["name"] for each in [*(body.get("tools") or ()), *functions] if "function" in each]
    choice = body.get("tool_choice") or body.get("function_call")
    if isinstance(choice, dict):
        choice = _chosen(choice)
    stop = body.get("stop") or []
    wanted = body.get("response_format") or {}
    return {
        "tools": tools,
        "choice": choice if tools else None,
        "limit": body.get("max_completion_tokens") or body.get("max_tokens"),
        "stop": [stop] if isinstance(stop, str) else stop,
        "form": wanted.get("type", "text"),
        "top_p": body.get("top_p"),
    }


def _chosen(choice: dict[str, Any]) -> str | None:
    """The tool that must be called; of several allowed ones whether one must be."""
    allowed = choice.get("allowed_tools") or choice
    return (choice.get("function") or choice).get("name") or allowed.get("mode")


def _responses(body: dict[str, Any]) -> Asked:
    tools = [each["name"] for each in body.get("tools") or () if each["type"] == "function"]
    choice = body.get("tool_choice")
    wanted = (body.get("text") or {}).get("format") or {}
    return {
        "tools": tools,
        "choice": (_chosen(choice) if isinstance(choice, dict) else choice) if tools else None,
        "limit": body.get("max_output_tokens"),
        "stop": [],
        "form": wanted.get("type", "text"),
        "top_p": body.get("top_p"),
    }


def _messages(body: dict[str, Any]) -> Asked:
    tools = [each["name"] for each in body.get("tools") or () if each.get("type") in (None, "custom")]
    choice = body.get("tool_choice") or {}
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    return {
        "tools": tools,
        "choice": {"any": "required", "tool": choice.get("name")}.get(choice.get("type"), choice.get("type"))
        if tools
        else None,
        "limit": body.get("max_tokens"),
        "stop": body.get("stop_sequences") or [],
        "form": wanted.get("type", "text"),
        "top_p": body.get("top_p"),
    }


def _contents(body: dict[str, Any]) -> Asked:
    def either(value: dict[str, Any] | None, camel: str, snake: str) -> Any:
        value = value or {}
        return value.get(camel, value.get(snake))

    lists = [either(each, "functionDeclarations", "function_declarations") or () for each in _listed(body.get("tools"))]
    tools = [each["name"] for listed in lists for each in _listed(listed)]
    calling = (
        either(either(body, "toolConfig", "tool_config"), "functionCallingConfig", "function_calling_config") or {}
    )
    mode = calling.get("mode")
    names = either(calling, "allowedFunctionNames", "allowed_function_names") or []
    forced = names[0] if len(names) == 1 else "required"
    choice = {"ANY": forced, "NONE": "none", "AUTO": "auto", "VALIDATED": "auto"}.get(mode)  # VALIDATED forces no call
    config = either(body, "generationConfig", "generation_config")
    schema = either(config, "responseSchema", "response_schema") or either(
        config, "responseJsonSchema", "response_json_schema"
    )
    mime = either(config, "responseMimeType", "response_mime_type")
    return {
        "tools": tools,
        "choice": choice if tools else None,
        "limit": either(config, "maxOutputTokens", "max_output_tokens"),
        "stop": either(config, "stopSequences", "stop_sequences") or [],
        "form": "json_schema" if schema else "json_object" if mime == "application/json" else "text",
        "top_p": either(config, "topP", "top_p"),
    }


def _listed(value: Any) -> list[Any]:
    """A single message stands for a list of one."""
    return [value] if isinstance(value, dict) else list(value or ())


_READERS: dict[str, Callable[[dict[str, Any]], Asked]] = {
    "openai_chat": _chat,
    "openai_responses": _responses,
    "anthropic": _messages,
    "gemini": _contents,
}
