"""The SDKs' JavaScript siblings, run by node: RINI_JS_SDKS names a folder whose node_modules holds them.

npm install openai @anthropic-ai/sdk @google/genai zod
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rini.canon import Failure, Reply, Request, Text, ToolCall, ToolResult, plain_text
from tests.support.dialects import PROVIDERS, World
from tests.support.model import Broken, reply

HERE = Path(__file__).parent / "js"
SDKS = os.environ.get("RINI_JS_SDKS", "")
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (Path(SDKS) / "node_modules").is_dir(), reason="RINI_JS_SDKS names no folder with node_modules"
    ),
]

ANN = {"name": "Ann", "age": 7}
RAIN = {"text": "It is rainy.", "asked": ["Seoul"]}


def answer(request: Request) -> Reply | Broken:
    """What the model behind every provider says."""
    results = [part for each in request.messages for part in each.parts if isinstance(part, ToolResult)]
    text = plain_text(request.messages[-1].parts)
    if results:
        return reply(Text(f"It is {'rainy' if 'rainy' in plain_text(results[-1].content) else 'unknown'}."))
    if request.tools:
        return reply(ToolCall("call_1", "weather", '{"city": "Seoul"}'))
    if request.response_format is not None:
        return reply(Text(json.dumps(ANN)))
    if text == "fail":
        return Broken(Failure("rate_limited", "Not so fast.", retry_after=7))
    if text == "break":
        return Broken(Failure("overloaded", "I am full."), reply(Text("hello there")))
    if text == "again":
        said = "".join(plain_text(each.parts) for each in request.messages if each.role == "assistant")
        return reply(Text(f"I said: {said}"))
    return reply(Text("hello there, you"))


def told(world: World, script: str) -> dict[str, dict[str, Any]]:
    """What a script says of each model."""
    for behind in PROVIDERS:
        world.script(behind, answer)
    assert NODE is not None
    environment = {
        "PATH": os.environ["PATH"],
        "RINI_JS_SDKS": SDKS,
        "RINI_URL": world.clients.url,
        "RINI_TOKEN": world.clients.token,
        "RINI_MODELS": json.dumps([f"{behind.provider}/{behind.model}" for behind in PROVIDERS]),
    }
    ran = subprocess.run(
        [NODE, str(HERE / script)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert len(found) == len(PROVIDERS)
    return found


COMMON = {
    "plain": "hello there, you",
    "stream": "hello there, you",
    "tools": RAIN,
    "tools, streamed": RAIN,
    "parsed": ANN,
}


def check(found: dict[str, dict[str, Any]], wanted: dict[str, Any], errors: dict[str, tuple[str, str]]) -> None:
    wrong: list[Any] = []
    for model, checks in found.items():
        assert set(checks) == {*wanted, *errors}
        wrong += [(model, name, checks[name]) for name, value in wanted.items() if checks[name] != value]
        for name, (kind, message) in errors.items():
            error = checks[name]
            assert error["thrown"] == kind, (model, error)
            assert message in error["message"]
            assert error.get("status") in (None, 429)
            assert error.get("text") in (None, "hello there"), "what came before it broke off"
    assert not wrong


def test_openai(world: World):
    wanted = COMMON | {
        "responses, plain": "hello there, you",
        "responses, stream": "hello there, you",
        "responses, parsed": ANN,
        "responses, tools": RAIN,
    }
    check(
        told(world, "openai.mjs"),
        wanted,
        {"error": ("RateLimitError", "Not so fast."), "error, streamed": ("APIError", "I am full.")},
    )


def test_anthropic(world: World):
    check(
        told(world, "anthropic.mjs"),
        COMMON,
        {"error": ("RateLimitError", "Not so fast."), "error, streamed": ("APIError", "I am full.")},
    )


def test_google(world: World):
    check(
        told(world, "google.mjs"),
        COMMON | {"chat": {"text": "hello there, you", "again": "I said: hello there, you"}},
        {"error": ("ApiError", "Not so fast."), "error, streamed": ("ApiError", "I am full.")},
    )
