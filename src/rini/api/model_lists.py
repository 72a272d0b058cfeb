"""/v1/models and /v1beta/models: the models that the user can reach, in the form of the SDK that asks.

What stands beside OpenAI's own fields is told in ``rini.wire.model_lists.openai``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

from rini.accounts.access import Access
from rini.api.credentials import current_caller
from rini.api.lean import header, send_json
from rini.api.routes import Render, Route
from rini.canon import ModelInfo
from rini.errors import InvalidRequestError, RiniError
from rini.models.listing import Listing
from rini.wire.model_lists import (
    ANTHROPIC_MODELS,
    GEMINI_MODELS,
    OPENAI_MODELS,
    AnthropicModels,
    GeminiModels,
    OpenAIModels,
)
from rini.wire.model_lists.page import Excerpt, excerpt

LARGEST_PAGE = 1000
ANTHROPIC_PAGE = 20
GEMINI_PAGE = 50
"""What the providers themselves return where the client does not say how many."""

_LIFECYCLES = frozenset(("active", "deprecated", "retired"))
_LISTED_UNASKED = frozenset(("active", "deprecated"))

_Query = Mapping[str, Sequence[str]]
_Asker = Literal["openai", "anthropic", "google"]

_CODECS: Mapping[_Asker, OpenAIModels | AnthropicModels | GeminiModels] = {
    "openai": OPENAI_MODELS,
    "anthropic": ANTHROPIC_MODELS,
    "google": GEMINI_MODELS,
}


def model_routes(
    listing: Listing,
    access: Access,
    openai: Render,
    anthropic: Render,
    gemini: Render,
    gemini_versions: Iterable[str] = ("v1beta",),
) -> list[Route]:
    """Return the routes of the lists. ``openai``, ``anthropic`` and ``gemini`` render errors for those dialects' SDKs.

    ``gemini_versions`` are what Google's SDK puts before the path; v1, which OpenAI's has too, need not be among them.
    """
    renders: Mapping[_Asker, Render] = {"openai": openai, "anthropic": anthropic, "google": gemini}

    def render(scope: Scope, error: RiniError) -> ASGIApp:
        return renders[_asker(scope)](scope, error)

    lists = ModelLists(listing, access)
    routes = [
        Route("/v1/models/", lists.list_models, "GET", render),
        Route("/v1/models/{model}", lists.read_model, "GET", render),
    ]
    for version in gemini_versions:
        if version != "v1":
            routes.append(Route(f"/{version}/models/", lists.list_gemini_models, "GET", gemini))
            routes.append(Route(f"/{version}/models/{{model}}", lists.read_gemini_model, "GET", gemini))
    return routes


class ModelLists:
    """The endpoints, each a plain ASGI application. A model's name in the path may hold slashes."""

    def __init__(self, listing: Listing, access: Access) -> None:
        self._listing = listing
        self._access = access

    async def list_models(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer GET /v1/models: all models as OpenAI does, or in pages for Anthropic's SDK, and for Google's at its version v1."""
        models = await self._models(scope)
        match _asker(scope):
            case "anthropic":
                body = _anthropic_page(models, _query(scope))
            case "google":
                body = _gemini_page(models, _query(scope))
            case _:
                body = OPENAI_MODELS.encode_list(models)
        await send_json(send, 200, body)

    async def read_model(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer GET /v1/models/{model}."""
        model = await self._model(scope)
        await send_json(send, 200, _CODECS[_asker(scope)].encode_model(model))

    async def list_gemini_models(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer GET /v1beta/models."""
        await send_json(send, 200, _gemini_page(await self._models(scope), _query(scope)))

    async def read_gemini_model(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer GET /v1beta/models/{model}."""
        await send_json(send, 200, GEMINI_MODELS.encode_model(await self._model(scope)))

    async def _models(self, scope: Scope) -> tuple[ModelInfo, ...]:
        caller = await current_caller(scope, self._access)
        return await self._listing.of(caller.user_id, caller.may_call)

    async def _model(self, scope: Scope) -> ModelInfo:
        caller = await current_caller(scope, self._access)
        name: str = scope["path_params"]["model"]
        return await self._listing.one(caller.user_id, name.removesuffix("/"), caller.may_call)


def _asker(scope: Scope) -> _Asker:
    """Return whose SDK asks: all three have this path."""
    if header(scope, b"anthropic-version") is not None:
        return "anthropic"
    return "google" if header(scope, b"x-goog-api-key") is not None else "openai"


def _anthropic_page(models: Sequence[ModelInfo], query: _Query) -> bytes:
    limit = _number(query, "limit", ANTHROPIC_PAGE, most=LARGEST_PAGE)
    after, before = _text(query, "after_id"), _text(query, "before_id")
    if after is not None and before is not None:
        raise InvalidRequestError("after_id, before_id: send one of them, or neither.")
    wanted = frozenset(query.get("lifecycle[]", query.get("lifecycle", ()))) or _LISTED_UNASKED
    if not wanted <= _LIFECYCLES:
        raise InvalidRequestError(f"lifecycle: must be one or more of {', '.join(sorted(_LIFECYCLES))}.")
    found = [model for model in models if ANTHROPIC_MODELS.lifecycle(model) in wanted]
    page = excerpt(found, limit, after=after, before=before)
    if page is None:
        name = "after_id" if after is not None else "before_id"
        raise InvalidRequestError(f"{name}: there is no such model in your list; take an id of an earlier page.")
    return ANTHROPIC_MODELS.encode_list(page, backwards=before is not None)


def _gemini_page(models: Sequence[ModelInfo], query: _Query) -> bytes:
    # As Google has it, a larger number counts as the largest one.
    limit = min(_number(query, "pageSize", GEMINI_PAGE), LARGEST_PAGE) or GEMINI_PAGE
    page: Excerpt | None = excerpt(models, limit, after=_text(query, "pageToken"))
    if page is None:
        raise InvalidRequestError("pageToken: is none of an earlier page; begin without one.")
    return GEMINI_MODELS.encode_list(page)


def _query(scope: Scope) -> _Query:
    return parse_qs(scope.get("query_string", b"").decode("latin-1"))


def _text(query: _Query, name: str) -> str | None:
    return query.get(name, (None,))[0]


def _number(query: _Query, name: str, default: int, *, most: int | None = None) -> int:
    given = _text(query, name)
    if given is None:
        return default
    least = 0 if most is None else 1
    number = int(given) if given.isascii() and given.isdigit() and len(given) <= 9 else -1
    if number < least or (most is not None and number > most):
        wanted = f"a number from {least} to {most}" if most is not None else "a number, not below 0"
        raise InvalidRequestError(f"{name}: must be {wanted}.")
    return number
