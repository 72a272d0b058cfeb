"""Everything of a process that requests share, made once from the settings and handed down."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from rini.accounts.access import Access
from rini.accounts.key_cache import KeyCache
from rini.accounts.secrets import load_secrets
from rini.accounts.tokens import TokenIssuer
from rini.api.idempotency.sweep import keep_swept as keep_keys_swept
from rini.canon import ModelInfo
from rini.db import Database
from rini.db.migrate import migrate
from rini.files.store import Files
from rini.inference.count import Counting
from rini.inference.embed import Embeddings
from rini.inference.target import Router
from rini.inference.window import Windows
from rini.kit.draining import process
from rini.kit.http import Timeouts, Transport
from rini.models.details import boxed_models
from rini.models.listing import Listing
from rini.models.naming import ModelNames
from rini.providers.local import EMBEDDING_MODEL_ID, LocalEmbedder, LocalModel
from rini.settings import Settings
from rini.telemetry import logs, metrics, slow_calls
from rini.telemetry.traces import Tracing
from rini.tools.servers_file import load_servers
from rini.tools.toolbox import Toolbox
from rini.transfer.imports import Imports
from rini.turns.following import Streams
from rini.turns.images import Images
from rini.turns.journal import Journal
from rini.turns.lasting import keep_watch
from rini.turns.recovery import recover
from rini.turns.register import Register
from rini.turns.turn import Turns
from rini.turns.workers import Worker
from rini.usage.ledger import Ledger
from rini.usage.price_file import NO_OVERRIDES, load_overrides
from rini.usage.prices import Prices


class Parts:
    """The parts of one process. Making them raises SettingsError for what the settings have wrong; nothing runs before ``running``."""

    def __init__(self, settings: Settings) -> None:
        logs.configure_logs(settings.log_format, settings.log_level)
        slow_calls.log_calls_longer_than(settings.slow_call_seconds)
        self.settings = settings
        self._tracing = Tracing(settings.otlp_endpoint) if settings.otlp_endpoint else None
        settings.prepare_data_dir()
        secrets = load_secrets(settings)
        self.keyring = secrets.keyring
        self.issuer = TokenIssuer(secrets.jwt_key, settings.jwt_algorithm, settings.jwt_access_token_expire_minutes)
        self.database = Database(settings.database, metrics.observe_db_unit)
        self.access = Access(self.issuer, self.database)
        self.key_cache = KeyCache(secrets.keyring, self.database)
        self._local_model, self._embedder = _models_in_the_box(settings)
        self.model_names = ModelNames(self.database, _names_in_the_box(self._local_model))
        self._transport = Transport(
            timeouts=Timeouts(settings.connect_timeout, settings.first_byte_timeout, settings.between_bytes_timeout),
            allowed_private_hosts=settings.allowed_private_hosts,
        )
        self._prices = Prices(load_overrides(settings.prices_file) if settings.prices_file else NO_OVERRIDES)
        self.windows = Windows(settings.context_windows)
        self.ledger = Ledger(self.database)
        self._journal = Journal(settings.run_dir)
        self.files = Files(self.database, settings.data_dir / "files", settings.files_url)
        self.imports = Imports(
            self.database,
            self.files,
            settings.data_dir / "imports",
            settings.max_import_bytes,
            settings.max_body_bytes,
        )
        servers = load_servers(settings.mcp_servers_file) if settings.mcp_servers_file else ()
        self.toolbox = Toolbox(self.database, secrets.keyring, self._transport, servers)
        router = Router(self.key_cache, _addresses(settings), self._local_model, settings.provider_retries)
        self.listing = Listing(
            router,
            self._transport,
            self.model_names,
            self._prices,
            self.windows,
            _listed_in_the_box(self._local_model, self._embedder),
        )
        self.counting = Counting(router, self._transport)
        self.embeddings = Embeddings(router, self._transport, self.ledger, self._prices, self._embedder)
        self.worker = Worker(self.database)
        self.streams = Streams(self.database, self.worker.id)
        self._register = Register(self.database, self.worker.id)
        self.turns = Turns(
            self.database,
            router,
            self._transport,
            self.ledger,
            self._prices,
            self.windows,
            self._journal,
            Images(self.files),
            self.toolbox,
            self._register,
            self.streams,
            memory_tokens=settings.memory_tokens,
            queue_seconds=settings.queue_seconds,
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Start the parts in their order and stop them in the reverse one.

        Migrates the database first and raises MigrationError where that is not possible, so that the server does not start.
        """
        settings = self.settings
        async with AsyncExitStack() as stack:
            if self._tracing is not None:
                await stack.enter_async_context(self._tracing)
            stack.callback(self.database.close)
            stack.callback(self._journal.close)
            stack.callback(self.files.close)
            await asyncio.to_thread(migrate, settings.database)
            await asyncio.to_thread(recover, self.database, self._prices, settings.run_dir)
            await asyncio.to_thread(self.imports.sweep)
            await stack.enter_async_context(self._transport)
            stack.push_async_callback(self.toolbox.close)
            stack.callback(self.listing.close)
            if self._local_model is not None:
                stack.push_async_callback(self._local_model.close)
                if settings.local_model == "preload":
                    self._local_model.preload()
            if self._embedder is not None:
                stack.callback(self._embedder.close)
            stack.push_async_callback(self.ledger.close)
            stack.push_async_callback(self.embeddings.close)
            await self.worker.appear()
            stack.push_async_callback(self.worker.disappear)
            stack.push_async_callback(self.turns.close)
            process.install(settings.shutdown_grace_seconds)
            kept_for = timedelta(hours=settings.streams_kept_hours)
            for endless in (
                self.worker.keep_seen(),
                self.streams.keep_flushed(),
                self._register.keep_looking(),
                keep_watch(self.database, self.worker.id, kept_for, self.turns.background.resume),
                self.files.keep_swept(),
                keep_keys_swept(self.database),
            ):
                stack.callback(asyncio.create_task(endless).cancel)
            loading = asyncio.create_task(asyncio.to_thread(self._prices.load))
            loading.add_done_callback(lambda _task: _spare_the_collector())
            yield
            await loading


def _models_in_the_box(settings: Settings) -> tuple[LocalModel | None, LocalEmbedder | None]:
    if settings.local_model == "off":
        return None, None
    return LocalModel(settings.run_dir, settings.local_model_path), LocalEmbedder()


def _names_in_the_box(model: LocalModel | None) -> tuple[str, ...]:
    return () if model is None else (model.model_id, EMBEDDING_MODEL_ID)


def _listed_in_the_box(model: LocalModel | None, embedder: LocalEmbedder | None) -> tuple[ModelInfo, ...]:
    return () if model is None or embedder is None else boxed_models(model, embedder)


def _addresses(settings: Settings) -> dict[str, str]:
    return {
        "openai": settings.openai_base_url,
        "anthropic": settings.anthropic_base_url,
        "google": settings.google_base_url,
    }


def _spare_the_collector() -> None:
    """Take what was made at start out of the garbage collector's sight, and call it less often.

    It would walk the whole of the imported libraries again and again: a seventh of the CPU time of a call (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
