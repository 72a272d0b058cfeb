"""An estimate of tokens, for calls that broke off before the provider told its count.

English prose has about four characters a token in the current tokenizers, Korean, Chinese and Japanese about one and
a half. Rows made from this are marked as estimated.
"""

from rini.canon import Message, Refusal, Reply, Text, Thinking, ToolCall, ToolResult

ASCII_CHARACTERS_PER_TOKEN = 4.0
OTHER_CHARACTERS_PER_TOKEN = 1.5
TOKENS_PER_MESSAGE = 4


def text_tokens(text: str) -> int:
    """Return about how many tokens ``text`` has."""
    if text.isascii():
        return -(-len(text) // int(ASCII_CHARACTERS_PER_TOKEN))
    plain = len(text.encode("ascii", "ignore"))
    return round(plain / ASCII_CHARACTERS_PER_TOKEN + (len(text) - plain) / OTHER_CHARACTERS_PER_TOKEN) + 1


def conversation_tokens(messages: tuple[Message, ...]) -> int:
    """Return about how many tokens a model reads in ``messages``; images and files are not counted."""
    total = 0
    for message in messages:
        total += TOKENS_PER_MESSAGE
        for part in message.parts:
            match part:
                case Text() | Thinking():
                    total += text_tokens(part.text)
                case ToolCall():
                    total += text_tokens(part.name) + text_tokens(part.arguments)
                case ToolResult():
                    total += sum(text_tokens(inner.text) for inner in part.content if isinstance(inner, Text))
                case _:
                    pass
    return total


def reply_tokens(reply: Reply) -> int:
    """Return about how many tokens a model wrote in ``reply``."""
    total = 0
    for choice in reply.choices:
        for part in choice.parts:
            match part:
                case Text() | Thinking() | Refusal():
                    total += text_tokens(part.text)
                case ToolCall():
                    total += text_tokens(part.name) + text_tokens(part.arguments)
                case _:
                    pass
    return total
