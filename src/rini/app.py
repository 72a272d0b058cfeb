"""The one place that wires the parts together.

``uvicorn rini.app:app`` and ``rini serve`` both come here. Nothing below knows of anything above it, so everything that is shared is made
here and handed down.
"""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from rini import __version__
from rini.accounts import endpoints as account_endpoints
from rini.accounts.access import Access
from rini.accounts.key_cache import KeyCache
from rini.accounts.secrets import load_secrets
from rini.accounts.tokens import TokenIssuer
from rini.api import embeddings, native, native_asks, native_shown, problems, service
from rini.api.gate import Gate
from rini.api.lean import LeanRoutes
from rini.api.openapi import describe, operation_id
from rini.db import Database
from rini.db.migrate import migrate
from rini.errors import RiniError
from rini.files.store import Files
from rini.inference.embed import Embeddings
from rini.inference.target import Router
from rini.kit.draining import process
from rini.kit.http import Timeouts, Transport
from rini.memory import endpoints as memory_endpoints
from rini.providers.local import LocalEmbedder, LocalModel
from rini.sessions import endpoints as session_endpoints
from rini.settings import Settings, load_settings
from rini.telemetry import logs, metrics, slow_calls
from rini.telemetry.middleware import RequestContext
from rini.telemetry.traces import Tracing
from rini.tools import endpoints as tool_endpoints
from rini.tools.servers_file import load_servers
from rini.tools.toolbox import Toolbox
from rini.turns.images import Images
from rini.turns.journal import Journal
from rini.turns.recovery import recover
from rini.turns.turn import Turns
from rini.usage import endpoints as usage_endpoints
from rini.usage.ledger import Ledger
from rini.usage.price_file import NO_OVERRIDES, load_overrides
from rini.usage.prices import Prices

DESCRIPTION = "One server in front of every LLM that keeps the conversation."


def create_app(settings: Settings) -> RequestContext:
    """Return the application.

    Raises SettingsError for missing or malformed secrets. Starting it (its lifespan) migrates the database and raises
    MigrationError where that is not possible, so that the server does not start.
    """
    logs.configure_logs(settings.log_format, settings.log_level)
    slow_calls.log_calls_longer_than(settings.slow_call_seconds)
    tracing = Tracing(settings.otlp_endpoint) if settings.otlp_endpoint else None
    settings.prepare_data_dir()
    secrets = load_secrets(settings)
    issuer = TokenIssuer(secrets.jwt_key, settings.jwt_algorithm, settings.jwt_access_token_expire_minutes)
    database = Database(settings.database, metrics.observe_db_unit)
    access = Access(issuer, database)
    key_cache = KeyCache(secrets.keyring, database)
    local_model = None
    if settings.local_model != "off":
        local_model = LocalModel(settings.run_dir, settings.local_model_path)
    addresses = {
        "openai": settings.openai_base_url,
        "anthropic": settings.anthropic_base_url,
        "google": settings.google_base_url,
    }
    transport = Transport(
        timeouts=Timeouts(settings.connect_timeout, settings.first_byte_timeout, settings.between_bytes_timeout),
        allowed_private_hosts=settings.allowed_private_hosts,
    )
    prices = Prices(load_overrides(settings.prices_file) if settings.prices_file else NO_OVERRIDES)
    ledger = Ledger(database)
    journal = Journal(settings.run_dir)
    files = Files(database, settings.data_dir / "files", settings.files_url)
    tool_servers = load_servers(settings.mcp_servers_file) if settings.mcp_servers_file else ()
    toolbox = Toolbox(database, secrets.keyring, transport, tool_servers)
    router = Router(key_cache, addresses, local_model, settings.provider_retries)
    embedder = None if settings.local_model == "off" else LocalEmbedder()
    embedding = Embeddings(router, transport, ledger, prices, embedder)
    turns = Turns(
        database,
        router,
        transport,
        ledger,
        prices,
        journal,
        Images(files),
        toolbox,
        settings.memory_tokens,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            if tracing is not None:
                await stack.enter_async_context(tracing)
            stack.callback(database.close)
            stack.callback(journal.close)
            stack.callback(files.close)
            await asyncio.to_thread(migrate, settings.database)
            await asyncio.to_thread(recover, database, prices, settings.run_dir)
            await stack.enter_async_context(transport)
            stack.push_async_callback(toolbox.close)
            if local_model is not None:
                stack.push_async_callback(local_model.close)
                if settings.local_model == "preload":
                    local_model.preload()
            loading = asyncio.create_task(asyncio.to_thread(prices.load))
            if embedder is not None:
                stack.callback(embedder.close)
            stack.push_async_callback(ledger.close)
            stack.push_async_callback(embedding.close)
            stack.push_async_callback(turns.close)
            process.install(settings.shutdown_grace_seconds)
            sweeping = asyncio.create_task(files.keep_swept())
            stack.callback(sweeping.cancel)
            loading.add_done_callback(lambda _task: _spare_the_collector())
            yield
            await loading

    # FastAPI itself, with the pages' scripts from this server: /docs works without a network.
    api = FastAPIOffline(
        title="Rini",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry={"tracing": False},
        generate_unique_id_function=operation_id,
        exception_handlers={
            RiniError: problems.on_rini_error,
            RequestValidationError: problems.on_validation_error,
            HTTPException: problems.on_http_error,
            Exception: problems.on_unexpected_error,
        },
    )
    api.state.settings = settings
    api.state.database = database
    api.state.issuer = issuer
    api.state.access = access
    api.state.key_cache = key_cache
    api.state.ledger = ledger
    api.state.toolbox = toolbox
    api.state.files = files
    # Accounts stand below files, and know nothing of them.
    api.state.on_user_deleted = files.delete_user_sync
    api.include_router(account_endpoints.router)
    api.include_router(session_endpoints.router)
    api.include_router(memory_endpoints.router)
    api.include_router(usage_endpoints.router)
    api.include_router(tool_endpoints.router)
    api.include_router(service.router)
    api.router.default = _OtherSlash(api.router, api.router.default)
    describe(api)
    models = {
        "/llm/text-completion/": native.NativeEndpoint(
            turns, access, native_asks.text_completion, native_shown.text_completion
        ),
        "/llm/chat-completions/": native.NativeEndpoint(
            turns, access, native_asks.chat_completion, native_shown.chat_completion
        ),
        "/llm/image-completion/": native.NativeEndpoint(
            turns, access, native_asks.image_completion, native_shown.text_completion
        ),
        embeddings.PATH: embeddings.EmbeddingsEndpoint(embedding, access),
    }
    return RequestContext(Gate(LeanRoutes(models, api), settings.max_body_bytes, process, access))


def _spare_the_collector() -> None:
    """Take what was made at start out of the garbage collector's sight, and call it less often.

    It would walk the whole of the imported libraries again and again: a seventh of the CPU time of a call (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


class _OtherSlash:
    """Where no route fits, tries the path with its trailing slash taken off or put on: a redirect would lose a POST's body."""

    def __init__(self, router: ASGIApp, not_found: ASGIApp) -> None:
        self._router = router
        self._not_found = not_found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "/")
        if scope["type"] != "http" or path == "/" or "rini.other_slash" in scope:
            scope["path"] = scope.get("rini.other_slash", path)
            await self._not_found(scope, receive, send)
            return
        scope["rini.other_slash"] = path
        scope["path"] = path.rstrip("/") if path.endswith("/") else path + "/"
        await self._router(scope, receive, send)


def __getattr__(name: str) -> Any:
    # `uvicorn rini.app:app` asks for it; importing this module for create_app must not read settings or open files.
    if name == "app":
        return create_app(load_settings())
    raise AttributeError(name)
