"""What a model is given to summarise."""

from rini.canon import Image, Media, Message, Part, Text, Thinking, ToolCall, ToolResult
from rini.inference.estimate import text_tokens
from rini.providers.windows import Window
from rini.sessions.context import Cut, Path, Step
from rini.turns.compaction import asking
from rini.turns.context import Conversation, Reader, Reading, Size
from rini.turns.values import Ask

ASK = Ask(user_id=1, provider="openai", model="gpt-4", messages=(), endpoint="/llm/text-completion/", session_id="s")


def step(role: str, *parts: Part) -> Step:
    message = Message(role, parts)  # type: ignore[arg-type]
    return Step(message_id=1, messages=(message,), tokens=100)


def asked(gone: tuple[Step, ...], before: Cut | None = None, window: int = 8192) -> Ask:
    cut = Cut(message_id=1, window_tokens=window)
    reading = Reading(
        conversation=Conversation(path=Path(steps=(), cut=cut)),
        reader=Reader(provider="openai", model="gpt-4", window=Window(window)),
        size=Size(window, window, 1.0, counted=False),
        policy="compact",
        gone=gone,
        before_cut=before,
        wants_summary=True,
    )
    return asking(ASK, "s", reading)


def material(gone: tuple[Step, ...], before: Cut | None = None, window: int = 8192) -> str:
    part = asked(gone, before, window).messages[1].parts[0]
    assert isinstance(part, Text)
    return part.text


def test_it_is_asked_of_the_same_model_and_booked_to_the_session() -> None:
    ask = asked((step("user", Text("Hello.")),))
    assert (ask.provider, ask.model, ask.endpoint, ask.booked_to, ask.session_id) == (
        "openai",
        "gpt-4",
        "compaction",
        "s",
        None,
    )
    assert 0 < ask.params["max_tokens"] < 2000
    assert [message.role for message in ask.messages] == ["system", "user"]


def test_tools_and_images_are_told_in_words_and_thoughts_are_not() -> None:
    text = material(
        (
            step("user", Image(Media(url="rini:x")), Text("What is it?")),
            step("assistant", Thinking("hmm"), Text("I look."), ToolCall("a", "look", '{"at": 1}')),
            step("tool", ToolResult("a", (Text("a fox"),))),
            step("assistant", Text("A fox.")),
        )
    )
    for said in ("User: [an image]\nWhat is it?", '[calls the tool look: {"at": 1}]', "[the tool answers: a fox]"):
        assert said in text
    assert "hmm" not in text
    assert text.index("What is it?") < text.index("A fox.")


def test_the_former_summary_is_a_part_of_it() -> None:
    before = Cut(message_id=1, summary="They met.", window_tokens=8192, provider="openai", model="gpt-4")
    assert "<summary_so_far>\nThey met.\n</summary_so_far>" in material((step("user", Text("Hello.")),), before)


def test_what_is_long_is_shortened_so_that_all_has_a_place() -> None:
    short = [step("user", Text(f"This is question {number}.")) for number in range(20)]
    long = step("assistant", Text("begin " + "word " * 20_000 + " end"))
    text = material((*short[:10], long, *short[10:]))
    assert text_tokens(text) < 8192
    for each in (*(f"question {number}." for number in range(20)), "begin", " end", "[…]"):
        assert each in text


def test_of_a_path_that_is_deeper_than_any_call_the_latest_are_told() -> None:
    gone = tuple(step("user", Text(f"{number}: " + "word " * 50)) for number in range(1000))
    text = material(gone)
    assert text_tokens(text) < 8192
    assert "User: 999: " in text
    assert "User: 1: " not in text
