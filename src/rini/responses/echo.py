"""What a response repeats of its request: nearly all of it but the input."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

REPEATED = (
    "background",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)


def repeated(request: Mapping[str, Any]) -> Json:
    """Return what the response to a request in OpenAI's form repeats of it, with OpenAI's defaults where it says nothing."""
    fields: Json = {name: value for name in REPEATED if (value := request.get(name)) is not None}
    fields["text"] = {"format": {"type": "text"}, **fields.get("text", {})}
    fields["reasoning"] = {"effort": None, "summary": None, **fields.get("reasoning", {})}
    fields["tools"] = [_tool(tool) for tool in fields.get("tools", ())]
    if "prompt_cache_options" in fields:
        fields["prompt_cache_options"] = {"ttl": "30m", "mode": "implicit", **fields["prompt_cache_options"]}
    return fields


def _tool(tool: Json) -> Json:
    match tool.get("type"):
        case "function":
            # OpenAI makes a function strict where its request does not say.
            return {"description": None, "parameters": None, "strict": True, **tool}
        case "mcp":
            # Whoever reads the response is not to find the server's credentials there.
            return {name: value for name, value in tool.items() if name not in ("authorization", "headers")}
        case _:
            return tool
