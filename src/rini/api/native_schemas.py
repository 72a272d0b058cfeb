"""What /llm takes and gives, as msgspec values: they are on the way of every call."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from rini.providers.catalog import PROVIDERS
from rini.sessions.shown import ToolUse

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Params = Annotated[
    msgspec.Raw,
    Meta(
        description="An object of call parameters by the provider's own names, or by OpenAI's; at most 64 KiB.",
        extra_json_schema={"type": ["object", "null"], "additionalProperties": True},
    ),
]
"""Not read with the rest: its size is looked at first, since read it takes many times its bytes."""
ModelName = Annotated[str, Meta(min_length=1, max_length=256, description="The provider's name of the model.")]
IfBusy = Annotated[
    Literal["queue", "reject", "interrupt"],
    Meta(
        description="Without a parent, while another question is answered at the branch's tip: wait, fail with 409, or end that answer."
    ),
]
OtherProvider = Annotated[str, Meta(max_length=64, description="Who is asked.")]
ProviderField = Annotated[
    str, Meta(max_length=64, description="Who is asked.", extra_json_schema={"enum": list(PROVIDERS)})
]


class TextCompletionRequest(msgspec.Struct, kw_only=True):
    """A question; with ``session_id`` it continues that session and is stored with its answer.

    ``background``: the answer does not end when its client leaves. Unless it is streamed, it is not waited for: 202 says which message it will be.
    """

    text: Annotated[str, Meta(min_length=1)]
    provider: ProviderField
    model: ModelName
    session_id: str | None = None
    llm_params: Params = msgspec.field(default_factory=msgspec.Raw)
    stream: bool = False
    parent_message_id: Id | None = None
    api_key_id: Id | None = None
    if_busy: IfBusy = "queue"
    background: bool = False


class ChatMessage(msgspec.Struct):
    """One message of a conversation that the client keeps."""

    role: Literal["user", "assistant", "system"]
    content: str


class ChatCompletionRequest(msgspec.Struct, kw_only=True):
    """A whole conversation. It is never stored."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    provider: ProviderField
    model: ModelName
    llm_params: Params = msgspec.field(default_factory=msgspec.Raw)
    stream: bool = False
    api_key_id: Id | None = None


class MessageShown(msgspec.Struct, kw_only=True):
    """A stored message."""

    id: int
    session_id: str
    user_id: int
    role: str
    content: str
    parent_message_id: int | None
    file_reference: str | None
    original_filename: str | None
    mime_type: str | None
    model_used: str | None
    token_count: int | None
    prompt_tokens: int | None
    completion_tokens: int | None
    response_time_ms: int | None
    status: str
    status_reason: str | None
    finish_reason: str | None
    memory_ids: list[int] | None
    tool_calls: list[ToolUse] | None
    labels: list[str]
    note: str | None
    created_at: datetime


class Begun(msgspec.Struct, kw_only=True):
    """An answer that goes on by itself: ``GET /messages/{assistant_message_id}`` says what has become of it."""

    session_id: str
    user_message: MessageShown | None
    assistant_message_id: int


class UsageShown(msgspec.Struct, kw_only=True):
    """What a call used. Tokens in total, and the shares of them that count apart; ``cost_usd`` is null when unpriced."""

    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: str | None


class ContextShown(msgspec.Struct, kw_only=True):
    """Where the model began to read the conversation: after the message ``after_message_id``, by the cut ``cut``, made in this turn if ``made_now``.

    ``summary``: a summary stood for what was before. ``reason`` says why there is none of all of it, though one was wanted: an error's code.
    """

    cut: int
    after_message_id: int
    made_now: bool
    summary: bool
    reason: str | None


class TextCompletionResponse(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The answer. The session and the messages are there only with a session, ``context`` only where older ones were left out."""

    response_text: str
    session_id: str | None = None
    user_message: MessageShown | None = None
    assistant_message: MessageShown | None = None
    thinking: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    tool_calls: list[ToolUse] | None = None
    context: ContextShown | None = None
    usage: UsageShown | None = None


class ImageCompletionRequest(msgspec.Struct, kw_only=True):
    """The fields of the form besides ``image_file``. Without a model the provider's usual one is asked."""

    provider: ProviderField
    model: ModelName | None = None
    prompt: Annotated[str, Meta(min_length=1)] = "Describe this image."
    session_id: str | None = None
    llm_params: Params = msgspec.field(default_factory=msgspec.Raw)
    stream: bool = False
    parent_message_id: Id | None = None
    api_key_id: Id | None = None
    if_busy: IfBusy = "queue"


class RegenerateRequest(msgspec.Struct, kw_only=True):
    """Another answer to a question. Without a provider and a model those of the message are asked, or of the question's newest answer."""

    provider: OtherProvider | None = None
    model: ModelName | None = None
    llm_params: Params = msgspec.field(default_factory=msgspec.Raw)
    stream: bool = False
    api_key_id: Id | None = None
    background: bool = False


class EditRequest(msgspec.Struct, kw_only=True):
    """A question in other words, beside the first one. A file that came with that one goes along."""

    text: Annotated[str, Meta(min_length=1)]
    provider: OtherProvider | None = None
    model: ModelName | None = None
    llm_params: Params = msgspec.field(default_factory=msgspec.Raw)
    stream: bool = False
    api_key_id: Id | None = None
    background: bool = False


class ComparedModel(msgspec.Struct, kw_only=True):
    """One of the models that are compared."""

    provider: ProviderField
    model: ModelName
    llm_params: Params = msgspec.field(default_factory=msgspec.Raw)
    api_key_id: Id | None = None


class CompareRequest(msgspec.Struct, kw_only=True):
    """Several models that answer the same question."""

    models: Annotated[list[ComparedModel], Meta(min_length=1, max_length=8)]
    stream: bool = False


class Compared(msgspec.Struct, kw_only=True):
    """What one of them answered, or the problem document that says why it did not."""

    provider: str
    model: str
    answer: "TextCompletionResponse | None"
    error: dict[str, Any] | None


class CompareResponse(msgspec.Struct, kw_only=True):
    """All answers, in the order of the models. They are siblings below the question; the first one is the branch's tip."""

    answers: list[Compared]


class ChatCompletionResponse(msgspec.Struct, kw_only=True):
    """The answer to a conversation that the client keeps."""

    response_text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    thinking: str | None
    model: str | None
    finish_reason: str | None
    tool_calls: list[ToolUse] | None
    usage: UsageShown
