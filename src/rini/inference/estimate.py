"""An estimate of tokens, where no provider counted them: before a call, and for calls that broke off.

Characters count by what they are: a letter of English a fifth of a token, a digit or a bracket more than half of one, a Korean syllable
three quarters. The weights are fitted to the tokenizers of current models; how far off they are, see docs/context.md. Rows of the ledger
that are made from this are marked as estimated.
"""

import string
from collections.abc import Iterable
from math import ceil

import msgspec

from rini.canon import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Refusal,
    Reply,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Video,
)

MOST_CHARACTERS_PER_TOKEN = 5
"""No text is estimated at more characters a token."""

TOKENS_PER_MESSAGE = 4

TOKENS_OF_AN_IMAGE = 1000
"""About what providers read in a picture of a million pixels."""

TOKENS_OF_A_SMALL_IMAGE = 100
"""Of one that OpenAI is asked to look at in low detail."""

TOKENS_OF_A_PAGE = 1600
"""What Anthropic reads in a PDF of one page; OpenAI and Google read less."""

TOKENS_BESIDE_TOOLS = 500
"""What Anthropic tells a model of tools, whichever they are."""

_BASE64_PER_TOKEN_OF_A_DOCUMENT = 60
_BASE64_PER_TOKEN_OF_SOUND = 1000
_JSON_PER_TOKEN = 3
_DECLARATIONS_PER_TOKEN = 4

_WORD = 0.21
_MARK = 0.57
_OTHER = 1.1

_LETTERS = (string.ascii_letters + string.whitespace).encode()
_MARKS = bytes([byte for byte in range(128) if byte not in _LETTERS])
_NOT_FIRST = bytes(range(0x80, 0xC0))
_BESIDE_WORDS = _LETTERS + _NOT_FIRST

# By the first byte in UTF-8, which tells the script; what is in none (accents, typographic marks, emoji) counts as _OTHER.
_SCRIPTS = (
    (_MARKS, _MARK),
    (bytes(range(0xE3, 0xEE)), 0.76),  # Korean, Chinese, Japanese
    (bytes(range(0xCE, 0xD8)), 0.38),  # Greek, Cyrillic, Hebrew
    (bytes(range(0xD8, 0xE2)), 0.47),  # Arabic, the scripts of India and Thai
)

_encode = msgspec.json.Encoder().encode


def text_tokens(text: str) -> int:
    """Return about how many tokens ``text`` has."""
    # One byte for each character that is no letter of English; deleting bytes is the fastest way to count them.
    rest = text.encode("utf-8", "replace").translate(None, _BESIDE_WORDS)
    tokens = (len(text) - len(rest)) * _WORD
    for firsts, weight in _SCRIPTS:
        if not rest:
            break
        others = rest.translate(None, firsts)
        tokens += (len(rest) - len(others)) * weight
        rest = others
    return ceil(tokens + len(rest) * _OTHER)


def conversation_tokens(messages: Iterable[Message]) -> int:
    """Return about how many tokens a model reads in ``messages``."""
    return sum([TOKENS_PER_MESSAGE + sum(map(_part_tokens, message.parts)) for message in messages])


def tools_tokens(tools: tuple[Tool, ...], provider: str = "") -> int:
    """Return about how many tokens ``provider``'s model reads in the declarations of ``tools``, and in what is said with them."""
    if not tools:
        return 0
    declared = _encode([tool.opaque or (tool.name, tool.description, tool.parameters) for tool in tools])
    # Models are not told them as JSON, whose marks would count for more.
    return len(declared) // _DECLARATIONS_PER_TOKEN + (TOKENS_BESIDE_TOOLS if provider == "anthropic" else 0)


def request_tokens(request: Request, provider: str = "") -> int:
    """Return about how many tokens ``provider``'s model reads in ``request``."""
    return conversation_tokens(request.messages) + tools_tokens(request.tools, provider)


def reply_tokens(reply: Reply) -> int:
    """Return about how many tokens a model wrote in ``reply``."""
    written = (Text, Thinking, Refusal, ToolCall)
    return sum(_part_tokens(part) for choice in reply.choices for part in choice.parts if isinstance(part, written))


def _part_tokens(part: Part) -> int:
    match part:
        case Text() | Thinking() | Refusal():
            return text_tokens(part.text)
        case ToolCall():
            return text_tokens(part.name) + text_tokens(part.arguments)
        case ToolResult():
            return sum(map(_part_tokens, part.content))
        case Image():
            return TOKENS_OF_A_SMALL_IMAGE if part.detail == "low" else TOKENS_OF_AN_IMAGE
        case Document() if part.text is not None:
            return text_tokens(part.text)
        case Document():
            return TOKENS_OF_A_PAGE + len(part.media.data or "") // _BASE64_PER_TOKEN_OF_A_DOCUMENT
        case Audio() if part.transcript is not None:
            return text_tokens(part.transcript)
        case Audio() | Video():
            return len(part.media.data or "") // _BASE64_PER_TOKEN_OF_SOUND
        case Opaque():
            return len(_encode(part.value)) // _JSON_PER_TOKEN
