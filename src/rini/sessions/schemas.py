"""What the endpoints of sessions and messages take and give."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from rini.kit.parameters import LARGEST_ID
from rini.kit.text import storable

MemoryMode = Literal["auto", "explicit", "disabled"]
ContextPolicy = Literal["refuse", "truncate", "compact"]
_Storable = AfterValidator(storable)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class SessionWrite(BaseModel):
    """A session to make or change. What a change leaves out stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"alias": "travel", "system_prompt": "Answer in one sentence."}]}
    )

    alias: Annotated[str, Field(max_length=1000), _Storable] | None = None
    system_prompt: Annotated[str, Field(max_length=1_000_000), _Storable] | None = None
    memory_mode: Annotated[MemoryMode, BeforeValidator(_lower)] = "auto"
    context_policy: Annotated[
        ContextPolicy,
        BeforeValidator(_lower),
        Field(
            description="What is done with a conversation that the model cannot read whole: refuse the question, leave the oldest turns out (truncate), or have them summarised (compact)."
        ),
    ] = "compact"


class Session(BaseModel):
    """A session. ``head_message_id`` is the tip of its current branch."""

    id: str
    user_id: int
    alias: str | None
    system_prompt: str | None
    memory_mode: MemoryMode
    context_policy: ContextPolicy
    head_message_id: int | None = None
    created_at: datetime
    updated_at: datetime


class MessageCreate(BaseModel):
    """A message to store without asking a model. Without a parent it continues the current branch."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "user", "content": "Hello"}]})

    role: Literal["user", "assistant", "system"]
    content: Annotated[str, _Storable]
    parent_message_id: Annotated[int, Field(strict=True, ge=1, le=LARGEST_ID)] | None = None


class ToolUse(BaseModel):
    """A tool call of the model, and what the tool answered; ``result`` is null for a call that was not made."""

    id: str
    name: str
    arguments: str
    result: str | None = None
    is_error: bool = False


class Message(BaseModel):
    """A message. ``status`` is ``partial`` when its answer broke off, and ``status_reason`` says why.

    Of an answer, ``memory_ids`` names the memory that the model was given, and ``tool_calls`` the tools that it used.
    """

    id: int
    session_id: str
    user_id: int
    role: str
    content: str
    parent_message_id: int | None = None
    file_reference: str | None = None
    original_filename: str | None = None
    mime_type: str | None = None
    model_used: str | None = None
    token_count: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    response_time_ms: int | None = None
    status: Literal["complete", "partial", "running"] = "complete"
    status_reason: str | None = None
    finish_reason: str | None = None
    memory_ids: list[int] | None = None
    tool_calls: list[ToolUse] | None = None
    labels: list[str] = []
    note: str | None = None
    created_at: datetime
