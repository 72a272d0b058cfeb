"""The child process: llama.cpp's HTTP server on a loopback port, for as long as its parent lives.

Run as a file, so that it imports nothing of rini. It inherits a locked file (see supervisor.py) and a pipe on standard input that nobody
writes to: the pipe ends when the parent does, even by SIGKILL.
"""

import argparse
import http.client
import importlib
import json
import os
import secrets
import select
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The wheel carries no types.
xllamacpp: Any = importlib.import_module("xllamacpp")

_NICENESS = 5
_LOG_BYTES = 256 * 1024
_LOG_ERRORS_ONLY = 1
_PROMPT_CACHE_MIB = 256
_WATCH_SECONDS = 1.0


_DEFAULT_MAX_TOKENS = 1024
"""Where a request names no limit: so small a model does not always find an end, and would fill its context for minutes."""


def _parameters(arguments: argparse.Namespace, api_key: str) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(arguments.model)
    params.model_alias = {arguments.model_id}
    if arguments.chat_template is not None:
        params.chat_template = arguments.chat_template.read_text(encoding="utf-8")
    # Every slot has the whole context, so a long conversation cannot break another one.
    params.n_ctx = arguments.context_tokens * arguments.parallel
    params.n_parallel = arguments.parallel
    params.n_predict = _DEFAULT_MAX_TOKENS
    params.kv_unified = False
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    params.cpuparams.n_threads = arguments.threads
    params.cpuparams_batch.n_threads = arguments.threads
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [api_key]
    params.ui = False
    params.endpoint_slots = False  # it shows other people's prompts
    # OpenAI's format knows no prefill; llama.cpp's would also repeat the prefix in the answer.
    params.prefill_assistant = False
    params.verbosity = _LOG_ERRORS_ONLY
    return params


def _calls_tools(address: str, api_key: str) -> bool:
    """Ask the server whether the model's chat template shows tools to the model."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", "/props", headers={"Authorization": f"Bearer {api_key}"})
        props = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return bool(props["chat_template_caps"]["supports_tools"])


def _publish(path: Path, content: Mapping[str, object]) -> None:
    """Write ``content`` for this user alone, so that a reader sees all of it or nothing."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as stream:
        json.dump(content, stream)
    temporary.replace(path)


def _orphaned(parent: int, wait: float) -> bool:
    """Return whether the parent is gone; waits for it up to ``wait`` seconds."""
    ready, _, _ = select.select([0], [], [], wait)
    # Somebody that the parent forked may hold the pipe open, hence the second question.
    return (bool(ready) and not os.read(0, 4096)) or os.getppid() != parent


def main() -> None:
    """Load the model, publish where it serves, and end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then stops this process
    os.nice(_NICENESS)
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--model-id", required=True)
    parser.add_argument("--chat-template", type=Path)
    parser.add_argument("--context-tokens", type=int, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--publish", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    api_key = secrets.token_urlsafe(32)
    try:
        server = xllamacpp.Server(_parameters(arguments, api_key))  # it serves until the process ends
    except RuntimeError as error:
        sys.exit(str(error))
    address: str = server.listening_address.removeprefix("http://")
    tools = _calls_tools(address, api_key)
    # Loading holds the interpreter for seconds, in which the parent may have died.
    if not _orphaned(arguments.parent, 0):
        content = {"pid": os.getpid(), "base_url": f"http://{address}/v1", "api_key": api_key}
        _publish(arguments.publish, content | {"model_id": arguments.model_id, "tools": tools})
        while not _orphaned(arguments.parent, _WATCH_SECONDS):
            if os.fstat(2).st_size > _LOG_BYTES:
                os.truncate(2, 0)
    # Nothing is worth waiting for: no destructor, and no answer that nobody reads.
    os._exit(0)


if __name__ == "__main__":
    main()
