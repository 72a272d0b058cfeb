"""Starts the model in the box, shares it between the server's workers, and stops it.

Whoever starts the child takes an exclusive lock on a file and hands the open file down. The lock lives as long as the child, whatever kills
it; so a worker that gets the lock knows that no child runs, and one that does not reads where the running child serves. The child
belongs to the worker that started it and ends with it; the others start another one at their next call.
"""

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rini.providers.local.errors import LocalModelStartError, LocalModelUnavailableError
from rini.providers.local.installation import BOXED_MODEL_ID, Weights, find_weights
from rini.providers.local.parameters import PARAMETERS, TOOL_PARAMETERS
from rini.telemetry import logs

_log = logs.get_logger(__name__)

_CHILD = Path(__file__).with_name("child.py")
_MAX_THREADS = 4
_POLL_SECONDS = 0.02
_DYING_SECONDS = 0.5
_TERMINATE_SECONDS = 2.0
_MAX_BACKOFF_SECONDS = 60.0
_TAIL_BYTES = 4096
# The child parses what strangers send; it gets none of the keys in the server's environment.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
_ENVIRONMENT_PREFIXES = ("LC_", "LD_", "DYLD_", "GGML_", "OMP_", "GOMP_", "CUDA_", "HIP_", "ROCR_", "VK_")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the model serves OpenAI's wire format: ``base_url`` ends in ``/v1``, ``api_key`` goes into a bearer header.

    ``tools`` says whether the model is shown tools at all (its chat template decides); where not, it would ignore them.
    """

    base_url: str
    api_key: str = field(repr=False)
    model_id: str
    tools: bool

    @property
    def parameters(self) -> frozenset[str]:
        """The call parameters that the model honours; it ignores others without a word."""
        return PARAMETERS | TOOL_PARAMETERS if self.tools else PARAMETERS


@dataclass(frozen=True, slots=True)
class _Published:
    pid: int
    endpoint: Endpoint


CONTEXT_TOKENS = 8192
"""How many tokens a question to the model in the box and its answer may have together."""


class LocalModel:
    """The model in the box, as one worker of the server sees it. Use it from one event loop.

    ``run_dir`` is the same for all workers and nobody else's; ``model_path`` names a .gguf file to run instead of the weights in the box.
    ``context_tokens`` is what each of the ``parallel`` simultaneous answers has; ``threads`` is by default the number of CPUs without the
    one that the server itself needs, at least 1 and at most 4. ``start_timeout`` is in seconds.
    """

    def __init__(
        self,
        run_dir: Path,
        model_path: Path | None = None,
        *,
        context_tokens: int = CONTEXT_TOKENS,
        parallel: int = 2,
        threads: int | None = None,
        start_timeout: float = 60.0,
    ) -> None:
        self._run_dir = run_dir
        self._lock_path = run_dir / "local-model.lock"
        self._published_path = run_dir / "local-model.json"
        self._log_path = run_dir / "local-model.log"
        self._model_path = model_path
        self._context_tokens = context_tokens
        self._parallel = parallel
        self._threads = threads or max(1, min(_MAX_THREADS, _cpus() - 1))
        self._start_timeout = start_timeout
        self._endpoint: Endpoint | None = None
        self._refused: Endpoint | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reaper: threading.Thread | None = None
        self._starting: asyncio.Task[Endpoint] | None = None
        self._preloading: asyncio.Task[None] | None = None
        self._failures = 0
        self._failure = ""
        self._failure_tail = ""
        self._retry_at = 0.0
        self._closed = False

    @property
    def model_id(self) -> str:
        """The name under which the model answers: the file's stem, or that of the model in the box."""
        return BOXED_MODEL_ID if self._model_path is None else self._model_path.stem

    @property
    def context_tokens(self) -> int:
        """How many tokens a question and its answer may have together."""
        return self._context_tokens

    @property
    def installed(self) -> bool:
        """Whether everything that it needs is there; looked up on the file system."""
        try:
            find_weights(self._model_path)
        except LocalModelUnavailableError:
            return False
        return True

    async def ensure_started(self) -> Endpoint:
        """Return where the model serves, after starting it if need be. Simultaneous first calls start one child.

        Raises LocalModelUnavailableError when it is not installed, and LocalModelStartError when it does not start; for a
        while after that (1 s, doubled at each failure up to 60 s) the same error is raised without another try.
        """
        endpoint = self._endpoint
        if endpoint is not None:
            return endpoint
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name="start the local model")
            self._starting.add_done_callback(self._started)
        # A caller that leaves must not stop the start that others wait for.
        return await asyncio.shield(self._starting)

    def preload(self) -> None:
        """Start the model in the background. A failure is logged, and told to whoever uses it."""
        self._preloading = asyncio.create_task(self._preload(), name="preload the local model")

    async def endpoint_failed(self, endpoint: Endpoint) -> None:
        """Say that ``endpoint`` refused the connection or broke it, so that the next ``ensure_started`` looks anew."""
        if self._endpoint == endpoint:
            self._endpoint = None
        self._refused = endpoint

    async def close(self) -> None:
        """Stop the child if this worker started it, and wait until it is gone. Later calls raise LocalModelUnavailableError."""
        self._closed = True
        waiting = [task for task in (self._starting, self._preloading) if task is not None]
        if waiting:
            await asyncio.wait(waiting)
        self._endpoint = None
        await asyncio.to_thread(self._stop)

    async def _preload(self) -> None:
        try:
            await self.ensure_started()
        except LocalModelUnavailableError as error:
            _log.warning("local_model_not_preloaded", reason=str(error))

    def _started(self, task: asyncio.Task[Endpoint]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may have

    async def _start(self) -> Endpoint:
        if self._closed:
            raise LocalModelUnavailableError("The local model stopped with the server.")
        weights = find_weights(self._model_path)
        wait = self._retry_at - time.monotonic()
        if wait > 0:
            raise LocalModelStartError(self._failure, log_tail=self._failure_tail, retry_after=wait)
        began = time.monotonic()
        while not self._closed:
            try:
                process = await asyncio.to_thread(self._launch, weights)
            except OSError as error:
                raise self._failed(f"The local model cannot be started: {error.strerror}.") from error
            endpoint = await self._until_ready(process, began) if process is not None else self._of_another(began)
            if endpoint is not None:
                self._endpoint = endpoint
                self._failures = 0
                return endpoint
            if time.monotonic() - began > self._start_timeout:
                raise self._failed(f"Another process holds {self._lock_path.name} and serves no such model.")
            await asyncio.sleep(_POLL_SECONDS)
        raise LocalModelUnavailableError("The local model stopped with the server.")

    async def _until_ready(self, process: subprocess.Popen[bytes], began: float) -> Endpoint | None:
        """Return where ``process`` serves, or ``None`` when the server is stopping."""
        while not self._closed:
            published = self._published()
            if published is not None and published.pid == process.pid:
                return published.endpoint
            status = process.returncode
            if status is not None:
                how = f"signal {-status}" if status < 0 else f"status {status}"
                raise self._failed(f"The local model ended while it started ({how}); its log is {self._log_path.name}.")
            if time.monotonic() - began > self._start_timeout:
                await asyncio.to_thread(self._stop)
                raise self._failed(f"The local model was not ready after {self._start_timeout:g} seconds.")
            await asyncio.sleep(_POLL_SECONDS)
        return None

    def _of_another(self, began: float) -> Endpoint | None:
        """Return where another worker's child serves, if it does so already."""
        published = self._published()
        if published is None or published.endpoint.model_id != self.model_id:
            return None
        # A child that was killed keeps its lock for a moment longer than its port.
        if published.endpoint == self._refused and time.monotonic() - began < _DYING_SECONDS:
            return None
        return published.endpoint

    def _launch(self, weights: Weights) -> subprocess.Popen[bytes] | None:
        """Start a child, unless one runs. Raises OSError."""
        self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _locked(lock):
                return None
            self._published_path.unlink(missing_ok=True)
            log = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            try:
                process = subprocess.Popen(  # noqa: S603 (our own interpreter and file)
                    self._command(weights),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock,),  # and with it the lock; nothing else is handed down
                    start_new_session=True,
                    env=_child_environment(os.environ),
                )
            finally:
                os.close(log)
        finally:
            os.close(lock)
        self._process = process
        self._reaper = threading.Thread(target=self._reap, args=(process,), name="local model", daemon=True)
        self._reaper.start()
        return process

    def _command(self, weights: Weights) -> list[str]:
        # -P: the folder of the file must not hide modules of the same names.
        command = [sys.executable, "-P", str(_CHILD), "--model", str(weights.path), "--model-id", weights.model_id]
        if weights.chat_template is not None:
            command += ["--chat-template", str(weights.chat_template)]
        command += ["--context-tokens", str(self._context_tokens), "--parallel", str(self._parallel)]
        command += ["--threads", str(self._threads), "--parent", str(os.getpid())]
        return [*command, "--publish", str(self._published_path.absolute())]

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the child in a thread of its own, so that no zombie stays, under any event loop."""
        process.wait()
        if self._process is process:
            self._endpoint = None
        if process.stdin is not None:
            process.stdin.close()

    def _stop(self) -> None:
        process, reaper = self._process, self._reaper
        if process is None or reaper is None:
            return
        process.terminate()
        reaper.join(_TERMINATE_SECONDS)
        if reaper.is_alive():
            process.kill()
            reaper.join()
        self._process = self._reaper = None
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # Another worker may have started its own child already: then the file is that one's.
            if _locked(lock):
                self._published_path.unlink(missing_ok=True)
        finally:
            os.close(lock)

    def _published(self) -> _Published | None:
        try:
            content = json.loads(self._published_path.read_bytes())
        except FileNotFoundError:
            return None
        endpoint = Endpoint(
            base_url=content["base_url"],
            api_key=content["api_key"],
            model_id=content["model_id"],
            tools=content["tools"],
        )
        return _Published(content["pid"], endpoint)

    def _failed(self, sentence: str) -> LocalModelStartError:
        delay = min(2.0**self._failures, _MAX_BACKOFF_SECONDS)
        self._failures += 1
        self._failure = sentence
        self._failure_tail = self._tail()
        self._retry_at = time.monotonic() + delay
        _log.warning("local_model_failed", reason=sentence, said=self._failure_tail)
        return LocalModelStartError(sentence, log_tail=self._failure_tail, retry_after=delay)

    def _tail(self) -> str:
        try:
            return self._log_path.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
        except OSError:
            return ""


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _cpus() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in environment.items()
        if name in _ENVIRONMENT or name.startswith(_ENVIRONMENT_PREFIXES)
    }
    # Threads that spin while they wait for each other crawl once something else wants the CPU (see docs/local-model.md).
    return {"OMP_WAIT_POLICY": "passive"} | kept
