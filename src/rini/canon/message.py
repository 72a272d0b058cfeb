"""One message of a conversation."""

from typing import Literal

import msgspec

from rini.canon.extras import Extras
from rini.canon.part import Part

Role = Literal["system", "developer", "user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A role and its parts.

    System prompts are messages too, wherever the wire format puts them: Anthropic's ``system`` and Gemini's
    ``systemInstruction`` are the leading system message. A ToolResult part stands in a ``tool`` message
    (OpenAI) or in a ``user`` one (Anthropic, Gemini); encoders take both.

    ``origin`` names the wire format whose provider wrote an assistant message: signatures and extras are valid
    there alone.
    """

    role: Role
    parts: tuple[Part, ...] = ()
    name: str | None = None
    origin: str | None = None
    extras: Extras | None = None
