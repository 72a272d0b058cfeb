"""What a model is given to read, and how it is made to fit: pure values, no I/O.

Older messages go from the beginning of a path, whole turns at a time: a tool's call and its result go together, and the question stays.
"""

from typing import Literal

import msgspec

from rini.canon import Message, Text, ToolCall, ToolResult
from rini.errors import ContextTooLongError
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

COMPARABLE_TOKENS = 1000
"""Of fewer, what a provider adds to every request counts for too much in what it counted."""

SURELY = 0.7
"""What is left of an estimate when all doubt is in its favour: nothing is refused that may fit."""

SHORTENED_TO = 0.8
"""The share of what a provider refused as too long that is its room from then on, where it does not tell how long its context is."""

MOST_SUMMARY_TOKENS = 2000

LONGEST_QUESTION = 2000
"""Characters of a question that a note has, in the midst of whose answer the path was cut."""

LEFT_OUT = "[Earlier messages were left out.]"
BEGUN_BY_THE_MODEL = "[The assistant speaks first.]"
_INSTRUCTING = ("system", "developer")
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
    def said(self) -> tuple[Message, ...]:
        """The messages beside the system's, as they are stored."""
        return (*self.path.messages, *self.new)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages as they go to the model."""
        return (*self.before, *takable(standing_for(self.path.cut, self.said)))


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


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """Who is to read a conversation: a model, its context if that is known, and how long its answer may be."""

    provider: str
    model: str
    window: Window | None = None
    max_tokens: int | None = None

    @property
    def room(self) -> int:
        """How many tokens a prompt may have."""
        return (self.window or Window(LARGEST_WINDOW)).room(self.provider, self.max_tokens)

    @property
    def window_tokens(self) -> int | None:
        """The context; None: not known."""
        return None if self.window is None else self.window.tokens


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is given in a turn, and how large that was before anything was left out.

    ``gone`` are the steps that this turn leaves out: the conversation's path begins with a new cut then. ``before_cut`` is the cut at
    which it began before. ``wants_summary``: a summary of what is gone is to take its place.
    """

    conversation: Conversation
    reader: Reader
    size: Size
    policy: Policy
    gone: tuple[Step, ...] = ()
    before_cut: Cut | None = None
    wants_summary: bool = False

    @property
    def cut(self) -> Cut | None:
        """Where the path begins; None: at its root."""
        return self.conversation.path.cut

    def with_cut(self, cut: Cut) -> "Reading":
        """Return it with another cut at the same place."""
        path = msgspec.structs.replace(self.conversation.path, cut=cut)
        conversation = msgspec.structs.replace(self.conversation, path=path)
        return msgspec.structs.replace(self, conversation=conversation, wants_summary=False)


def standing_for(cut: Cut | None, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return ``messages`` with what stands for those before the cut.

    It is the beginning of the first question, in that question's message: some models take no two of the same role in a row, and what
    users and tools said is no instruction. Where no question comes first, it is a message of its own; so is the note before a
    conversation that the assistant begins, as with a greeting, since Anthropic's have to begin with the user.
    """
    if cut is None:
        place = next(
            (place for place, message in enumerate(messages) if message.role not in _INSTRUCTING), len(messages)
        )
        if place == len(messages) or messages[place].role != "assistant":
            return messages
        return (*messages[:place], Message("user", (Text(BEGUN_BY_THE_MODEL),)), *messages[place:])
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
            estimated = estimate - rest
            ratio = 1.0
            if estimated >= COMPARABLE_TOKENS:
                ratio = min(max(step.prompt_tokens / estimated, 1 / FURTHEST_OFF), FURTHEST_OFF)
            # Other tools and another system prompt than at that time are in neither count.
            least, most = estimate / FURTHEST_OFF, estimate * FURTHEST_OFF + COMPARABLE_TOKENS
            tokens = min(max(step.prompt_tokens + rest * ratio, least), most)
            return Size(round(tokens), estimate, ratio, counted=True)
    return Size(estimate, estimate, 1.0, counted=False)


def fitted(conversation: Conversation, reader: Reader, policy: Policy) -> Reading:
    """Return what ``reader`` is given of a conversation, by a session's policy.

    Raises ContextTooLongError for what is too long beyond doubt, where nothing may go or what has to stay is too long already. Where
    there is doubt the provider decides.
    """
    room, path = reader.room, conversation.path
    size = size_of(conversation, reader.provider, reader.model)
    reading = Reading(conversation=conversation, reader=reader, size=size, policy=policy)
    if size.tokens <= room and path.whole:
        return reading
    shorter = None if policy == "refuse" else _shortened(reading, room, reader.window_tokens or LARGEST_WINDOW)
    if shorter is not None and _at_least(shorter.conversation, size) <= room:
        return shorter
    if size.at_least > room or not path.whole:
        raise _too_long(reading, shorter, room)
    return shorter or reading


def after_refusal(reading: Reading, told_window: int | None) -> Reading | None:
    """Return less than a provider refused as too long; None where nothing may go, or nothing can.

    ``told_window`` is the context that it told with its refusal.
    """
    if reading.policy == "refuse":
        return None
    conversation, reader = reading.conversation, reading.reader
    sent = size_of(conversation, reader.provider, reader.model)
    room = int(sent.tokens * SHORTENED_TO)
    if told_window is not None:
        room = min(room, Window(told_window).room(reader.provider, reader.max_tokens))
    # The estimate was too low, by as much as is known.
    ratio = max(sent.ratio, told_window / sent.tokens) if told_window is not None else sent.ratio
    window = told_window or (sent.tokens if reader.window is None else min(sent.tokens, reader.window.tokens))
    again = msgspec.structs.replace(reading, size=msgspec.structs.replace(sent, ratio=ratio))
    shorter = _shortened(again, room, window)
    # One call for a summary in a turn: the one that this turn has goes on standing for what it stood for.
    return msgspec.structs.replace(shorter, wants_summary=False) if shorter is not None and reading.gone else shorter


def _shortened(reading: Reading, room: int, window_tokens: int) -> Reading | None:
    """Return the conversation without so many of its oldest turns that it fills half of ``room``; None where none can go.

    Where the last turn alone is longer, its own beginning goes too, but for the question, which is noted.
    """
    conversation = reading.conversation
    path, steps, ratio = conversation.path, conversation.path.steps, reading.size.ratio
    summary = summary_tokens(window_tokens) if reading.policy == "compact" else 0
    free = room / ratio - conversation_tokens(conversation.before) - conversation.tools
    beside = conversation_tokens(conversation.new) + summary
    place = _place(conversation, free * LEFT_BY_A_CUT - beside, free - beside)
    if not place:
        return None
    cut = _cut_after(conversation, place, window_tokens)
    return msgspec.structs.replace(
        reading,
        conversation=msgspec.structs.replace(conversation, path=Path(steps=steps[place:], cut=cut)),
        gone=steps[:place],
        before_cut=path.cut,
        wants_summary=reading.policy == "compact",
    )


def _cut_after(conversation: Conversation, place: int, window_tokens: int) -> Cut:
    """Return the cut after so many steps. What stood for the messages before them goes on standing for those."""
    path = conversation.path
    cut = Cut(message_id=path.steps[place - 1].message_id, window_tokens=window_tokens)
    note = None if _begins_turn(conversation, place) else _note(path.steps[:place])
    if note is not None:
        return msgspec.structs.replace(cut, summary=note, size_tokens=text_tokens(note))
    if path.cut is None or path.cut.provider is None:
        return cut
    before = path.cut
    return msgspec.structs.replace(
        cut, summary=before.summary, size_tokens=before.size_tokens, provider=before.provider, model=before.model
    )


def summary_tokens(window_tokens: int) -> int:
    """Return about how many tokens a summary may have for a model with such a context."""
    return min(window_tokens // 12, MOST_SUMMARY_TOKENS)


def _at_least(conversation: Conversation, size: Size) -> float:
    """Return how many tokens a conversation has beyond doubt, by what is known of the one that it was cut from."""
    estimate = _fixed(conversation) + sum([step.tokens for step in conversation.path.steps])
    return (estimate + conversation_tokens(conversation.new)) * size.ratio * SURELY


def _too_long(reading: Reading, shorter: Reading | None, room: int) -> ContextTooLongError:
    reader = reading.reader
    if reading.policy == "refuse":
        known = "about" if reading.conversation.path.whole else "more than"  # no more was read of it
        what = f"The conversation has {known} {reading.size.tokens} tokens, and this session is to be sent whole (context_policy refuse)"
    elif shorter is None:
        what = f"The question has about {reading.size.tokens} tokens with all that goes with it, and nothing of that can be left out"
    else:
        tokens = round(_at_least(shorter.conversation, reading.size) / SURELY)
        what = f"The question has about {tokens} tokens with its instructions and tools, without any of the messages before it"
    return ContextTooLongError(
        f"{what}; the model '{reader.model}' reads {room} at most beside its answer.",
        provider=reader.provider,
        model=reader.model,
    )


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
