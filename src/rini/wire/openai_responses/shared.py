"""The fields of a request that OpenAI has in chat completions and in responses alike, so that they pass from one to the other."""

from collections.abc import Mapping
from typing import Any, Final

from rini.canon import Extras
from rini.wire.openai_chat.json_value import NAME as CHAT
from rini.wire.openai_chat.json_value import Json, as_object

_ALIKE: Final = frozenset(
    {
        "metadata",
        "moderation",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
    }
)

_BREAKPOINT: Final = "prompt_cache_breakpoint"


def split_shared(extras: Extras | None) -> tuple[Json, Extras | None]:
    """Return what of a chat completion's own fields responses have too, by their names there, and all extras without those."""
    fields: Mapping[str, Any] | None = extras and extras.get(CHAT)
    if extras is None or not fields:
        return {}, extras
    shared: Json = {}
    rest: Json = {}
    for name, value in fields.items():
        if name in _ALIKE:
            shared[name] = value
        elif name == "verbosity":
            shared["text"] = {"verbosity": value}
        elif name == "stream_options" and type(value) is dict:
            options = dict(as_object(value, name))
            if "include_obfuscation" in options:
                shared[name] = {"include_obfuscation": options.pop("include_obfuscation")}
            rest[name] = options
        else:
            rest[name] = value
    return shared, {**extras, CHAT: rest}


def split_shared_of_content(extras: Extras | None) -> tuple[Json, Extras | None]:
    """Return the same of a part that a user or a tool wrote."""
    fields: Mapping[str, Any] | None = extras and extras.get(CHAT)
    if extras is None or not fields or _BREAKPOINT not in fields:
        return {}, extras
    rest = {name: value for name, value in fields.items() if name != _BREAKPOINT}
    return {_BREAKPOINT: fields[_BREAKPOINT]}, {**extras, CHAT: rest}
