"""Schemathesis over every endpoint of a real server: ``python -m tests.fuzz.run SECONDS`` (``make fuzz``).

The server has a user with something of everything, and a provider that answers as each of the providers does, and sometimes fails.
"""

import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rini.canon import Message, Reply, Request, Text, ToolCall
from rini.wire.codec import MalformedError
from tests.support.mcp import running_tools
from tests.support.model import MODELS, reply, scripted
from tests.support.server import ROOT, Client, Server, clean_environment
from tests.support.things import picture
from tests.support.upstream import Conversation, Script, Upstream

USUAL_SECONDS = 600
SEED = 20261101
CONFIG = ROOT / "tests" / "fuzz" / "schemathesis.toml"


class EveryKey(dict[str, Script]):
    """The scripts of a provider that takes any key."""

    def get(self, key: str, default: Any = None) -> Any:
        del key, default
        return _provider


async def _provider(conversation: Conversation) -> None:
    """Answer as the provider whose path it is; one call in eight fails, as its body decides."""
    path, body = conversation.seen.path, conversation.seen.body
    chance = zlib.crc32(body) % 64
    if chance < 6:
        await conversation.whole({"error": {"message": "no"}}, (400, 401, 402, 404, 429, 500)[chance])
    elif chance == 6:
        await conversation.whole(b"{", 200)
    elif chance == 7:
        await conversation.head()
        await conversation.chunk("data: {}\n\n")
        raise ConnectionError
    elif path.rpartition("/")[2].rpartition(":")[2] in ("count_tokens", "input_tokens", "countTokens"):
        counts = {"object": "response.input_tokens", "input_tokens": 3, "totalTokens": 3}
        await conversation.whole(counts)
    elif "mbed" in path.rpartition("/")[2].rpartition(":")[2]:
        await conversation.whole(_vectors(conversation.seen.json))
    else:
        provider = "anthropic" if "/messages" in path else "google" if "/models/" in path else "openai"
        try:
            await scripted(provider, _answer)(conversation)
        except MalformedError:  # a dialect's body that passed as it came
            await conversation.whole({"error": {"message": "no"}}, 400)


def _answer(request: Request) -> Reply:
    said = request.messages[-1] if request.messages else Message("user", ())
    asked = said.parts[-1] if said.parts else Text("")
    if request.tools and said.role == "user":
        return reply(ToolCall("call_1", request.tools[0].name, arguments='{"a": 1, "b": 2}'))
    return reply(Text(f"echo: {asked.text}" if isinstance(asked, Text) else "echo"))


def _vectors(body: Any) -> Any:
    if "content" in body:
        return {"embedding": {"values": [0.5, 0.25]}}
    if "requests" in body:
        return {"embeddings": [{"values": [0.5, 0.25]} for _ in body["requests"]]}
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": [0.5, 0.25]} for at, _ in enumerate(body["input"])],
        "model": "embedding-test",
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }


@contextlib.contextmanager
def fuzzed_server(folder: Path) -> Iterator[tuple[Server, dict[str, Any]]]:
    """Run a server with all that it talks to, and return it with what the hooks are told."""
    with Upstream(scripts=EveryKey()) as upstream, running_tools() as tools:
        allowed = f"127.0.0.1:{upstream.port},127.0.0.1:{tools.port}"
        server = Server(folder / "data", {"RINI_ALLOWED_PRIVATE_HOSTS": allowed}, upstream.url).start()
        try:
            addresses = {"server": server.url, "upstream": f"{upstream.url}/v1", "mcp": tools.url}
            _furnish(server.user(), addresses)  # what belongs to another user, with the low numbers
            user = server.user()
            ids = _furnish(user, addresses)
            yield (
                server,
                addresses
                | {"ids": ids, "models": MODELS, "picture": base64.b64encode(picture()).decode(), "token": user.token},
            )
            server.stop()
        finally:
            if server.process.poll() is None:
                server.kill()


def _furnish(user: Client, addresses: dict[str, str]) -> dict[str, Any]:
    """Give a user something of everything, and return the ids by the names that paths have for them."""

    def made(path: str, **body: Any) -> Any:
        answer = user.post(path, body)
        assert answer.status == 201, answer
        return answer.json["id"]

    session = user.session(alias="fuzzed", system_prompt="Be brief.")
    for provider in ("anthropic", "google"):
        made("/api-keys/", model_provider=provider, api_key_value="key")
    key = made("/api-keys/", model_provider="openai_compatible", api_key_value="key", base_url=addresses["upstream"])
    connection = made("/mcp-connections/", name="calculator", url=addresses["mcp"])
    fields = {"provider": "openai", "model": MODELS["openai"], "session_id": session}
    talk = user.post("/v1/conversations", {"items": [{"role": "assistant", "content": "x"}]}).json["id"]
    item = user.get(f"/v1/conversations/{talk}/items").json["last_id"]
    with_file = user.form("/llm/image-completion/", {"image_file": ("red.png", picture())}, **fields)
    assert with_file.status == 200, with_file
    return {
        "session_id": session,
        "message_id": with_file.json["user_message"]["id"],
        "entry_id": made(f"/sessions/{session}/memory", memory_type="Fact", content="The cat is red."),
        "key_id": key,
        "token_id": made("/users/me/tokens", name="laptop"),
        "connection_id": connection,
        "conversation_id": talk,
        "item_id": item,
        "response_id": f"resp_{item.split('_')[2]}",
        "record_id": user.get("/usage/records/").json[0]["id"],
    }


def fuzz(folder: Path, *arguments: str) -> tuple[int, str, Server]:
    """Run schemathesis; return its exit status, its report, and the server that it was run against (stopped by then)."""
    with fuzzed_server(folder) as (server, told):
        environment = clean_environment(SCHEMATHESIS_HOOKS="tests.fuzz.hooks", RINI_FUZZ=json.dumps(told))
        environment["PYTHONPATH"] += os.pathsep + str(ROOT)
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
                *("run", f"{server.url}/openapi.json"),
                *("--request-timeout", "30", "--no-color"),
                # Much that has the right form means what cannot be done (a message that is not there, dates reversed): 422.
                *("--exclude-checks", "positive_data_acceptance"),
                *("--generation-database", "none", "--seed", str(SEED), *arguments),
            ],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return ran.returncode, ran.stdout.decode(errors="replace"), server


if __name__ == "__main__":
    seconds = sys.argv[1] if len(sys.argv) > 1 else str(USUAL_SECONDS)
    with tempfile.TemporaryDirectory(prefix="rini-fuzz-") as folder:
        status, report, fuzzed = fuzz(Path(folder), "--max-time", seconds)
        print(report, fuzzed.logged()[-20_000:] if status else "", sep="\n")
    sys.exit(status)
