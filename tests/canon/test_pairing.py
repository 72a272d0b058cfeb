"""Which call a tool's result answers, where it does not say so."""

from rini.canon import Message, Text, ToolCall, ToolResult
from rini.canon.pairing import paired


def asked(*calls: tuple[str, str]) -> Message:
    return Message("assistant", tuple(ToolCall(call_id, name) for call_id, name in calls))


def given(*results: tuple[str, str | None]) -> Message:
    return Message("user", tuple(ToolResult(call_id, (Text("x"),), name=name) for call_id, name in results))


def ids(messages: tuple[Message, ...]) -> list[str]:
    return [part.call_id for each in messages for part in each.parts if isinstance(part, ToolResult)]


def test_by_the_tools_name_and_in_order():
    calls = asked(("1", "a"), ("2", "b"), ("3", "a"))
    assert ids(paired((calls, given(("", "a"), ("", "a"), ("", "b"))))) == ["1", "3", "2"]
    assert ids(paired((calls, given(("", "b"), ("", None), ("", None))))) == ["2", "1", "3"]


def test_what_is_answered_by_its_id_is_answered():
    assert ids(paired((asked(("1", "a"), ("2", "a")), given(("1", "a"), ("", "a"))))) == ["1", "2"]


def test_each_round_has_its_own():
    messages = (asked(("1", "a")), given(("", "a")), asked(("2", "a")), given(("", "a")))
    assert ids(paired(messages)) == ["1", "2"]


def test_what_answers_nothing_stays():
    for messages in (
        (given(("", "a")),),
        (asked(("1", "a")), given(("", "b"))),
        (asked(("", "a")), given(("", "a"))),
        (given(("", "a")), asked(("1", "a"))),
    ):
        assert paired(messages) == messages


def test_messages_that_say_it_all_are_the_same_object():
    messages = (asked(("1", "a")), given(("1", "a")), Message("user", (Text("hi"),)))
    assert paired(messages) is messages
