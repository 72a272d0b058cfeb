"""Which providers have what others do not: for the sentence that refuses it."""

from collections.abc import Mapping

# By canon's field of a request.
_HAVE: Mapping[str, tuple[str, ...]] = {
    "n": ("openai", "openai_compatible", "google"),
    "logprobs": ("openai", "openai_compatible", "google"),
    "top_logprobs": ("openai", "openai_compatible", "google"),
    "top_k": ("anthropic", "google", "openai_compatible"),
    "seed": ("openai", "openai_compatible", "google"),
    "presence_penalty": ("openai", "openai_compatible", "google"),
    "frequency_penalty": ("openai", "openai_compatible", "google"),
    "parallel_tool_calls": ("openai", "openai_compatible", "anthropic"),
    "stop": ("openai", "openai_compatible", "anthropic", "google"),
}


def who_has(field: str, provider: str) -> str:
    """Return a sentence that names the other providers that have ``field``; empty where there are none to name."""
    others = [name for name in _HAVE.get(field.partition("[")[0].partition(".")[0], ()) if name != provider]
    return f" {', '.join(others)} {'has' if len(others) == 1 else 'have'} it." if others else ""
