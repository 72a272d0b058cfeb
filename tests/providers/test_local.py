"""The model in the box with real processes: who starts it, who shares it, who ends it, and what it serves."""

import asyncio
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rini.kit.sse import EventParser
from rini.providers.local import (
    BOXED_MODEL_ID,
    PARAMETERS,
    TOOL_PARAMETERS,
    Endpoint,
    LocalModel,
    LocalModelStartError,
    LocalModelUnavailableError,
)
from rini.providers.local.installation import find_weights


def absent() -> str | None:
    if not Path("/proc/self/status").exists():
        return "looks at processes in /proc"
    try:
        find_weights(None)
    except LocalModelUnavailableError as error:
        return str(error)
    return None


ABSENT = absent()
pytestmark = pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))


def small(run_dir: Path, **options: Any) -> LocalModel:
    return LocalModel(run_dir, **{"context_tokens": 512, "parallel": 1, "threads": 1, **options})


def children(run_dir: Path) -> list[int]:
    """The model processes of ``run_dir``, zombies excepted (their command line is empty)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"child.py" in command and os.fsencode(run_dir) in command:
            found.append(int(folder.name))
    return found


def zombies() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = path.read_text().split(" (", 1)
        except OSError:
            continue
        state, parent = rest.rsplit(") ", 1)[1].split()[:2]
        if state == "Z" and int(parent) == os.getpid():
            found.append(int(pid))
    return found


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come to pass")


def published(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "local-model.json").read_bytes())


def connect(endpoint: Endpoint) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(endpoint.base_url.removeprefix("http://").removesuffix("/v1"), timeout=30)


def call(endpoint: Endpoint, path: str, body: Any = None, key: str | None = None) -> tuple[int, bytes]:
    connection = connect(endpoint)
    headers = {"authorization": f"Bearer {endpoint.api_key if key is None else key}"}
    connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def chat(endpoint: Endpoint, content: str, **parameters: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 12, "temperature": 0, **parameters}
    status, answer = call(endpoint, "/v1/chat/completions", body)
    return {"status": status, **json.loads(answer)}


def text(answer: dict[str, Any]) -> str:
    assert answer["status"] == 200, answer
    return answer["choices"][0]["message"]["content"]


# ---- who starts it, who shares it, who ends it


def test_first_uses_at_once_start_one_child_that_close_ends(tmp_path):
    async def scenario():
        local = small(tmp_path)
        local.preload()
        endpoints = await asyncio.gather(*(local.ensure_started() for _ in range(5)))
        assert len(set(endpoints)) == 1
        assert children(tmp_path) == [published(tmp_path)["pid"]]
        assert await local.ensure_started() is endpoints[0]
        await local.close()
        assert children(tmp_path) == []
        assert zombies() == []
        assert not (tmp_path / "local-model.json").exists()
        with pytest.raises(LocalModelUnavailableError, match="stopped with the server"):
            await local.ensure_started()

    asyncio.run(scenario())


def test_close_in_the_middle_of_a_start(tmp_path):
    async def scenario():
        local = small(tmp_path)
        first = asyncio.create_task(local.ensure_started())
        while not children(tmp_path):
            await asyncio.sleep(0.01)
        await local.close()
        with pytest.raises(LocalModelUnavailableError, match="stopped with the server"):
            await first
        assert children(tmp_path) == []

    asyncio.run(scenario())


def test_a_caller_that_leaves_does_not_stop_the_start(tmp_path):
    async def scenario():
        local = small(tmp_path)
        first = asyncio.create_task(local.ensure_started())
        second = asyncio.create_task(local.ensure_started())
        await asyncio.sleep(0.1)
        first.cancel()
        assert (await second).model_id == BOXED_MODEL_ID
        assert first.cancelled()
        await local.close()

    asyncio.run(scenario())


def test_killed_child_is_started_anew(tmp_path):
    async def scenario():
        local = small(tmp_path)
        endpoint = await local.ensure_started()
        pid = published(tmp_path)["pid"]
        os.kill(pid, signal.SIGKILL)
        # At once, before anybody can have noticed: the caller learns it from the refused connection.
        await local.endpoint_failed(endpoint)
        again = await local.ensure_started()
        assert again != endpoint
        assert children(tmp_path) == [published(tmp_path)["pid"]] != [pid]
        assert call(again, "/v1/models")[0] == 200
        # And without a word from a caller.
        os.kill(published(tmp_path)["pid"], signal.SIGKILL)
        for _ in range(100):
            if await local.ensure_started() != again:
                break
            await asyncio.sleep(0.02)
        assert call(await local.ensure_started(), "/v1/models")[0] == 200
        assert zombies() == []
        await local.close()

    asyncio.run(scenario())


WORKER = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from rini.providers.local import LocalModel

    async def main():
        local = LocalModel(Path(sys.argv[1]), context_tokens=512, parallel=1, threads=1)
        print((await local.ensure_started()).base_url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await local.close()

    asyncio.run(main())
""")


@contextmanager
def worker(run_dir: Path) -> Iterator[subprocess.Popen]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(run_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_killed_parent_takes_the_child_along(tmp_path):
    with worker(tmp_path) as parent:
        assert parent.stdout.readline().startswith("http://127.0.0.1:")
        assert len(children(tmp_path)) == 1
        parent.kill()
        until(lambda: not children(tmp_path), 3)


def test_parent_killed_while_the_model_loads(tmp_path):
    with worker(tmp_path) as parent:
        until(lambda: children(tmp_path))
        parent.kill()
        until(lambda: not children(tmp_path), 5)
        assert not (tmp_path / "local-model.json").exists()


def test_two_workers_share_one_child_and_the_survivor_starts_another(tmp_path):
    async def scenario():
        local = small(tmp_path)
        with worker(tmp_path) as other:
            base_url = (await asyncio.to_thread(other.stdout.readline)).strip()
            endpoint = await local.ensure_started()
            assert endpoint.base_url == base_url
            assert len(children(tmp_path)) == 1
            assert call(endpoint, "/v1/models")[0] == 200
            other.kill()
            await asyncio.to_thread(until, lambda: not children(tmp_path), 3)
        with pytest.raises(ConnectionError):
            call(endpoint, "/v1/models")
        await local.endpoint_failed(endpoint)
        again = await local.ensure_started()
        assert call(again, "/v1/models")[0] == 200
        assert len(children(tmp_path)) == 1
        await local.close()
        assert children(tmp_path) == []

    asyncio.run(scenario())


def test_two_workers_that_start_together_and_one_that_only_leaves(tmp_path):
    with worker(tmp_path) as one, worker(tmp_path) as other:
        assert one.stdout.readline() == other.stdout.readline()
        [pid] = children(tmp_path)
        starter = int(Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[1])
        guest = other if one.pid == starter else one
        guest.communicate("", timeout=10)
        assert children(tmp_path) == [pid]
        assert published(tmp_path)["pid"] == pid


def test_a_model_that_cannot_load_is_not_tried_in_a_loop(tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"no model at all")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "local-model.json").write_text("what a child left that was killed")

    async def scenario():
        local = small(tmp_path / "run", model_path=path)
        with pytest.raises(LocalModelStartError) as raised:
            await local.ensure_started()
        assert raised.value.code == "local_model_start_failed"
        assert "status 1" in str(raised.value)
        assert "broken.gguf" in raised.value.log_tail
        assert not (tmp_path / "run" / "local-model.json").exists()
        began = time.monotonic()
        with pytest.raises(LocalModelStartError) as again:
            await local.ensure_started()
        assert time.monotonic() - began < 0.05  # no process in this time
        assert str(again.value) == str(raised.value)
        assert again.value.log_tail == raised.value.log_tail
        assert 0 < again.value.retry_after <= 1
        await asyncio.sleep(again.value.retry_after)
        with pytest.raises(LocalModelStartError) as third:
            await local.ensure_started()
        assert third.value.retry_after == 2
        await local.close()

    asyncio.run(scenario())


def test_a_child_with_another_model_is_not_taken_for_ours(tmp_path):
    path = tmp_path / "own.gguf"
    path.write_bytes(b"GGUF")

    async def scenario():
        local, other = small(tmp_path / "run"), small(tmp_path / "run", model_path=path, start_timeout=0.3)
        endpoint = await local.ensure_started()
        with pytest.raises(LocalModelStartError, match="serves no such model"):
            await other.ensure_started()
        await other.close()
        assert call(endpoint, "/v1/models")[0] == 200
        await local.close()

    asyncio.run(scenario())


def test_a_start_that_takes_too_long_leaves_nothing(tmp_path):
    async def scenario():
        local = small(tmp_path, start_timeout=0.05)
        with pytest.raises(LocalModelStartError, match=r"not ready after 0\.05 seconds"):
            await local.ensure_started()
        assert children(tmp_path) == []
        assert zombies() == []

    asyncio.run(scenario())


# ---- what it is given and what it serves


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("local") / "run"
    local = LocalModel(run_dir, context_tokens=1024)
    with socket.socket() as listener, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-of-the-server")
        listener.bind(("127.0.0.1", 0))
        listener.set_inheritable(True)
        endpoint = asyncio.run(local.ensure_started())
        yield run_dir, endpoint, os.fstat(listener.fileno()).st_ino
        asyncio.run(local.close())
    assert children(run_dir) == []


@pytest.fixture
def endpoint(running) -> Endpoint:
    return running[1]


def test_child_holds_nothing_of_its_parent(running):
    run_dir, endpoint, listener = running
    process = Path("/proc") / str(published(run_dir)["pid"])
    assert f"socket:[{listener}]" not in {str(path.readlink()) for path in (process / "fd").iterdir()}
    environment = (process / "environ").read_bytes().split(b"\0")
    assert b"OPENAI_API_KEY=sk-of-the-server" not in environment
    assert b"OMP_WAIT_POLICY=passive" in environment
    assert (process / "fd/1").readlink() == (process / "fd/2").readlink() == run_dir / "local-model.log"
    assert os.getpriority(os.PRIO_PROCESS, int(process.name)) > os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getsid(int(process.name)) == int(process.name)
    assert endpoint.api_key.encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()


def test_key_is_needed_and_readable_by_its_owner_alone(running):
    run_dir, endpoint, _ = running
    assert stat.S_IMODE((run_dir / "local-model.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
    assert endpoint.api_key not in repr(endpoint)
    for path in ("/v1/models", "/v1/chat/completions", "/slots", "/props", "/v1/messages", "/v1/responses"):
        assert call(endpoint, path, {} if path.startswith("/v1/c") else None, key="another")[0] == 401
    assert call(endpoint, "/slots")[0] == 501


def test_interrupt_does_not_end_it(running):
    run_dir, endpoint, _ = running
    os.kill(published(run_dir)["pid"], signal.SIGINT)
    time.sleep(0.3)
    assert call(endpoint, "/v1/models")[0] == 200


def test_log_stays_bounded(running):
    run_dir, _, _ = running
    log = run_dir / "local-model.log"
    with log.open("ab") as file:
        file.write(b"x" * 300_000)
    until(lambda: log.stat().st_size < 1000, 3)


def test_models(endpoint):
    status, body = call(endpoint, "/v1/models")
    assert status == 200
    assert [model["id"] for model in json.loads(body)["data"]] == [BOXED_MODEL_ID]


def test_whole_and_streamed_answers_are_the_same(endpoint):
    whole = chat(endpoint, "안녕하세요. 한국어로 인사해 주세요.", max_tokens=24)
    assert whole["model"] == BOXED_MODEL_ID
    assert whole["usage"]["completion_tokens"] == 24
    body = {
        "messages": [{"role": "user", "content": "안녕하세요. 한국어로 인사해 주세요."}],
        "max_tokens": 24,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    status, stream = call(endpoint, "/v1/chat/completions", body)
    assert status == 200
    events = [event.data for event in EventParser().feed(stream)]
    assert events.pop() == b"[DONE]"
    chunks = [json.loads(event) for event in events]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1]) == text(whole)
    assert chunks[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "length"
    usage = chunks[-1]["usage"]
    assert (chunks[-1]["choices"], usage["completion_tokens"]) == ([], 24)
    # The second time the question is read from the cache, all but its last token.
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1
    del body["stream_options"]
    assert b'"usage"' not in call(endpoint, "/v1/chat/completions", body)[1]


def test_two_answers_at_once(endpoint):
    async def scenario():
        one, two = await asyncio.gather(
            *(asyncio.to_thread(chat, endpoint, f"Count to {n}.", max_tokens=40, ignore_eos=True) for n in (5, 9))
        )
        assert one["usage"]["completion_tokens"] == two["usage"]["completion_tokens"] == 40

    asyncio.run(scenario())


def test_context_exceeded(endpoint):
    answer = chat(endpoint, "word " * 1100)
    assert answer["status"] == 400
    assert answer["error"]["type"] == "exceed_context_size_error"
    assert answer["error"]["n_ctx"] == 1024  # each of the two slots has all of it


def cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_answer(running, stream):
    run_dir, endpoint, _ = running
    body = {
        "messages": [{"role": "user", "content": "Go on."}],
        "max_tokens": 900,
        "ignore_eos": True,
        "stream": stream,
    }
    connection = connect(endpoint)
    headers = {"authorization": f"Bearer {endpoint.api_key}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    time.sleep(0.5)
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    pid = published(run_dir)["pid"]

    def idle() -> bool:
        before = cpu_seconds(pid)
        time.sleep(0.3)
        return cpu_seconds(pid) - before < 0.1

    until(idle, 3)  # all 900 tokens would take more than twice that


def test_tool_calls_of_earlier_turns_are_shown_to_the_model(endpoint):
    history = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Weather in Paris?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "22 degrees"},
    ]
    prompt = json.loads(call(endpoint, "/apply-template", {"messages": history})[1])["prompt"]
    assert prompt.startswith("<|im_start|>system\nBe brief.<|im_end|>\n")
    assert '{"name": "weather", "arguments": {"city": "Paris"}}' in prompt
    assert "22 degrees" in prompt
    assert prompt.endswith("<|im_start|>assistant\n")


def test_last_assistant_message_is_history_and_no_prefill(endpoint):
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The sky is"}]
    prompt = json.loads(call(endpoint, "/apply-template", {"messages": history})[1])["prompt"]
    assert prompt.endswith("The sky is<|im_end|>\n<|im_start|>assistant\n")


# ---- the parameters: each value changes the answer, or the name does not belong into the set

GREEDY = "Repeat the word apple as many times as you can: apple apple apple apple"
HOT = {"temperature": 1.5, "top_k": 0, "top_p": 1, "min_p": 0, "seed": 7}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
CHANGES: dict[str, tuple[dict[str, Any], Any]] = {
    "max_tokens": ({}, 3),
    "max_completion_tokens": ({}, 3),  # compared with no limit at all
    "stop": ({}, [" apple apple"]),
    "ignore_eos": ({"max_tokens": 60}, True),
    "t_max_predict_ms": ({"max_tokens": 40}, 1),
    "temperature": ({"seed": 7}, 2),
    "dynatemp_range": ({"temperature": 1, "seed": 7, "max_tokens": 30}, 1),
    "dynatemp_exponent": ({**HOT, "dynatemp_range": 1}, 3),
    "top_k": (HOT, 1),
    "top_p": (HOT, 0.01),
    "min_p": (HOT, 0.9),
    "typical_p": (HOT, 0.1),
    "top_n_sigma": (HOT, 0.1),
    "xtc_probability": ({"temperature": 0.7, "seed": 7}, 1),
    "xtc_threshold": ({"temperature": 0.7, "seed": 7, "xtc_probability": 1}, 0.5),
    "mirostat": (HOT, 2),
    "mirostat_tau": ({**HOT, "mirostat": 2}, 0.5),
    "mirostat_eta": ({**HOT, "mirostat": 2, "max_tokens": 40}, 1),
    "samplers": (HOT, ["top_k"]),
    "seed": (HOT, 8),
    "presence_penalty": ({"max_tokens": 40}, 2),
    "frequency_penalty": ({"max_tokens": 40}, 2),
    "repeat_penalty": ({"max_tokens": 40}, 1.8),
    "repeat_last_n": ({"max_tokens": 40, "repeat_penalty": 1.8}, 0),
    "dry_multiplier": ({"max_tokens": 40}, 2),
    "dry_base": ({"max_tokens": 40, "dry_multiplier": 0.01, "dry_base": 1}, 50),
    "dry_allowed_length": ({"max_tokens": 40, "dry_multiplier": 2}, 20),
    "dry_penalty_last_n": ({"max_tokens": 40, "dry_multiplier": 2}, 0),
    "dry_sequence_breakers": ({"max_tokens": 40, "dry_multiplier": 2}, [" apple"]),
    "response_format": ({}, {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}),
    "json_schema": ({}, {"type": "integer"}),
    "grammar": ({}, 'root ::= "yes" | "no"'),
}


def test_every_parameter_is_tried():
    assert set(CHANGES) | {"n", "logprobs", "top_logprobs", "logit_bias", "cache_prompt"} == PARAMETERS


@pytest.fixture(scope="module")
def without(running):
    """Ask once for each set of parameters that several tests start from."""
    answers: dict[str, str] = {}

    def ask(parameters: dict[str, Any]) -> str:
        key = json.dumps(parameters)
        if key not in answers:
            answers[key] = text(chat(running[1], GREEDY, **parameters))
        return answers[key]

    return ask


@pytest.mark.parametrize("name", CHANGES)
def test_parameter_is_honoured(endpoint, without, name):
    others, value = CHANGES[name]
    if name == "max_completion_tokens":
        others = {**others, "max_tokens": None}
    assert text(chat(endpoint, GREEDY, **{**others, name: value})) != without(others)


def test_same_seed_same_answer(endpoint):
    assert text(chat(endpoint, GREEDY, **HOT)) == text(chat(endpoint, GREEDY, **HOT))


def test_forms_are_kept(endpoint):
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    assert list(json.loads(text(chat(endpoint, GREEDY, response_format=schema, max_tokens=60)))) == ["a"]
    assert text(chat(endpoint, GREEDY, grammar='root ::= "yes" | "no"')) in {"yes", "no"}
    assert chat(endpoint, GREEDY, grammar="root ::= absent")["status"] == 400


def test_choices_and_probabilities(endpoint):
    answer = chat(endpoint, "Hi", n=2, logprobs=True, top_logprobs=3, max_tokens=2, cache_prompt=False, temperature=1)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert len(answer["choices"][0]["logprobs"]["content"]) == 2
    assert len(answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 3
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert chat(endpoint, "Hi", n=3)["status"] == 400
    assert chat(endpoint, "Hi", top_logprobs=3)["status"] == 400


def test_banned_token(endpoint):
    first = chat(endpoint, GREEDY, logprobs=True)["choices"][0]["logprobs"]["content"][0]
    assert not text(chat(endpoint, GREEDY, logit_bias={str(first["id"]): -100})).startswith(first["token"])


def test_names_outside_the_set_would_be_ignored(endpoint):
    """The reason for the set: llama.cpp does not say so."""
    plain = text(chat(endpoint, GREEDY))
    for name, value in {"repetition_penalty": 1.8, "min_tokens": 50, "best_of": 3, "user": "x", "no_such": 1}.items():
        assert name not in PARAMETERS
        assert text(chat(endpoint, GREEDY, **{name: value})) == plain


def test_boxed_model_is_not_shown_tools(endpoint):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    plain, forced = chat(endpoint, "Weather?"), chat(endpoint, "Weather?", tools=[tool], tool_choice="required")
    assert text(plain) == text(forced)
    assert plain["usage"]["prompt_tokens"] == forced["usage"]["prompt_tokens"]
    assert not endpoint.tools
    assert not endpoint.parameters & TOOL_PARAMETERS
