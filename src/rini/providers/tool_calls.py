"""How providers differ in calling tools, as data.

Sources: Anthropic's and OpenAI's guides to tool use, read in November 2026.
"""


def holds_to_one_call(provider: str, model: str) -> bool:
    """Tell whether the model can be held to one call at a time (``parallel_tool_calls`` false).

    OpenAI's reasoning models refuse the parameter, Gemini has none, and of other servers it is not known.
    """
    return provider == "anthropic" or (provider == "openai" and model.startswith(("gpt-3", "gpt-4")))


def needs_declared_tools(provider: str) -> bool:
    """Tell whether a conversation with tool calls must declare tools, also where none may be called any more."""
    return provider == "anthropic"
