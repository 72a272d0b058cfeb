"""The endpoints that call models: the native ones and those of the dialects."""

from rini.api import embeddings, native_asks, native_shown
from rini.api.dialects import conversations, stored_responses
from rini.api.dialects.anthropic import AnthropicMessages
from rini.api.dialects.count_tokens import (
    AnthropicTokenCount,
    CountDialect,
    CountEndpoint,
    GeminiTokenCount,
    OpenAITokenCount,
)
from rini.api.dialects.dialect import Dialect
from rini.api.dialects.embeddings import EmbeddingDialect, EmbeddingEndpoint, GeminiEmbedding, OpenAIEmbedding
from rini.api.dialects.endpoint import DialectEndpoint
from rini.api.dialects.errors import rendering
from rini.api.dialects.gemini import Gemini
from rini.api.dialects.openai_chat import OpenAIChat
from rini.api.dialects.openai_compact import COMPACT, CompactEndpoint
from rini.api.dialects.openai_follow import ResponseFollower
from rini.api.dialects.openai_input import Input
from rini.api.dialects.openai_responses import OpenAIResponses
from rini.api.dialects.openai_state import States
from rini.api.dialects.openai_stored import StoredAnswers
from rini.api.model_lists import model_routes
from rini.api.native import NativeEndpoint
from rini.api.native_follow import CANCEL, STREAM, CancelEndpoint, FollowEndpoint, Follower
from rini.api.native_messages import COMPARE, EDIT, REGENERATE, CompareEndpoint, MessageEndpoint, edit, regenerate
from rini.api.routes import Route
from rini.app.parts import Parts
from rini.wire.anthropic import ANTHROPIC
from rini.wire.codec import Codec
from rini.wire.gemini import GEMINI
from rini.wire.openai_chat import OPENAI_CHAT
from rini.wire.openai_responses import OPENAI_RESPONSES

GEMINI_VERSIONS = ("v1beta", "v1", "v1alpha")
"""What Google's SDK, as its caller wishes, puts before the path."""


def lean_routes(parts: Parts) -> list[Route]:
    """Return the endpoints that stand before FastAPI."""
    models = model_routes(
        parts.listing,
        parts.access,
        rendering(OPENAI_CHAT),
        rendering(ANTHROPIC),
        rendering(GEMINI),
        gemini_versions=GEMINI_VERSIONS,
    )
    return [*_native(parts), *_dialects(parts), *_stored(parts), *models]


def _native(parts: Parts) -> list[Route]:
    turns, access = parts.turns, parts.access
    follower = Follower(parts.streams, parts.database)
    return [
        Route(
            "/llm/text-completion/",
            NativeEndpoint(turns, access, follower, native_asks.text_completion, native_shown.text_completion),
        ),
        Route(
            "/llm/chat-completions/",
            NativeEndpoint(turns, access, follower, native_asks.chat_completion, native_shown.chat_completion),
        ),
        Route(
            "/llm/image-completion/",
            NativeEndpoint(turns, access, follower, native_asks.image_completion, native_shown.text_completion),
        ),
        Route(REGENERATE, MessageEndpoint(turns, access, follower, parts.database, regenerate)),
        Route(EDIT, MessageEndpoint(turns, access, follower, parts.database, edit)),
        Route(STREAM, FollowEndpoint(follower, access), method="GET"),
        Route(CANCEL, CancelEndpoint(turns, access)),
        Route(COMPARE, CompareEndpoint(turns, access, parts.database)),
        Route(embeddings.PATH, embeddings.EmbeddingsEndpoint(parts.embeddings, access)),
    ]


def _dialects(parts: Parts) -> list[Route]:
    whole, streamed = Gemini(stream=False), Gemini(stream=True)
    routes = [
        _route(parts, "/v1/chat/completions", OpenAIChat()),
        _responses(parts),
        _route(parts, "/v1/messages", AnthropicMessages()),
        _embeddings(parts, "/v1/embeddings", OpenAIEmbedding(), OPENAI_CHAT),
        _count(parts, "/v1/messages/count_tokens", AnthropicTokenCount(), ANTHROPIC),
        _count(parts, "/v1/responses/input_tokens", OpenAITokenCount(), OPENAI_RESPONSES, _states(parts)),
    ]
    for version in GEMINI_VERSIONS:
        model = f"/{version}/models/{{model}}"
        # Some clients take a name with a slash for the whole path.
        bare = f"/{version}/{{model}}"
        routes += (
            _route(parts, f"{model}:generateContent", whole, f"{bare}:generateContent"),
            _route(parts, f"{model}:streamGenerateContent", streamed, f"{bare}:streamGenerateContent"),
            _embeddings(parts, f"{model}:embedContent", GeminiEmbedding(batch=False), GEMINI),
            _embeddings(parts, f"{model}:batchEmbedContents", GeminiEmbedding(batch=True), GEMINI),
            _count(parts, f"{model}:countTokens", GeminiTokenCount(), GEMINI),
        )
    return routes


def _responses(parts: Parts) -> Route:
    follower = ResponseFollower(parts.streams, parts.database)
    stored = StoredAnswers(_states(parts), follower, parts.database)
    endpoint = DialectEndpoint(OpenAIResponses(), parts.turns, parts.access, parts.model_names, stored)
    return Route("/v1/responses", endpoint, render=rendering(OPENAI_RESPONSES))


def _states(parts: Parts) -> States:
    return States(parts.database, Input(parts.database, parts.keyring))


def _stored(parts: Parts) -> list[Route]:
    """Return the endpoints of OpenAI's stored responses and conversations."""
    render = rendering(OPENAI_RESPONSES)
    follower = ResponseFollower(parts.streams, parts.database)
    responses = stored_responses.StoredResponses(parts.database, parts.access, parts.turns, follower)
    given = Input(parts.database, parts.keyring)
    talks = conversations.Conversations(parts.database, parts.access, parts.files, given)
    compact = CompactEndpoint(parts.database, parts.access, parts.model_names, parts.turns, parts.windows, given)
    return [
        Route(COMPACT, compact, "POST", render),
        Route(stored_responses.RESPONSE, responses.read, "GET", render),
        Route(stored_responses.RESPONSE, responses.delete, "DELETE", render),
        Route(stored_responses.CANCEL, responses.cancel, "POST", render),
        Route(stored_responses.INPUT_ITEMS, responses.input_items, "GET", render),
        Route(conversations.CONVERSATIONS, talks.create, "POST", render),
        Route(conversations.CONVERSATION, talks.read, "GET", render),
        Route(conversations.CONVERSATION, talks.update, "POST", render),
        Route(conversations.CONVERSATION, talks.delete, "DELETE", render),
        Route(conversations.ITEMS, talks.list_items, "GET", render),
        Route(conversations.ITEMS, talks.add_items, "POST", render),
        Route(conversations.ITEM, talks.read_item, "GET", render),
        Route(conversations.ITEM, talks.delete_item, "DELETE", render),
    ]


def _route(parts: Parts, path: str, dialect: Dialect, *also: str) -> Route:
    endpoint = DialectEndpoint(dialect, parts.turns, parts.access, parts.model_names)
    return Route(path, endpoint, render=rendering(dialect.codec, dialect.request_id), also=also)


def _embeddings(parts: Parts, path: str, dialect: EmbeddingDialect, codec: Codec) -> Route:
    endpoint = EmbeddingEndpoint(dialect, parts.embeddings, parts.access, parts.model_names)
    return Route(path, endpoint, render=rendering(codec))


def _count(parts: Parts, path: str, dialect: CountDialect, codec: Codec, states: States | None = None) -> Route:
    endpoint = CountEndpoint(dialect, parts.counting, parts.access, parts.model_names, states)
    return Route(path, endpoint, render=rendering(codec))
