"""What a model is given to read, and how it is made to fit: pure values, no I/O.

Older messages go from the beginning of a path, whole turns at a time: a tool's call and its result go together, and the question stays.
"""

from typing import Literal

import msgspec

from rini.canon import Message, Text, ToolCall, ToolResult
from rini.inference.estimate import conversation_tokens, text_tokens
from rini.providers.windows import Window
from rini.sessions.context import EMPTY, Cut, Path, Step
from rini.turns.history import takable

Policy = Literal["refuse", "truncate", "compact"]

LARGEST_WINDOW = 1_048_576
"""The most that a model is taken to read whose context is not known."""

LEFT_BY_A_CUT = 0.5
"""The share of the room beside system prompt and tools that a cut leaves filled: the rest is for many turns of the same prefix."""

FURTHEST_OFF = 2.0
"""By what an estimate may be too low, or too high, before a count of the provider's is not believed to be of the same messages."""

SURELY = 0.7
"""What is left of an estimate when all doubt is in its favour: nothing is refused that may fit."""

SHORTENED_TO = 0.8
"""The share of what a provider refused as too long that is its room from then on, where it does not tell how long its context is."""

LONGEST_QUESTION = 2000
"""Characters of a question that a note has, in the midst of whose answer the path was cut."""

LEFT_OUT = "[Earlier messages were left out.]"
_QUESTION = "[Earlier messages were left out. The question that is being worked on:]"
_SUMMARY = "[Summary of the conversation up to here, in place of its earlier messages:]"
_END = "[End of the summary.]"


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """All that a model is to read: ``before`` (the system messages), the path, and the ``new`` messages.

    ``tools`` is about how many tokens the tools' declarations have.
    """

    before: tuple[Message, ...] = ()
    path: Path = EMPTY
    new: tuple[Message, ...] = ()
    tools: int = 0

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages as they go to the model."""
        return (*self.before, *takable(standing_for(self.path.cut, (*self.path.messages, *self.new))))


class Size(msgspec.Struct, frozen=True):
    """How many tokens a conversation has. ``estimate`` is without any count; ``ratio`` is a counted token for each estimated one.

    ``counted``: most of ``tokens`` was counted by the provider.
    """

    tokens: int
    estimate: int
    ratio: float
    counted: bool

    @property
    def at_least(self) -> int:
        """The tokens that there are surely."""
        return self.tokens if self.counted else int(self.tokens * SURELY)


class Fitted(msgspec.Struct, frozen=True):
    """A conversation without its oldest steps, which are ``gone``; ``cut`` follows on the last of them."""

    conversation: Conversation
    gone: tuple[Step, ...]
    cut: Cut


def standing_for(cut: Cut | None, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return ``messages`` with what stands for those before the cut.

    It is the beginning of the first question, in that question's message: some models take no two of the same role in a row, and what
    users and tools said is no instruction. Where no question comes first, it is a message of its own.
    """
    if cut is None:
        return messages
    first = messages[0] if messages else None
    asks = first is not None and _asks(first)
    text = in_its_place(cut)
    if first is None or not asks:
        return (Message("user", (Text(text or LEFT_OUT),)), *messages)
    if not text:
        return messages
    part = first.parts[0] if first.parts else None
    if type(part) is Text and part.signature is None:
        parts = (msgspec.structs.replace(part, text=f"{text}\n\n{part.text}"), *first.parts[1:])
    else:
        parts = (Text(text), *first.parts)
    return (msgspec.structs.replace(first, parts=parts), *messages[1:])


def in_its_place(cut: Cut) -> str:
    """Return what a model is to read of ``cut``, if anything."""
    if cut.summary is None or cut.provider is None:
        return cut.summary or ""
    return f"{_SUMMARY}\n{cut.summary}\n{_END}"


def size_of(conversation: Conversation, provider: str, model: str) -> Size:
    """Return about how many tokens ``provider``'s ``model`` reads.

    Where it answered on this path before, its provider's count of the prompt stands for all that was before that answer.
    """
    path = conversation.path
    fixed = _fixed(conversation)
    steps = path.steps
    rest = conversation_tokens(conversation.new)
    estimate = fixed + sum([step.tokens for step in steps]) + rest
    cut_id = None if path.cut is None else path.cut.id
    for place in range(len(steps) - 1, -1, -1):
        step = steps[place]
        rest += step.tokens
        # Below a cut of this very turn nothing was counted yet.
        if step.prompt_tokens and step.asked == (provider, model) and step.cut_id == cut_id and path.whole:
            estimated = max(estimate - rest, 1)
            ratio = min(max(step.prompt_tokens / estimated, 1 / FURTHEST_OFF), FURTHEST_OFF)
            # Others tools and another system prompt than at that time are in neither count.
            least, most = estimate / FURTHEST_OFF, estimate * FURTHEST_OFF
            tokens = min(max(step.prompt_tokens + rest * ratio, least), most)
            return Size(round(tokens), estimate, ratio, counted=True)
    return Size(estimate, estimate, 1.0, counted=False)


def fits(size: Size, path: Path, room: int) -> bool:
    """Return whether a conversation of that size has a place in ``room`` tokens."""
    return size.tokens <= room and path.whole


def room_in(window: Window | None, provider: str, max_tokens: int | None) -> int:
    """Return how many tokens a prompt may have."""
    return (window or Window(LARGEST_WINDOW)).room(provider, max_tokens)


def shortened(
    conversation: Conversation, size: Size, room: int, window_tokens: int, summary_tokens: int = 0
) -> Fitted | None:
    """Return the conversation without so many of its oldest turns that it fills half of ``room``; None where none can go.

    ``summary_tokens`` are kept free for what stands for them. Where the last turn alone is longer, its own beginning goes too, but for
    the question, which is noted.
    """
    steps = conversation.path.steps
    free = room / size.ratio - conversation_tokens(conversation.before) - conversation.tools
    beside = conversation_tokens(conversation.new) + summary_tokens
    place = _place(conversation, free * LEFT_BY_A_CUT - beside, free - beside)
    if not place:
        return None
    note = None if _begins_turn(conversation, place) else _note(steps[:place])
    cut = Cut(
        message_id=steps[place - 1].message_id,
        summary=note,
        reason=None,
        window_tokens=window_tokens,
        size_tokens=text_tokens(note or ""),
    )
    path = Path(steps=steps[place:], cut=cut)
    return Fitted(msgspec.structs.replace(conversation, path=path), steps[:place], cut)


def _fixed(conversation: Conversation) -> int:
    cut = conversation.path.cut
    return conversation_tokens(conversation.before) + conversation.tools + (0 if cut is None else cut.size_tokens)


def _place(conversation: Conversation, wanted: float, most: float) -> int | None:
    """Return how many steps go, so that what stays has at most ``wanted`` tokens, or else fewest."""
    steps = conversation.path.steps
    turns, within = _places(conversation)
    after = [0] * (len(steps) + 1)
    for place in range(len(steps) - 1, -1, -1):
        after[place] = after[place + 1] + steps[place].tokens
    for place in turns:
        if after[place] <= wanted:
            return place
    last = turns[-1] if turns else None
    if last is not None and (after[last] <= most or not within):
        return last
    # The last turn alone is too long.
    for place in within:
        if after[place] <= wanted:
            return place
    return within[-1] if within else last


def _places(conversation: Conversation) -> tuple[list[int], list[int]]:
    """Return where the path may be cut: before which steps a turn begins, and at which others no call is torn from its result."""
    steps, new = conversation.path.steps, conversation.new
    called = {
        part.id for step in steps for message in step.messages for part in message.parts if type(part) is ToolCall
    }
    answered = {part.call_id for message in new for part in message.parts if type(part) is ToolResult} & called
    # Without new messages, the question is in the path.
    last = len(steps) if new else _question(steps)
    turns: list[int] = []
    within: list[int] = []
    if new and last and not answered:
        turns.append(last)
    for place in range(len(steps) - 1, 0, -1):
        for message in steps[place].messages:
            for part in message.parts:
                if type(part) is ToolResult and part.call_id in called:
                    answered.add(part.call_id)
        for message in steps[place].messages:
            for part in message.parts:
                if type(part) is ToolCall:
                    answered.discard(part.id)
        if answered or not steps[place].messages:
            continue
        role = steps[place].messages[0].role
        if _asks(steps[place].messages[0]):
            if place <= last:
                turns.append(place)
        elif role == "assistant":
            within.append(place)
    turns.reverse()
    within.reverse()
    return turns, [place for place in within if not turns or place > turns[-1]]


def _question(steps: tuple[Step, ...]) -> int:
    for place in range(len(steps) - 1, -1, -1):
        if steps[place].messages and _asks(steps[place].messages[0]):
            return place
    return 0


def _begins_turn(conversation: Conversation, place: int) -> bool:
    steps = conversation.path.steps
    following = steps[place].messages if place < len(steps) else conversation.new
    return bool(following) and _asks(following[0])


def _note(gone: tuple[Step, ...]) -> str | None:
    """Return the question in the midst of whose answer the path is cut."""
    for step in reversed(gone):
        for message in step.messages:
            if _asks(message):
                text = "\n".join([part.text for part in message.parts if type(part) is Text])[:LONGEST_QUESTION]
                return f"{_QUESTION}\n{text}" if text else None
    return None


def _asks(message: Message) -> bool:
    """Return whether the message begins a turn: it is the user's own, and no result of a tool."""
    return message.role == "user" and not any(type(part) is ToolResult for part in message.parts)
