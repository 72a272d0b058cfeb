"""Traces: a span for each request, each call of a model, and each tool that is executed. Off unless there is an endpoint to send them to.

While they are off the packages that make and send spans are not imported, and a request costs one look at ``active``.
No span holds a prompt, an answer, a tool's arguments or result, a key, or a path that a client wrote.
"""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from rini.settings import SettingsError
from rini.telemetry.conventions import (
    OPERATION,
    PROVIDER,
    REQUEST_MODEL,
    REQUEST_STREAM,
    SERVER_ADDRESS,
    SERVER_PORT,
    TOOL_CALL_ID,
    TOOL_NAME,
)

if TYPE_CHECKING:
    from rini.telemetry.otlp import Spans, WorkSpan

_PROVIDERS: Mapping[str, str] = {"google": "gcp.gemini"}
_TRACES_PATH = "/v1/traces"

active: "Spans | None" = None
"""What makes this process's spans; None while traces are off."""


class Tracing:
    """Has the spans of this process sent to ``endpoint``, while it is entered.

    Raises SettingsError when the endpoint is no address, or when what sends traces is not installed.
    """

    def __init__(self, endpoint: str) -> None:
        if not _is_address(endpoint):
            raise SettingsError("RINI_OTLP_ENDPOINT: must be an address such as http://127.0.0.1:4318.")
        self._url = endpoint.rstrip("/").removesuffix(_TRACES_PATH) + _TRACES_PATH
        try:
            # Here alone: it needs what only the extra `traces` installs, and what a server without traces is not to load.
            from rini.telemetry.otlp import Spans  # noqa: PLC0415
        except ImportError as error:
            raise SettingsError(
                "RINI_OTLP_ENDPOINT is set, but what sends traces is not installed: install Rini with its extra `traces`,"
                f" as in `pip install 'rini[traces]'`, or unset the endpoint ({error})."
            ) from None
        self._spans = Spans

    async def __aenter__(self) -> Self:
        """Begin. It starts a thread, so it belongs into the process that answers."""
        global active  # noqa: PLW0603  # one for the process, as its log is
        active = self._spans(self._url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is left, for a few seconds at most."""
        global active
        spans, active = active, None
        if spans is not None:
            await asyncio.to_thread(spans.close)


def _is_address(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def model_call(operation: str, provider: str, model: str, base_url: str, *, stream: bool = False) -> "WorkSpan | None":
    """Begin the span of a call of a model; ``operation`` is ``chat`` or ``embeddings``. None while traces are off.

    ``base_url`` is empty where the model runs in this process.
    """
    if active is None:
        return None
    server = urlsplit(base_url)
    port = server.port or (443 if server.scheme == "https" else 80)
    return active.work(
        f"{operation} {model}",
        {
            OPERATION: operation,
            PROVIDER: _PROVIDERS.get(provider, provider),
            REQUEST_MODEL: model,
            REQUEST_STREAM: stream or None,
            SERVER_ADDRESS: server.hostname,
            SERVER_PORT: port if server.hostname else None,
        },
        remote=True,
    )


def tool_call(name: str, call_id: str | None = None) -> "WorkSpan | None":
    """Begin the span of a tool that is executed. None while traces are off."""
    if active is None:
        return None
    return active.work(
        f"execute_tool {name}",
        {OPERATION: "execute_tool", TOOL_NAME: name, TOOL_CALL_ID: call_id},
        remote=False,
    )
