"""A whole answer of a model."""

from typing import Literal

import msgspec

from rini.canon.extras import Extras
from rini.canon.part import Part, plain_text
from rini.canon.usage import Usage

FinishReason = Literal[
    "stop",  # done
    "length",  # the token limit was reached
    "tool_calls",  # the model waits for a tool
    "stop_sequence",  # one of the request's stop strings, where the provider tells it from "stop"
    "refusal",  # the model declined
    "safety",  # a filter cut the answer
    "pause",  # the provider paused a long turn; send the answer back to go on
    "context_full",  # the model's context window was used up
    "malformed",  # the model wrote a tool call that cannot be read
    "other",
]


class Choice(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the answers. ``finish_reason`` is ``None`` when it broke off; ``raw_finish_reason`` is the provider's word."""

    parts: tuple[Part, ...] = ()
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    stop_sequence: str | None = None
    extras: Extras | None = None


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model answered: mostly one choice, several when the request's ``n`` asked for them.

    An answer that a filter left nothing of is one choice without parts that finished for ``safety``.
    """

    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    id: str | None = None
    model: str | None = None
    created: int | None = None
    extras: Extras | None = None

    @property
    def text(self) -> str:
        """The first choice's text."""
        return plain_text(self.choices[0].parts) if self.choices else ""
