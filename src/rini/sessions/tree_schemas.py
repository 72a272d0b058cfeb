"""What the endpoints of the tree take and give."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from rini.kit.parameters import LARGEST_ID
from rini.kit.text import storable
from rini.sessions.marks import MOST_LABELS
from rini.usage.schemas import UsdText

LONGEST_NOTE = 10_000

Id = Annotated[int, Field(strict=True, ge=1, le=LARGEST_ID)]


class TreeNode(BaseModel):
    """A message in the tree, with a preview of its text.

    ``tokens`` is the provider's count of an answer, else about what the message has. ``cost_usd`` is null where nothing was called or the
    model has no price. ``child_count`` is of those right below it; where not all are shown ``children_after`` is the id to go on from
    (``?from=<this id>&after=<that>``), and where none is, the page ends at this depth.
    """

    id: int
    parent_message_id: int | None
    depth: int
    role: str
    status: Literal["complete", "partial", "running"]
    preview: str
    provider: str | None
    model: str | None
    tokens: int | None
    cost_usd: UsdText | None
    labels: list[str]
    note: str | None
    created_at: datetime
    on_head_path: bool
    is_head: bool
    child_count: int
    children_after: int | None
    children: "list[TreeNode] | None" = Field(None, description="Null in the flat shape.")


class Tree(BaseModel):
    """A page of a session's tree. ``cost_usd`` is what all calls in the session cost, those for deleted messages too; calls without a price are not in it.

    ``next_after`` is there when more messages stand beside the topmost ones: ``?after=<that>`` goes on.
    """

    session_id: str
    head_message_id: int | None
    message_count: int
    cost_usd: UsdText | None
    shape: Literal["nested", "flat"]
    next_after: int | None
    messages: list[TreeNode]


class HeadWrite(BaseModel):
    """The message that is to be the tip of the current branch; null: the next question begins a tree of its own."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"message_id": 1}]})

    message_id: Id | None


class Head(BaseModel):
    """The tip of a session's current branch."""

    session_id: str
    head_message_id: int | None


Label = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(storable)]


class MessageMarks(BaseModel):
    """Labels (all of them) and a note for a message. What is left out stays."""

    # Whoever sends a content here wants POST /messages/{id}/edit.
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"labels": ["idea"], "note": "To be looked at."}]}
    )

    labels: Annotated[list[Label], Field(max_length=MOST_LABELS)] | None = None
    note: Annotated[str, Field(max_length=LONGEST_NOTE), AfterValidator(storable)] | None = None


class LabelCount(BaseModel):
    """A label, and how many messages have it."""

    label: str
    messages: int
