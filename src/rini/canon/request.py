"""What is asked of a model."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from rini.canon.extras import Extras
from rini.canon.message import Message
from rini.canon.tool import Tool, ToolChoice


class ResponseFormat(msgspec.Struct, frozen=True, omit_defaults=True):
    """The form that the answer must have. ``schema`` (a JSON schema) goes with ``json_schema``."""

    kind: Literal["text", "json", "json_schema"]
    schema: Mapping[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    extras: Extras | None = None


class Reasoning(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much the model may think.

    ``enabled`` False switches it off, True on, ``None`` says nothing. ``effort`` is the provider's word (minimal, low, medium,
    high …), ``budget_tokens`` an upper bound (-1: the model decides), ``include`` whether the thoughts are to be shown.
    """

    enabled: bool | None = None
    effort: str | None = None
    budget_tokens: int | None = None
    include: bool | None = None
    extras: Extras | None = None


class Request(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One call of a model. Every parameter is ``None`` where the client said nothing, and is then not sent.

    Token limits are in tokens; ``stop`` are strings; ``top_logprobs`` is the number of alternatives (``logprobs``
    asks for them at all).
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | int | None = None
    top_p: float | int | None = None
    top_k: int | float | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    presence_penalty: float | int | None = None
    frequency_penalty: float | int | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    user: str | None = None
    stream: bool = False
    extras: Extras | None = None
