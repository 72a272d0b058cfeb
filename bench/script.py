"""What the upstream answers. The last question of a call says it, so that upstream and load agree without talking.

    bench:whole                    the whole answer TEXT
    bench:count                    an answer that tells how many messages the call held: whole, or as a stream of one text event
    bench:count:EVENTS:0           the same, a stream has so many text events, all at once
    bench:stream:EVENTS:MICROS     a stream of so many text events, one every so many microseconds
    bench:stream:EVENTS:MICROS:now the same, and the first of them at once

The text of a streamed event is ``STAMP-INDEX ``: when it was sent (nanoseconds of the machine's monotonic clock) and its place.
"""

import re
from itertools import pairwise
from typing import NamedTuple

from rini.canon import (
    Choice,
    Event,
    Finish,
    PartDelta,
    PartStart,
    PartStop,
    Reply,
    Start,
    Text,
    Usage,
    UsageUpdate,
)
from rini.providers.catalog import PROVIDERS
from rini.wire.codec import Codec
from rini.wire.openai_responses import OPENAI_RESPONSES

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-3-5-haiku-latest", "google": "gemini-2.0-flash"}
RESPONSES = "openai-responses"
"""OpenAI's other format, in which it is asked by clients that speak it."""

PATHS = {"openai": "/v1", "anthropic": "", "google": ""}
"""What stands before the codec's path in the provider's address."""

TEXT = (
    "The harbour town of Busan has a fish market that opens before dawn, a long beach, and a mountain fortress that "
    "looks down on both. Take the first train, walk the market while the boats come in, and climb in the afternoon "
    "when the haze is gone. In the evening the bridge is lit, and the tents by the water serve what was landed at six."
)
TOKENS = 77
"""About how many tokens the text has."""

STAMP = b"0000000000000000000"
COUNT = b"000000"
MARK = re.compile(rb"bench:(whole|count|stream)(?::(\d+):(\d+)(:now)?)?")
SENT = re.compile(rb"(\d{19})-(\d{6}) ")


class Script(NamedTuple):
    """What a question asks for."""

    kind: str
    events: int
    period: float
    at_once: bool


def read(body: bytes) -> Script:
    """Return the script that the last mark in ``body`` asks for. Raises ValueError without one."""
    found = MARK.match(body, max(body.rfind(b"bench:"), 0))
    if found is None:
        raise ValueError("the call holds no mark")
    kind, events, period, at_once = found.groups()
    return Script(kind.decode(), int(events or 0), int(period or 0) / 1e6, at_once is not None)


def codec_of(path: str) -> str:
    """Return the provider whose format is spoken at ``path``."""
    if path.startswith("/v1/messages"):
        return "anthropic"
    if path.startswith("/v1/responses"):
        return RESPONSES
    return "google" if path.startswith("/v1beta") else "openai"


def codec(provider: str) -> Codec:
    """Return the provider's codec."""
    return OPENAI_RESPONSES if provider == RESPONSES else PROVIDERS[provider].codec  # type: ignore[index]


def counted(number: int) -> str:
    """Return the answer to ``bench:count`` for a call of so many messages."""
    return f"{number:06d} messages were read. {TEXT}"


def reply(provider: str, text: str) -> Reply:
    """Return a whole answer as the provider would give it."""
    return Reply(
        choices=(Choice((Text(text),), "stop"),),
        usage=Usage(input_tokens=96, output_tokens=TOKENS, cache_read_tokens=0),
        id="bench-0123456789abcdef",
        model=MODELS.get(provider, MODELS["openai"]),
        created=1_764_000_000,
    )


def stream(provider: str, events: int) -> list[Event]:
    """Return the events of a streamed answer; the stamps are placeholders."""
    return _streamed(provider, [f"{STAMP.decode()}-{index:06d} " for index in range(events)], events)


def spoken(provider: str, events: int) -> list[Event]:
    """Return the events of a streamed answer to ``bench:count``, its text in so many pieces; the number is in the first."""
    text = counted(0)
    if events < 2:
        return _streamed(provider, [text], TOKENS)
    number, rest = text[: -len(TEXT)], TEXT
    bounds = [len(rest) * place // (events - 1) for place in range(events)]
    return _streamed(provider, [number, *[rest[at:to] for at, to in pairwise(bounds)]], TOKENS)


def _streamed(provider: str, texts: list[str], tokens: int) -> list[Event]:
    deltas: list[Event] = [PartDelta(0, text) for text in texts]
    return [
        Start(id="bench-0123456789abcdef", model=MODELS.get(provider, MODELS["openai"]), created=1_764_000_000),
        PartStart(0, Text("")),
        *deltas,
        PartStop(0),
        UsageUpdate(Usage(input_tokens=96, output_tokens=tokens)),
        Finish("stop"),
    ]
