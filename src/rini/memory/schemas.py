"""What the endpoints of memory take and give."""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from rini.kit.parameters import LARGEST_ID
from rini.kit.text import storable

MOST_CHARACTERS = 16_000
MOST_SOURCES = 1000
MOST_KEYWORDS = 100
KEYWORD_CHARACTERS = 100
HIGHEST_IMPORTANCE = 1000

MemoryType = Literal[
    "Fact",
    "Rule",
    "User Instruction",
    "Summary",
    "Model Reflection",
    "Task",
    "User State",
    "Model State",
    "System Config",
]
Scope = Literal["Session", "Shared"]


def _in_any_case(kind: Any) -> BeforeValidator:
    exact = {value.lower(): value for value in get_args(kind)}

    def spelled(value: object) -> object:
        return exact.get(value.lower(), value) if isinstance(value, str) else value

    return BeforeValidator(spelled)


def _each_once(ids: list[int]) -> list[int]:
    return list(dict.fromkeys(ids))


_Storable = AfterValidator(storable)
MemoryTypeField = Annotated[MemoryType, _in_any_case(MemoryType)]
ScopeField = Annotated[Scope, _in_any_case(Scope), Field(description="Shared: of all my sessions; it outlives them.")]
Content = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS), _Storable]
SourceIds = Annotated[
    list[Annotated[int, Field(strict=True, ge=1, le=LARGEST_ID)]],
    Field(max_length=MOST_SOURCES, description="Messages of mine, in whichever session. Each is kept once."),
    AfterValidator(_each_once),
]
Keywords = Annotated[
    list[Annotated[str, Field(max_length=KEYWORD_CHARACTERS), _Storable]], Field(max_length=MOST_KEYWORDS)
]
Importance = Annotated[
    float,
    Field(
        strict=True,
        ge=0,
        le=HIGHEST_IMPORTANCE,
        description="On any scale from 0 to 1000: only the order counts. None is below 0.",
    ),
]


class MemoryCreate(BaseModel):
    """An entry to keep beside a session, or beside all sessions (scope Shared)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"memory_type": "Rule", "content": "Answer in Korean.", "importance": 0.9}]}
    )

    memory_type: MemoryTypeField
    scope: ScopeField = "Session"
    content: Content
    source_message_ids: SourceIds | None = None
    keywords: Keywords | None = None
    importance: Importance | None = None


@with_config(ConfigDict(json_schema_extra={"examples": [{"content": "Answer in Korean and in English."}]}))
class MemoryChange(TypedDict, total=False):
    """What is to change of an entry; the rest stays. ``session_id`` names the session that it then belongs to (scope Session)."""

    memory_type: MemoryTypeField
    scope: ScopeField
    session_id: str | None
    content: Content
    source_message_ids: SourceIds | None
    keywords: Keywords | None
    importance: Importance | None


class MemoryEntry(BaseModel):
    """An entry. ``session_id`` is null in a Shared one; ``timestamp`` is when it was made or last changed."""

    id: int
    user_id: int
    session_id: str | None = None
    timestamp: datetime
    memory_type: MemoryType
    scope: Scope
    content: str
    source_message_ids: list[int] | None = None
    keywords: list[str] | None = None
    importance: float | None = None
