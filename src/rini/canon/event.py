"""The events of a streamed answer, in the order in which they come.

    Start  (PartStart PartDelta* PartStop)*  UsageUpdate*  Finish per choice  | StreamFailure

Parts of one choice may interleave (their ``index`` tells them apart); Meta and UsageUpdate may come anywhere.
``index`` counts the parts of one choice from 0 without gaps, in the order of their PartStart.
"""

import msgspec

from rini.canon.extras import Extras
from rini.canon.failure import Failure
from rini.canon.part import Part
from rini.canon.reply import FinishReason
from rini.canon.usage import Usage


class Start(msgspec.Struct, frozen=True, omit_defaults=True, tag="start"):
    """The provider began to answer."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    extras: Extras | None = None


class PartStart(msgspec.Struct, frozen=True, omit_defaults=True, tag="part_start"):
    """A new part, with what it holds already (an empty Text, a ToolCall without arguments, a whole Opaque)."""

    index: int
    part: Part
    choice: int = 0


class PartDelta(msgspec.Struct, frozen=True, omit_defaults=True, tag="part_delta"):
    """More of a part that was started.

    ``text`` is appended to Text, Thinking or Refusal text, to ToolCall.arguments, to Audio.transcript;
    ``data`` to Audio's base64 or to Thinking.redacted; ``signature`` to the part's signature. ``extras`` are merged, field by field: a list
    is extended, anything else replaced. ``value`` replaces the value of an Opaque.
    """

    index: int
    text: str = ""
    data: str = ""
    signature: str | None = None
    extras: Extras | None = None
    value: object = None
    choice: int = 0


class PartStop(msgspec.Struct, frozen=True, omit_defaults=True, tag="part_stop"):
    """The part is whole."""

    index: int
    choice: int = 0


class UsageUpdate(msgspec.Struct, frozen=True, omit_defaults=True, tag="usage"):
    """The usage so far. It replaces what came before (decoders merge a provider's partial reports themselves)."""

    usage: Usage


class Meta(msgspec.Struct, frozen=True, omit_defaults=True, tag="meta"):
    """More fields of the reply (``choice`` None) or of one choice that canon has no name for, merged like PartDelta's.

    A Meta with neither is a sign of life: Anthropic's ping.
    """

    extras: Extras | None = None
    choice: int | None = None


class Finish(msgspec.Struct, frozen=True, omit_defaults=True, tag="finish"):
    """One choice is finished. ``raw`` is the provider's word for ``reason``."""

    reason: FinishReason
    raw: str | None = None
    stop_sequence: str | None = None
    choice: int = 0
    extras: Extras | None = None


class StreamFailure(msgspec.Struct, frozen=True, omit_defaults=True, tag="failure"):
    """The provider broke off. What came before stands; nothing comes after."""

    failure: Failure


Event = Start | PartStart | PartDelta | PartStop | UsageUpdate | Meta | Finish | StreamFailure
