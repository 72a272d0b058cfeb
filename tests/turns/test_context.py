"""What goes of a conversation that is too long: whole turns, and never a call without its result."""

import msgspec
import pytest

from rini.canon import Image, Media, Message, Part, Text, ToolCall, ToolResult
from rini.errors import ContextTooLongError
from rini.providers.windows import Window
from rini.sessions.context import Cut, Path, Step
from rini.turns.context import (
    BEGUN_BY_THE_MODEL,
    LEFT_OUT,
    Conversation,
    Policy,
    Reader,
    Reading,
    after_refusal,
    fitted,
    size_of,
    standing_for,
)

SMALL = Reader(provider="openai", model="gpt-4", window=Window(1000), max_tokens=200)


def step(message_id: int, role: str, *parts: Part | str, tokens: int = 100, **fields: object) -> Step:
    """Return a step of about so many tokens."""
    said = tuple(Text(part) if isinstance(part, str) else part for part in parts)
    return Step(message_id=message_id, messages=(Message(role, said),), tokens=tokens, **fields)  # type: ignore[arg-type]


def call(name: str) -> ToolCall:
    return ToolCall(name, "look", "{}")


def result(name: str) -> ToolResult:
    return ToolResult(name, (Text("found"),))


def talk(turns: int, tokens: int = 100) -> tuple[Step, ...]:
    """Return so many turns of a question and an answer; the ids count from 1."""
    return tuple(
        step(number, "user" if number % 2 else "assistant", f"{number}", tokens=tokens)
        for number in range(1, 2 * turns + 1)
    )


def fit(steps: tuple[Step, ...], policy: Policy = "truncate", *, new: str = "next", **fields: object) -> Reading:
    asked = (Message("user", (Text(new),)),) if new else ()
    path = Path(steps=steps, **fields)  # type: ignore[arg-type]
    return fitted(Conversation(path=path, new=asked), SMALL, policy)


def test_what_fits_is_sent_whole() -> None:
    read = fit(talk(3))
    assert not read.gone
    assert read.cut is None
    assert [message.parts[0].text for message in read.conversation.messages] == [*"123456", "next"]  # type: ignore[union-attr]


def test_a_cut_leaves_half_of_the_room_for_later_turns() -> None:
    read = fit(talk(5))
    kept = read.conversation.path.steps
    assert sum(each.tokens for each in kept) <= 400
    assert kept[0].messages[0].role == "user"
    assert read.cut is not None
    assert read.cut.message_id == kept[0].message_id - 1 == read.gone[-1].message_id
    assert read.cut.window_tokens == 1000
    assert not read.wants_summary


def test_a_session_that_compacts_wants_a_summary_and_leaves_room_for_it() -> None:
    truncated, compacted = fit(talk(8)), fit(talk(8), "compact")
    assert compacted.wants_summary
    assert len(compacted.gone) >= len(truncated.gone)


def test_a_session_that_refuses_is_told_how_long_it_is() -> None:
    with pytest.raises(ContextTooLongError, match=r"about 120\d tokens.*'gpt-4' reads 800"):
        fit(talk(6), "refuse")


def test_a_conversation_of_which_no_more_was_read_is_longer_than_what_was() -> None:
    with pytest.raises(ContextTooLongError, match=r"more than 120\d tokens.*'gpt-4' reads 800"):
        fit(talk(6), "refuse", whole=False)


def test_what_may_fit_after_all_is_left_to_the_provider() -> None:
    assert not fit(talk(5, tokens=90), "refuse").gone


def test_a_first_question_that_is_too_long_is_refused() -> None:
    with pytest.raises(ContextTooLongError, match=r"about 210\d tokens.*nothing of that can be left out"):
        fit((), "compact", new="word " * 2000)


def test_a_later_question_that_is_too_long_is_refused() -> None:
    with pytest.raises(ContextTooLongError, match=r"about 210\d tokens.*without any of the messages before it"):
        fit(talk(3), new="word " * 2000)


def test_a_long_question_stays_and_all_before_it_goes() -> None:
    read = fit(talk(3), new="word " * 500)
    assert len(read.gone) == 6
    assert [message.role for message in read.conversation.messages] == ["user"]


def test_a_question_that_is_answered_again_stays() -> None:
    steps = (*talk(5), step(11, "user", "again", tokens=700))
    read = fit(steps, new="")
    assert [each.message_id for each in read.conversation.path.steps] == [11]


def test_calls_and_results_go_together() -> None:
    steps = (
        *talk(2, tokens=150),
        step(5, "user", "look", tokens=60),
        step(6, "assistant", call("a"), call("b"), tokens=60),
        step(7, "tool", result("a"), tokens=60),
        step(8, "tool", result("b"), tokens=60),
        step(9, "assistant", "found it", tokens=60),
    )
    assert [each.message_id for each in fit(steps).conversation.path.steps] == [5, 6, 7, 8, 9]


def test_a_question_between_a_call_and_its_result_is_no_place_to_cut() -> None:
    steps = (
        *talk(3, tokens=120),
        step(7, "user", "look", tokens=60),
        step(8, "assistant", call("a"), tokens=60),
        step(9, "user", "hurry", tokens=60),
        step(10, "tool", result("a"), tokens=60),
        step(11, "assistant", "found it", tokens=200),
    )
    assert [each.message_id for each in fit(steps).conversation.path.steps] == []
    again = fit((*steps[:-1], step(11, "assistant", "found it", tokens=100)))
    assert [each.message_id for each in again.conversation.path.steps] == [7, 8, 9, 10, 11]


def test_a_result_that_is_asked_with_keeps_its_call() -> None:
    steps = (*talk(4), step(9, "user", "look"), step(10, "assistant", call("a")))
    path = Path(steps=steps)
    read = fitted(Conversation(path=path, new=(Message("tool", (result("a"),)),)), SMALL, "truncate")
    assert [each.message_id for each in read.conversation.path.steps][-2:] == [9, 10]
    assert read.gone


def test_a_turn_of_many_calls_loses_its_beginning_but_not_its_question() -> None:
    calls = [
        each
        for number in range(3, 23, 2)
        for each in (step(number, "assistant", call(f"c{number}")), step(number + 1, "tool", result(f"c{number}")))
    ]
    path = Path(steps=(step(1, "user", "old"), step(2, "user", "find all of them"), *calls))
    new = (Message("tool", (result("c21"),)),)
    read = fitted(Conversation(path=path, new=new), SMALL, "truncate")
    first, second = read.conversation.messages[:2]
    assert first.role == "user"
    assert "find all of them" in first.parts[0].text  # type: ignore[union-attr]
    assert second.role == "assistant"
    ids = {part.id for message in read.conversation.messages for part in message.parts if isinstance(part, ToolCall)}
    answered = {
        part.call_id for message in read.conversation.messages for part in message.parts if isinstance(part, ToolResult)
    }
    assert ids == answered
    assert ids


def test_results_without_their_calls_do_not_keep_all_that_is_before() -> None:
    read = fit((*talk(4), step(9, "user", "look"), step(10, "tool", result("lost")), step(11, "assistant", "so")))
    assert read.gone


@pytest.mark.parametrize("summary", [None, "They met."])
def test_roles_alternate_behind_a_cut(summary: str | None) -> None:
    cut = Cut(message_id=4, summary=summary, window_tokens=1000, provider="openai", model="gpt-4")
    messages = tuple(message for each in talk(2) for message in each.messages)
    read = standing_for(cut, messages)
    assert [message.role for message in read] == ["user", "assistant"] * 2
    text = read[0].parts[0].text  # type: ignore[union-attr]
    assert text.endswith("1")
    assert ("They met." in text) == (summary is not None)


def test_a_path_that_begins_with_an_answer_gets_a_question() -> None:
    cut = Cut(message_id=4, window_tokens=1000)
    read = standing_for(cut, (Message("assistant", (Text("so"),)),))
    assert [message.role for message in read] == ["user", "assistant"]
    assert read[0].parts == (Text(LEFT_OUT),)


@pytest.mark.parametrize("before", [(), (Message("system", (Text("Be kind."),)),)])
def test_a_conversation_that_the_assistant_begins_gets_a_question(before: tuple[Message, ...]) -> None:
    greeting, question = Message("assistant", (Text("Hello!"),)), Message("user", (Text("Hi."),))
    read = standing_for(None, (*before, greeting, question))
    assert read == (*before, Message("user", (Text(BEGUN_BY_THE_MODEL),)), greeting, question)
    assert standing_for(None, (*before, question)) == (*before, question)


def test_a_summary_stands_before_a_question_with_an_image() -> None:
    cut = Cut(message_id=4, summary="They met.", window_tokens=1000, provider="openai", model="gpt-4")
    image = Image(Media(url="rini:x"))
    (read,) = standing_for(cut, (Message("user", (image, Text("what?"))),))
    assert read.parts[1:] == (image, Text("what?"))


def test_a_former_summary_stands_on_where_there_is_no_new_one() -> None:
    cut = Cut(message_id=0, summary="They met.", window_tokens=1000, size_tokens=20, provider="openai", model="gpt-4")
    read = fit(talk(8), cut=cut)
    assert read.cut is not None
    assert (read.cut.summary, read.cut.provider) == ("They met.", "openai")
    assert read.before_cut == cut


def test_a_count_of_the_provider_is_worth_more_than_the_estimate() -> None:
    counted = step(4, "assistant", "4", prompt_tokens=2000, asked=("openai", "gpt-4"))
    path = Path(steps=(*talk(1, tokens=1400), step(3, "user", "3", tokens=1200), counted))
    size = size_of(Conversation(path=path, new=(Message("user", (Text("next"),)),)), "openai", "gpt-4")
    assert size.counted
    assert size.estimate == 4105
    # 4,000 were estimated where 2,000 were counted, so the rest is taken for half as many too.
    assert size.tokens == 2000 + round(105 / 2)
    assert not size_of(Conversation(path=path), "openai", "gpt-4o").counted
    elsewhere = msgspec.structs.replace(path, cut=Cut(message_id=1, window_tokens=1000, id=7))
    assert not size_of(Conversation(path=elsewhere), "openai", "gpt-4").counted


def test_an_image_has_a_size() -> None:
    picture = Message("user", (Image(Media(url="rini:x")),))
    assert size_of(Conversation(new=(picture,)), "openai", "gpt-4").tokens > 900


def test_less_is_sent_than_was_refused() -> None:
    read = fit(talk(3), "compact")
    again = after_refusal(read, None)
    assert again is not None
    assert again.wants_summary
    assert again.cut is not None
    assert again.cut.window_tokens == read.size.tokens
    told = after_refusal(read, 400)
    assert told is not None
    assert told.cut is not None
    assert told.cut.window_tokens == 400
    assert len(told.gone) >= len(again.gone)


def test_only_one_summary_is_written_in_a_turn() -> None:
    read = fit(talk(8), "compact")
    again = after_refusal(read, 400)
    assert again is not None
    assert not again.wants_summary


def test_a_session_that_refuses_is_not_cut_after_a_refusal() -> None:
    assert after_refusal(fit(talk(3), "refuse"), None) is None


def test_nothing_is_left_to_cut() -> None:
    assert after_refusal(fit(()), None) is None


def test_a_path_that_was_not_read_whole_never_goes_out_as_if_it_were() -> None:
    steps = tuple(step(number, "assistant", f"{number}") for number in range(1, 4))
    read = fit(steps, whole=False, new="next")
    assert read.gone
    with pytest.raises(ContextTooLongError):
        fit(steps, "refuse", whole=False)
