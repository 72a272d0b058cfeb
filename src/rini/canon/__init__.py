"""The canonical conversation: pure values that every wire format is decoded to and encoded from.

Read part -> message -> tool -> request for what is asked, and usage -> reply -> event -> failure for what
comes back. Values are frozen; nothing here does I/O. JSON numbers, strings and unknown fields of a provider
are kept exactly as they came, in ``extras``, keyed by the wire format that they belong to.
"""

from rini.canon.collect import ReplyBuilder, collect, merge_extras
from rini.canon.embedding import EmbeddingInput, EmbeddingReply, EmbeddingRequest, Vector, VectorEncoding
from rini.canon.event import (
    Event,
    Finish,
    Meta,
    PartDelta,
    PartStart,
    PartStop,
    Start,
    StreamFailure,
    UsageUpdate,
)
from rini.canon.extras import Extras, extras_of, with_extras
from rini.canon.failure import Failure, FailureKind
from rini.canon.message import Message, Role
from rini.canon.model_info import Capabilities, ModelInfo, ModelPrices
from rini.canon.part import (
    Audio,
    Document,
    Image,
    Media,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
    plain_text,
)
from rini.canon.reply import Choice, FinishReason, Reply
from rini.canon.request import Reasoning, Request, ResponseFormat
from rini.canon.tool import Tool, ToolChoice
from rini.canon.usage import Usage

__all__ = [
    "Audio",
    "Capabilities",
    "Choice",
    "Document",
    "EmbeddingInput",
    "EmbeddingReply",
    "EmbeddingRequest",
    "Event",
    "Extras",
    "Failure",
    "FailureKind",
    "Finish",
    "FinishReason",
    "Image",
    "Media",
    "Message",
    "Meta",
    "ModelInfo",
    "ModelPrices",
    "Opaque",
    "Part",
    "PartDelta",
    "PartStart",
    "PartStop",
    "Reasoning",
    "Refusal",
    "Reply",
    "ReplyBuilder",
    "Request",
    "ResponseFormat",
    "Role",
    "Start",
    "StreamFailure",
    "Text",
    "Thinking",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolResult",
    "Usage",
    "UsageUpdate",
    "Vector",
    "VectorEncoding",
    "Video",
    "collect",
    "extras_of",
    "merge_extras",
    "plain_text",
    "with_extras",
]
