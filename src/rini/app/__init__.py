"""The one place that wires the parts together.

``uvicorn rini.app:app`` and ``rini serve`` both come here. Nothing below knows of anything above it, so everything that is shared is made
here (``parts``) and handed down.
"""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from rini import __version__
from rini.accounts import endpoints as account_endpoints
from rini.api import message_context, problems, service
from rini.api.gate import BodyLimit, Gate
from rini.api.idempotency.layer import Idempotency
from rini.api.openapi import describe, operation_id
from rini.api.routes import LeanRoutes, Route
from rini.api.slashes import OtherSlash
from rini.app.lean import lean_routes
from rini.app.parts import Parts
from rini.errors import RiniError
from rini.forks import endpoints as fork_endpoints
from rini.kit.draining import process
from rini.memory import endpoints as memory_endpoints
from rini.models import endpoints as model_endpoints
from rini.sessions import endpoints as session_endpoints
from rini.sessions import search_endpoints, tree_endpoints
from rini.settings import Settings, load_settings
from rini.telemetry.middleware import RequestContext
from rini.tools import endpoints as tool_endpoints
from rini.transfer import endpoints as transfer_endpoints
from rini.usage import endpoints as usage_endpoints

DESCRIPTION = "One server in front of every LLM that keeps the conversation."


def create_app(settings: Settings) -> RequestContext:
    """Return the application.

    Raises SettingsError for missing or malformed secrets. Starting it (its lifespan) migrates the database and raises
    MigrationError where that is not possible, so that the server does not start.
    """
    parts = Parts(settings)
    routes = lean_routes(parts)
    api = _api(parts, {route.path_format for route in routes})
    # No ids of a session or a message, as which the framework would take them for other methods.
    importing = Route(transfer_endpoints.IMPORT_PATH, api)
    searching = Route(search_endpoints.PATH, api, "GET")
    labels = Route(tree_endpoints.LABELS_PATH, api, "GET")
    limit = BodyLimit(settings.max_body_bytes, "RINI_MAX_BODY_BYTES")
    limits = {importing.path_format: BodyLimit(settings.max_import_bytes, "RINI_MAX_IMPORT_BYTES")}
    app = LeanRoutes([*routes, importing, searching, labels], api)
    once = Idempotency(app, parts.database, parts.access, parts.worker.id)
    return RequestContext(Gate(once, limit, limits, process, parts.access))


def _api(parts: Parts, lean: Collection[str]) -> FastAPI:
    """Return all other endpoints than those at the ``lean`` paths, and the pages of all of them."""

    def lifespan(_app: FastAPI) -> AbstractAsyncContextManager[None]:
        return parts.running()

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
    api.state.settings = parts.settings
    api.state.database = parts.database
    api.state.issuer = parts.issuer
    api.state.access = parts.access
    api.state.key_cache = parts.key_cache
    api.state.ledger = parts.ledger
    api.state.toolbox = parts.toolbox
    api.state.files = parts.files
    api.state.imports = parts.imports
    api.state.model_names = parts.model_names
    api.state.windows = parts.windows
    # Accounts stand below files, and know nothing of them.
    api.state.on_user_deleted = parts.files.delete_user_sync
    for endpoints in (
        account_endpoints,
        # Before the messages by id: `search` is none.
        search_endpoints,
        # Likewise `labels`.
        tree_endpoints,
        session_endpoints,
        transfer_endpoints,
        fork_endpoints,
        memory_endpoints,
        tool_endpoints,
        model_endpoints,
        usage_endpoints,
        message_context,
        service,
    ):
        api.include_router(endpoints.router)
    api.router.default = OtherSlash(api.router, api.router.default)
    describe(api, lean)
    return api


def __getattr__(name: str) -> Any:
    # `uvicorn rini.app:app` asks for it; importing this module for create_app must not read settings or open files.
    if name == "app":
        return create_app(load_settings())
    raise AttributeError(name)
