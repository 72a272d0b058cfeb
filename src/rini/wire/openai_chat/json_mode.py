"""JSON without a schema (``json_object``), which OpenAI refuses where no message has the word JSON (its guide to JSON mode, 2026).

Other formats ask for no such word, so a conversation that came in one of them gets a sentence that has it.
"""

from collections.abc import Iterable
from itertools import takewhile
from typing import Final

from rini.canon import Message, Part, ResponseFormat, Text, ToolResult

ANSWER_IN_JSON: Final = "Answer in JSON."
"""The instruction that is added."""


def lacks_the_word(wanted: ResponseFormat | None, messages: Iterable[Message]) -> bool:
    """Tell whether JSON is wanted and no message says so."""
    if wanted is None or wanted.kind != "json":
        return False
    return not any(_has_word(part) for message in messages for part in message.parts)


def leading_instructions(messages: Iterable[Message]) -> int:
    """Return how many system messages lead the conversation: the place of one more."""
    return sum(1 for _ in takewhile(lambda message: message.role in {"system", "developer"}, messages))


def _has_word(part: Part) -> bool:
    match part:
        case Text():
            return "json" in part.text.lower()
        case ToolResult():
            return any(_has_word(each) for each in part.content)
        case _:
            return False
