"""What was sent before is sent again byte for byte, so that a provider's prompt cache hits: only a cut changes it."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from rini.canon import Reply, Request, Text, Usage
from rini.inference.estimate import request_tokens
from tests.support.model import reply, user_of
from tests.support.server import Client, Server
from tests.support.upstream import Upstream

TURNS = 50

# The shortest contexts there are behind each format.
MODELS = {
    "openai": "gpt-4",
    "anthropic": "claude-v1",
    "google": "gemini-2.5-flash-tts",
    "responses": "gpt-4",
}
LENGTHS = {"openai": 800, "anthropic": 8000, "google": 800, "responses": 800}
"""Tokens of an answer, so that a conversation of 50 turns is cut a few times."""


class Prompt(msgspec.Struct):
    """The parts of a request that a provider caches, in whichever format, as they were written."""

    system: msgspec.Raw = msgspec.Raw()
    systemInstruction: msgspec.Raw = msgspec.Raw()  # noqa: N815  # Google's name
    instructions: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    messages: list[msgspec.Raw] = []
    contents: list[msgspec.Raw] = []
    input: list[msgspec.Raw] | str = []

    @property
    def pieces(self) -> list[bytes]:
        head = (self.tools, self.system, self.systemInstruction, self.instructions)
        # A single question may stand there as a text.
        asked = () if isinstance(self.input, str) else self.input
        return [bytes(piece) for piece in (*head, *self.messages, *self.contents, *asked)]


def is_summary(body: bytes) -> bool:
    return b"takes the place of" in body


class Talker:
    """A model that talks at length and counts its tokens."""

    def __init__(self, tokens: int) -> None:
        self.text = "word" * tokens
        self.said = 0

    def __call__(self, request: Request) -> Reply:
        tokens = request_tokens(request)
        if "takes the place of" in str(request.messages[0]):
            return reply(Text("They said word."), usage=Usage(input_tokens=tokens, output_tokens=5))
        self.said += 1
        return reply(
            Text(f"{self.said} {self.text}"), usage=Usage(input_tokens=tokens, output_tokens=len(self.text) // 4)
        )


def cut_of(user: Client, session: str, format_: str, number: int) -> Any:
    """Take a turn and return at which cut its path began."""
    if format_ == "responses":
        body = {"model": f"openai/{MODELS[format_]}", "input": f"question {number}"}
        answer = user.request("POST", "/v1/responses", body, x_rini_session=session)
        assert answer.status == 200, answer
        return answer.headers.get("x-rini-context")
    asked = {"provider": format_, "model": MODELS[format_], "session_id": session}
    answer = user.ask(f"question {number}", **asked)
    assert answer.status == 200, answer
    return answer.json.get("context", {}).get("cut")


def breaks(bodies: list[bytes]) -> int:
    """Return how many requests do not begin with all of the one before."""
    prompts = [msgspec.json.decode(body, type=Prompt).pieces for body in bodies if not is_summary(body)]
    assert len(prompts) == TURNS
    return sum(now[: len(before)] != before for before, now in pairwise(prompts))


@pytest.mark.parametrize("format_", MODELS)
def test_only_cuts_change_the_prefix(server: Server, upstream: Upstream, format_: str) -> None:
    provider = "openai" if format_ == "responses" else format_
    user = user_of(server, upstream, provider, Talker(LENGTHS[format_]))
    session = user.session(system_prompt="Be brief.", memory_mode="auto")
    remembered = {"memory_type": "Rule", "content": "Answer in words.", "scope": "Session"}
    assert user.post(f"/sessions/{session}/memory/", remembered).status == 201
    cuts = [cut_of(user, session, format_, number) for number in range(TURNS)]
    bodies = [seen.body for seen in upstream.calls(user.provider_key)]
    made = len({cut for cut in cuts if cut is not None})
    assert 2 <= made <= TURNS // 4
    assert breaks(bodies) == made
    assert sum(map(is_summary, bodies)) == made


def test_tools_do_not_change_the_prefix(server: Server, upstream: Upstream) -> None:
    user = user_of(server, upstream, "openai", Talker(20))
    session = user.session(system_prompt="Be brief.")
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    for number in range(TURNS):
        asked: list[dict[str, Any]] = [{"role": "user", "content": f"question {number}"}]
        if number % 3 == 1:
            id_ = f"call_{number}"
            asked += [
                {"role": "assistant", "tool_calls": [call | {"id": id_}]},
                {"role": "tool", "tool_call_id": id_, "content": "found"},
            ]
        body = {"model": "openai/gpt-4o", "messages": asked, "tools": tools}
        answer = user.request("POST", "/v1/chat/completions", body, x_rini_session=session)
        assert answer.status == 200, answer
    bodies = [seen.body for seen in upstream.calls(user.provider_key)]
    assert breaks(bodies) == 0
    assert len(json.loads(bodies[-1])["messages"]) > 2 * TURNS
