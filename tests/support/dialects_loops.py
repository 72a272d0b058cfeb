"""A conversation in which tools are called, held with each SDK as its users do: what it answered goes back, and the result after it."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from google.genai import types

from tests.support.dialects import Clients, Got
from tests.support.dialects_features import ANTHROPIC_TOOLS, CHAT_TOOLS, GEMINI_TOOLS, RESPONSES_TOOLS

RESULT = "rainy"


class Talk:
    """One conversation in a dialect; each turn may ask another model."""

    def __init__(self, clients: Clients, dialect: str, *, stream: bool) -> None:
        self.clients = clients
        self.dialect = dialect
        self.stream = stream
        first = {"role": "user", "content": "How is the weather?"}
        self.turns: list[Any] = [first if dialect != "gemini" else types.UserContent("How is the weather?")]

    def ask(self, model: str) -> Got:
        """Ask with all that was said so far, and add what was answered."""
        got = self.clients.ask(self.dialect, model, _ASKED[self.dialect](self.turns), stream=self.stream)
        self.turns += _ANSWERED[self.dialect](got)
        return got

    def give(self, got: Got) -> None:
        """Add a result for each call of an answer."""
        self.turns += _GIVEN[self.dialect](got)

    def say(self, text: str) -> None:
        """Add what the user says."""
        said = {"role": "user", "content": text}
        self.turns.append(said if self.dialect != "gemini" else types.UserContent(text))


_ASKED: Mapping[str, Callable[[list[Any]], Mapping[str, Any]]] = {
    "chat": lambda turns: {"messages": turns, "tools": CHAT_TOOLS},
    "responses": lambda turns: {
        "input": turns,
        "tools": RESPONSES_TOOLS,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    },
    "anthropic": lambda turns: {
        "messages": turns,
        "tools": ANTHROPIC_TOOLS,
        "thinking": {"type": "enabled", "budget_tokens": 2048},
    },
    "gemini": lambda turns: {
        "contents": turns,
        "config": {
            "tools": GEMINI_TOOLS,
            "automatic_function_calling": {"disable": True},
            "thinking_config": {"include_thoughts": True},
        },
    },
}


def _chat_answered(got: Got) -> list[Any]:
    message = got.raw.choices[0].message
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
        for call in message.tool_calls or ()
    ]  # fmt: skip
    return [{"role": "assistant", "content": message.content, **({"tool_calls": calls} if calls else {})}]


def _gemini_answered(got: Got) -> list[Any]:
    return [types.Content(role="model", parts=_parts(got))]


def _parts(got: Got) -> list[types.Part]:
    return [part for answer in got.raw for part in answer.parts or ()]


_ANSWERED: Mapping[str, Callable[[Got], list[Any]]] = {
    "chat": _chat_answered,
    "responses": lambda got: [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in got.raw.output],
    "anthropic": lambda got: [{"role": "assistant", "content": got.raw.content}],
    "gemini": _gemini_answered,
}  # fmt: skip


def _gemini_given(got: Got) -> list[Any]:
    calls = [part.function_call for part in _parts(got) if part.function_call]
    parts = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"result": RESULT}))
        for call in calls
    ]  # fmt: skip
    return [types.Content(role="user", parts=parts)]


_GIVEN: Mapping[str, Callable[[Got], list[Any]]] = {
    "chat": lambda got: [{"role": "tool", "tool_call_id": each, "content": RESULT} for each in got.call_ids],
    "responses": lambda got: [
        {"type": "function_call_output", "call_id": each, "output": RESULT} for each in got.call_ids
    ],
    "anthropic": lambda got: [
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": each, "content": RESULT} for each in got.call_ids],
        }
    ],
    "gemini": _gemini_given,
}


def arguments_of(call: Any) -> Any:
    """The arguments of a canonical call."""
    return json.loads(call.arguments)
