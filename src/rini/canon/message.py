"""One message of a conversation."""

from typing import Literal

import msgspec

from rini.canon.extras import Extras
from rini.canon.part import Part, Text

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

    @property
    def only_text(self) -> str | None:
        """The text of a message that is one plain Text and nothing else, as most are; ``None`` for any other."""
        if len(self.parts) != 1 or self.name is not None or self.extras is not None:
            return None
        part = self.parts[0]
        return part.text if type(part) is Text and part.signature is None and part.extras is None else None
