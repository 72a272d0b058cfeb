"""An estimate of tokens, where no provider counted them: before a call, and for calls that broke off.

English prose has about four characters a token in the current tokenizers, Korean, Chinese and Japanese about one and
a half. How far off that is, see docs/context.md. Rows of the ledger that are made from this are marked as estimated.
"""

from collections.abc import Iterable

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

ASCII_CHARACTERS_PER_TOKEN = 4.0
OTHER_CHARACTERS_PER_TOKEN = 1.5
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

_encode = msgspec.json.Encoder().encode


def text_tokens(text: str) -> int:
    """Return about how many tokens ``text`` has."""
    if text.isascii():
        return -(-len(text) // int(ASCII_CHARACTERS_PER_TOKEN))
    plain = len(text.encode("ascii", "ignore"))
    return round(plain / ASCII_CHARACTERS_PER_TOKEN + (len(text) - plain) / OTHER_CHARACTERS_PER_TOKEN) + 1


def conversation_tokens(messages: Iterable[Message]) -> int:
    """Return about how many tokens a model reads in ``messages``."""
    return sum([TOKENS_PER_MESSAGE + sum(map(_part_tokens, message.parts)) for message in messages])


def tools_tokens(tools: tuple[Tool, ...], provider: str = "") -> int:
    """Return about how many tokens ``provider``'s model reads in the declarations of ``tools``, and in what is said with them."""
    if not tools:
        return 0
    declared = _encode([tool.opaque or (tool.name, tool.description, tool.parameters) for tool in tools])
    return text_tokens(declared.decode()) + (TOKENS_BESIDE_TOOLS if provider == "anthropic" else 0)


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
