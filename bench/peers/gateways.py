"""Every gateway as it is started and asked. Each ends with its ``with`` block."""

import json
import re
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import load, processes, script
from bench.peers import install
from bench.processes import Process
from bench.stateless import body

HERE = Path(__file__).resolve().parent
START_SECONDS = 120.0


@dataclass(frozen=True)
class Way:
    """How one asks a gateway for a model of one provider."""

    model: str
    headers: dict[str, str] = field(default_factory=dict)
    end: load.End = load.openai_end


@dataclass
class Gateway:
    """One that runs. ``ways`` lacks the providers that it cannot be pointed at."""

    name: str
    label: str
    process: Process
    ways: dict[str, Way]
    path: str = "/v1/chat/completions"
    token: str = "bench"

    def request(self, provider: str, mark: str, *, stream: bool = False) -> bytes:
        """Return a request of OpenAI's chat format, the same for all but for the model's name."""
        way = self.ways[provider]
        asked = body(provider, mark, stream=stream) | {"model": way.model}
        del asked["provider"]
        return load.post(self.path, asked, self.token, way.headers)


@contextmanager
def direct(upstream: Process, _core: int) -> Iterator[Gateway]:
    """Yield the provider itself, with nothing before it."""
    yield Gateway("direct", "the upstream itself", upstream, {"openai": Way(script.MODELS["openai"])})


@contextmanager
def rini(upstream: Process, core: int, workers: int = 1) -> Iterator[Gateway]:
    """Start Rini as a user would: authentication, encrypted keys, ledger, metrics, limits and log."""
    with processes.rini(upstream, core, workers=workers) as server:
        ways = {provider: Way(f"{provider}/{model}") for provider, model in script.MODELS.items()}
        yield Gateway(
            "rini",
            "authentication, encrypted keys, ledger, metrics, limits and log on",
            server,
            ways,
            token=server.token,
        )


@contextmanager
def smg(upstream: Process, core: int) -> Iterator[Gateway]:
    """Start smg as a router to an OpenAI-format provider, the one translation that it does not need."""
    home = install.install("smg")
    port, metrics = processes.free_port(), processes.free_port()
    command = [str(home / "venv/bin/smg"), "launch", "--backend", "openai", "--worker-urls", upstream.url]
    command += ["--host", "127.0.0.1", "--port", str(port), "--history-backend", "none", "--log-level", "warn"]
    command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics)]
    command += ["--disable-load-monitoring", "--disable-health-check", "--shutdown-grace-period-secs", "1"]
    with _started("smg", command, core, port, {"OPENAI_API_KEY": "bench"}) as process:
        label = "1.13.0, a router without keys and ledger: a floor for what is fast"
        yield Gateway("smg", label, process, {"openai": Way(script.MODELS["openai"])})


@contextmanager
def tensorzero(upstream: Process, core: int) -> Iterator[Gateway]:
    """Start the gateway in TensorZero's wheel. Its Gemini models have no address that could be set."""
    home = install.install("tensorzero")
    types = {"openai": f"{upstream.url}/v1/", "anthropic": f"{upstream.url}/v1/"}
    config = ["[gateway]", "observability.enabled = false"]
    for kind, address in types.items():
        model = json.dumps(script.MODELS[kind])
        config += [f"[models.{model}]", f'routing = ["{kind}"]', f"[models.{model}.providers.{kind}]"]
        config += [f'type = "{kind}"', f"model_name = {model}", f'api_base = "{address}"']
    with tempfile.TemporaryDirectory(prefix="rini-bench-") as folder:
        file = Path(folder) / "tensorzero.toml"
        file.write_text("\n".join(config))
        log = Path(folder) / "log"
        command = [str(home / "venv/bin/python"), str(HERE / "tensorzero_gateway.py"), str(file)]
        keys = {"OPENAI_API_KEY": "bench", "ANTHROPIC_API_KEY": "bench"}
        with processes.running(command, core, log, keys, folder) as handle:
            process = Process(handle, _told_port(handle, log))
            ways = {kind: Way(f"tensorzero::model_name::{script.MODELS[kind]}") for kind in types}
            label = "2026.6.0, without keys and ledger; started by a private function of its wheel"
            yield Gateway("tensorzero", label, process, ways, "/openai/v1/chat/completions")


@contextmanager
def portkey(upstream: Process, core: int) -> Iterator[Gateway]:
    """Start Portkey, which is told address and key by each request."""
    home = install.install("portkey")
    port = processes.free_port()
    script_file = home / "node_modules/@portkey-ai/gateway/build/start-server.js"
    command = ["node", "--require", str(HERE / "loopback.cjs"), str(script_file), f"--port={port}", "--headless"]
    settings = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    bases = {"openai": "/v1", "anthropic": "/v1", "google": "/v1beta"}
    ways = {
        provider: Way(
            script.MODELS[provider],
            {"x-portkey-provider": provider, "x-portkey-custom-host": upstream.url + base},
            # It leaves [DONE] out of what it makes of a Gemini stream.
            load.openai_reason if provider == "google" else load.openai_end,
        )
        for provider, base in bases.items()
    }
    with _started("portkey", command, core, port, settings) as process:
        yield Gateway("portkey", "1.15.2, without keys and ledger", process, ways)


@contextmanager
def litellm(upstream: Process, core: int) -> Iterator[Gateway]:
    """Start LiteLLM's proxy with one worker, its master key, and without a database."""
    home = install.install("litellm")
    port = processes.free_port()
    bases = {"openai": "/v1", "anthropic": "", "google": "/v1beta"}
    kinds = {"openai": "openai", "anthropic": "anthropic", "google": "gemini"}
    models = [
        {
            "model_name": script.MODELS[provider],
            "litellm_params": {
                "model": f"{kinds[provider]}/{script.MODELS[provider]}",
                "api_base": upstream.url + base,
                "api_key": "bench",
            },
        }
        for provider, base in bases.items()
    ]
    config = {
        "model_list": models,
        "litellm_settings": {"callbacks": [], "num_retries": 0},
        "general_settings": {"disable_spend_logs": True},
    }
    key = f"sk-{secrets.token_hex(24)}"
    settings = {
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
    }
    with tempfile.TemporaryDirectory(prefix="rini-bench-") as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(json.dumps(config))  # JSON is YAML
        command = [str(home / "venv/bin/litellm"), "--config", str(file)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        with _started("litellm", command, core, port, settings) as process:
            ways = {provider: Way(model) for provider, model in script.MODELS.items()}
            yield Gateway("litellm", "1.108.7, with a master key, without a database", process, ways, token=key)


@contextmanager
def ogx(upstream: Process, core: int) -> Iterator[Process]:
    """Start OGX with what its Responses API needs and no more: its own stores in SQLite, one provider, hardly a log."""
    home = install.install("ogx")
    port = processes.free_port()
    with tempfile.TemporaryDirectory(prefix="rini-bench-ogx-") as folder:
        log = Path(folder) / "log"
        config = Path(folder) / "config.yaml"
        config.write_text(json.dumps(_ogx_config(folder, f"{upstream.url}/v1", port)))  # JSON is YAML
        command = [str(home / "venv/bin/ogx"), "run", str(config), "--insecure", "--port", str(port)]
        with processes.running(command, core, log, {"HOME": folder, "OGX_LOGGING": "all=error"}, folder) as handle:
            processes.await_port(handle, port, log, START_SECONDS)
            yield Process(handle, port)


def _ogx_config(folder: str, upstream: str, port: int) -> dict[str, object]:
    sql, queue = "sql_default", {"max_write_queue_size": 10000, "num_writers": 4}
    tables = {"conversations": "openai_conversations", "prompts": "prompts", "connectors": "connectors"}
    stores = {name: {"table_name": table, "backend": sql} for name, table in tables.items()}
    stores["metadata"] = {"namespace": "registry", "backend": "kv_default"}
    responses = {"table_name": "responses", "backend": sql, **queue}
    files = {"storage_dir": f"{folder}/files", "metadata_store": {"table_name": "files_metadata", "backend": sql}}
    openai = {"api_key": "bench", "base_url": upstream}
    model = script.MODELS["openai"]
    return {
        "version": 2,
        "distro_name": "bench",
        "apis": ["inference", "responses", "tool_runtime", "vector_io", "files", "file_processors"],
        "providers": {
            "inference": [{"provider_id": "openai", "provider_type": "remote::openai", "config": openai}],
            "files": [{"provider_id": "files", "provider_type": "inline::localfs", "config": files}],
            "responses": [
                {
                    "provider_id": "builtin",
                    "provider_type": "inline::builtin",
                    "config": {"persistence": {"responses": responses}},
                }
            ],
            "vector_io": [],
            "file_processors": [],
            "tool_runtime": [],
        },
        "storage": {
            "backends": {
                "kv_default": {"type": "kv_sqlite", "db_path": f"{folder}/kv.db"},
                sql: {"type": "sql_sqlite", "db_path": f"{folder}/sql.db"},
            },
            "stores": stores | {"inference": {"table_name": "inference_store", "backend": sql, **queue}},
        },
        "registered_resources": {
            "models": [
                {"model_id": model, "provider_id": "openai", "provider_model_id": model, "model_type": "llm"},
            ],
            "vector_stores": [],
        },
        "server": {"host": "127.0.0.1", "port": port},
        "connectors": [],
    }


PEERS: dict[str, Callable[[Process, int], AbstractContextManager[Gateway]]] = {
    "smg": smg,
    "tensorzero": tensorzero,
    "portkey": portkey,
    "litellm": litellm,
}


@contextmanager
def _started(name: str, command: list[str], core: int, port: int, settings: dict[str, str]) -> Iterator[Process]:
    with tempfile.TemporaryDirectory(prefix=f"rini-bench-{name}-") as folder:
        log = Path(folder) / "log"
        with processes.running(command, core, log, settings, folder) as handle:
            processes.await_port(handle, port, log, START_SECONDS)
            yield Process(handle, port)


def _told_port(handle: subprocess.Popen[bytes], log: Path) -> int:
    """Return the port that a process says it listens on. Raises RuntimeError with the end of its log."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and handle.poll() is None:
        if found := re.search(r"^http://127\.0\.0\.1:(\d+)/", log.read_text(errors="replace"), re.MULTILINE):
            return int(found[1])
        time.sleep(0.05)
    raise RuntimeError(f"a process did not start:\n{log.read_text(errors='replace')[-2000:]}")
