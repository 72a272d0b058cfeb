"""The endpoints that call models: the native ones and those of the dialects."""

from rini.api import embeddings, native_asks, native_shown
from rini.api.dialects.anthropic import AnthropicMessages
from rini.api.dialects.dialect import Dialect
from rini.api.dialects.endpoint import DialectEndpoint
from rini.api.dialects.errors import rendering
from rini.api.dialects.gemini import Gemini
from rini.api.dialects.openai_chat import OpenAIChat
from rini.api.dialects.openai_responses import OpenAIResponses
from rini.api.native import NativeEndpoint
from rini.api.routes import Route
from rini.app.parts import Parts

GEMINI_VERSIONS = ("v1beta", "v1", "v1alpha")
"""What Google's SDK, as its caller wishes, puts before the path."""


def lean_routes(parts: Parts) -> list[Route]:
    """Return the endpoints that stand before FastAPI."""
    return [*_native(parts), *_dialects(parts)]


def _native(parts: Parts) -> list[Route]:
    turns, access = parts.turns, parts.access
    return [
        Route(
            "/llm/text-completion/",
            NativeEndpoint(turns, access, native_asks.text_completion, native_shown.text_completion),
        ),
        Route(
            "/llm/chat-completions/",
            NativeEndpoint(turns, access, native_asks.chat_completion, native_shown.chat_completion),
        ),
        Route(
            "/llm/image-completion/",
            NativeEndpoint(turns, access, native_asks.image_completion, native_shown.text_completion),
        ),
        Route(embeddings.PATH, embeddings.EmbeddingsEndpoint(parts.embeddings, access)),
    ]


def _dialects(parts: Parts) -> list[Route]:
    whole, streamed = Gemini(stream=False), Gemini(stream=True)
    routes = [
        _route(parts, "/v1/chat/completions", OpenAIChat()),
        _route(parts, "/v1/responses", OpenAIResponses()),
        _route(parts, "/v1/messages", AnthropicMessages()),
    ]
    for version in GEMINI_VERSIONS:
        routes.append(_route(parts, f"/{version}/models/{{model}}:generateContent", whole))
        routes.append(_route(parts, f"/{version}/models/{{model}}:streamGenerateContent", streamed))
    return routes


def _route(parts: Parts, path: str, dialect: Dialect) -> Route:
    endpoint = DialectEndpoint(dialect, parts.turns, parts.access, parts.model_names)
    return Route(path, endpoint, render=rendering(dialect.codec))
