"""Whole tool loops with each SDK: ids, order and proofs of thoughts come back to the provider that made them, and go to no other."""

import itertools
from collections.abc import Callable

import pytest

from rini.canon import Message, Part, Reply, Request, Text, Thinking, ToolCall, ToolResult, plain_text
from tests.support.dialects import DIALECTS, PROVIDERS, Behind, World
from tests.support.dialects_loops import RESULT, Talk, arguments_of
from tests.support.model import reply

WAYS = [False, True]
_NUMBERS = itertools.count()


def model_of(behind: Behind) -> str:
    return f"{behind.provider}/{behind.thinker}"


def thought(behind: Behind, number: int, *calls: ToolCall) -> tuple[Part, ...]:
    """What a model of the provider says before it calls tools, proven as that provider does."""
    proof = f"UFJPT0Y{number}"
    text = f"Thought {number}."
    match behind.name:
        case "anthropic":
            return (Thinking(text, signature=proof), Text("I look."), *calls)
        case "google":
            first = ToolCall(calls[0].id, calls[0].name, calls[0].arguments, signature=proof)
            return (Thinking(text), Text("I look."), first, *calls[1:])
        case "responses":
            own = {"openai_responses": {"item.id": f"rs_{number}"}}
            return (Thinking(text, signature=proof, extras=own), *calls)
        case _:
            return (Text("I look."), *calls)


def proofs(message: Message) -> list[str]:
    found: list[str] = []
    for part in message.parts:
        if isinstance(part, Thinking) and (part.signature or part.redacted):
            found.append(part.signature or part.redacted or "")
        elif isinstance(part, ToolCall | Text) and part.signature is not None:
            found.append(part.signature)
    return found


class Provider:
    """A model that calls the weather, then the clock and the weather at once, and then answers."""

    def __init__(self, behind: Behind) -> None:
        self.behind = behind
        self.requests: list[Request] = []
        self.id = f"call_{next(_NUMBERS)}"

    def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        rounds = sum(each.role == "assistant" for each in request.messages)
        known = self.behind.name != "google"  # which gives its calls no ids
        weather = ToolCall(f"{self.id}_w_{rounds}" if known else "", "weather", '{"city": "Seoul"}')
        clock = ToolCall(f"{self.id}_c_{rounds}" if known else "", "clock", '{"zone": "KST"}')
        match rounds:
            case 0:
                return reply(*thought(self.behind, 0, weather))
            case 1:
                return reply(*thought(self.behind, 1, clock, weather))
            case _:
                return reply(Text("It rains."))


def answers(request: Request) -> list[Message]:
    return [each for each in request.messages if each.role == "assistant"]


def calls(request: Request) -> list[ToolCall]:
    return [part for each in request.messages for part in each.parts if isinstance(part, ToolCall)]


def results(request: Request) -> list[ToolResult]:
    return [part for each in request.messages for part in each.parts if isinstance(part, ToolResult)]


def hold(world: World, dialect: str, behind: Behind, *, stream: bool) -> tuple[Talk, Provider]:
    provider = Provider(behind)
    world.script(behind, provider)
    talk = Talk(world.clients, dialect, stream=stream)
    first = talk.ask(model_of(behind))
    assert first.calls == (("weather", {"city": "Seoul"}),)
    talk.give(first)
    second = talk.ask(model_of(behind))
    assert second.calls == (("clock", {"zone": "KST"}), ("weather", {"city": "Seoul"}))
    assert len({*first.call_ids, *second.call_ids}) == 3 or (dialect, behind.name) == ("gemini", "google")
    assert "Thought" not in first.text + second.text, "thoughts are no text"
    talk.give(second)
    last = talk.ask(model_of(behind))
    assert (last.text, last.calls) == ("It rains.", ())
    return talk, provider


@pytest.mark.parametrize("stream", WAYS, ids=["whole", "streamed"])
@pytest.mark.parametrize("behind", PROVIDERS, ids=lambda behind: behind.name)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_loop_of_three_calls(world: World, dialect: str, behind: Behind, stream: bool):
    _, provider = hold(world, dialect, behind, stream=stream)
    assert len(provider.requests) == 3
    last = provider.requests[-1]
    made = calls(last)
    assert [(call.name, arguments_of(call)) for call in made] == [
        ("weather", {"city": "Seoul"}),
        ("clock", {"zone": "KST"}),
        ("weather", {"city": "Seoul"}),
    ]
    if behind.name != "google":
        assert [call.id for call in made] == [f"{provider.id}_{each}" for each in ("w_0", "c_1", "w_1")]
    given = results(last)
    assert [plain_text(each.content) for each in given] == [RESULT] * 3
    assert all(one.id == other.call_id or one.name == other.name for one, other in zip(made, given, strict=True))


@pytest.mark.parametrize("stream", WAYS, ids=["whole", "streamed"])
@pytest.mark.parametrize("behind", PROVIDERS[1:4], ids=lambda behind: behind.name)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_proofs_of_thoughts_come_back(world: World, dialect: str, behind: Behind, stream: bool):
    _, provider = hold(world, dialect, behind, stream=stream)
    second, last = provider.requests[1:]
    assert [proofs(each) for each in answers(second)] == [["UFJPT0Y0"]]
    assert [proofs(each) for each in answers(last)] == [["UFJPT0Y0"], ["UFJPT0Y1"]]


PAIRS = list(itertools.permutations((PROVIDERS[0], *PROVIDERS[1:4]), 2))


@pytest.mark.parametrize("stream", WAYS, ids=["whole", "streamed"])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0].name}-{pair[1].name}")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_conversation_goes_on_with_another_provider(
    world: World, dialect: str, pair: tuple[Behind, Behind], stream: bool
):
    before, after = pair
    talk, _ = hold(world, dialect, before, stream=stream)
    talk.say("And tomorrow?")
    requests: list[Request] = []
    world.script(after, keeping(requests))
    got = talk.ask(model_of(after))
    assert got.text == "Sunny."
    request = requests[0]
    assert [(call.name, arguments_of(call)) for call in calls(request)] == [
        ("weather", {"city": "Seoul"}),
        ("clock", {"zone": "KST"}),
        ("weather", {"city": "Seoul"}),
    ]
    given = results(request)
    assert [plain_text(each.content) for each in given] == [RESULT] * 3
    made = calls(request)
    assert all(one.id == other.call_id or one.name == other.name for one, other in zip(made, given, strict=True))
    assert plain_text(request.messages[-1].parts) == "And tomorrow?"
    if before.provider != after.provider:
        found = {proof for each in request.messages for proof in proofs(each)}
        assert not {each for each in found if each.startswith("UFJP")}, "no other provider's proofs"
        if after.name != "google":  # which takes thoughts without proofs, and passes them over
            assert not [part for each in request.messages for part in each.parts if isinstance(part, Thinking)]
    texts = "".join(plain_text(each.parts) for each in request.messages)
    assert "Thought" not in texts, "thoughts are no text"
    if before.name in ("responses", "anthropic", "google") and not passes(dialect, after):
        assert [name for name in got.dropped if name.startswith("messages[")], "what is left out is named"


def passes(dialect: str, behind: Behind) -> bool:
    """Whether the client speaks the provider's own format."""
    return (
        behind.name
        in {
            "chat": ("openai", "compatible"),
            "responses": ("openai", "responses"),
            "anthropic": ("anthropic",),
            "gemini": ("google",),
        }[dialect]
    )


def keeping(requests: list[Request]) -> Callable[[Request], Reply]:
    def answer(request: Request) -> Reply:
        requests.append(request)
        return reply(Text("Sunny."))

    return answer


def test_two_users_thoughts_stay_apart(world: World):
    """The same call id of another user brings none of the first one's thoughts."""
    behind = PROVIDERS[2]
    talk, provider = hold(world, "chat", behind, stream=False)
    other = world.server.user(provider="anthropic")
    upstream = world.upstream
    upstream.scripts[other.provider_key] = upstream.scripts[world.keys["anthropic"]]
    asked = {"model": model_of(behind), "messages": talk.turns[:3], "max_tokens": 100}
    assert other.post("/v1/chat/completions", asked).status == 200
    assert [proofs(each) for each in answers(provider.requests[-1])] == [[]]
