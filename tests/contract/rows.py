"""The rows of the seed contract, as a 0.1 client knows them: what it sends and what it may rely on in the answer."""

from dataclasses import dataclass
from typing import Any

USER = {"id"}
KEY = {"id", "user_id", "model_provider", "description", "created_at", "updated_at"}
SESSION = {"id", "user_id", "alias", "system_prompt", "memory_mode", "created_at", "updated_at"}
MESSAGE = {
    "id", "session_id", "user_id", "role", "content", "parent_message_id", "file_reference", "original_filename",
    "mime_type", "model_used", "token_count", "prompt_tokens", "completion_tokens", "response_time_ms", "created_at",
}  # fmt: skip
ENTRY = {
    "id", "user_id", "session_id", "timestamp", "memory_type", "scope", "content", "source_message_ids", "keywords",
    "importance",
}  # fmt: skip
CONNECTION = {"id", "name", "url", "description"}
COST = {"total_estimated_cost", "currency", "start_date", "end_date", "details"}
PROVIDER = {"provider": "openai", "model": "gpt-4o-mini"}


@dataclass(frozen=True)
class Row:
    """A method and path, with a good request. ``listed``: the answer is a list of objects with these fields."""

    method: str
    path: str
    body: Any = None
    status: int = 200
    fields: frozenset[str] = frozenset()
    listed: bool = False
    form: bool = False
    open: bool = False
    query: str = ""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    def of(self, path: str) -> str:
        """Return the path with its slash at the end taken off or put on."""
        return path.rstrip("/") if path.endswith("/") else f"{path}/"


def _row(
    method: str, path: str, fields: set[str] = frozenset(), body: Any = None, status: int = 200, **more: Any
) -> Row:
    return Row(method, path, body, status, frozenset(fields), **more)


ROWS = (
    _row("GET", "/", {"message"}, open=True),
    _row("POST", "/users/", {"id", "access_token", "token_type"}, status=201, open=True),
    _row("GET", "/users/me", USER),
    _row("POST", "/api-keys/", KEY, {"model_provider": "google", "api_key_value": "k", "description": "d"}, 201),
    _row("GET", "/api-keys/", KEY, listed=True, query="?skip=0&limit=10"),
    _row("GET", "/api-keys/{key_id}", KEY),
    _row("PUT", "/api-keys/{key_id}", KEY, {"description": "d"}),
    _row("DELETE", "/api-keys/{key_id}", status=204),
    _row("POST", "/sessions/", SESSION, {"alias": "a", "system_prompt": "s", "memory_mode": "auto"}, 201),
    _row("GET", "/sessions/", SESSION, listed=True, query="?skip=0&limit=10"),
    _row("GET", "/sessions/{session_id}", SESSION),
    _row("PUT", "/sessions/{session_id}", SESSION, {"alias": "a", "system_prompt": "s", "memory_mode": "disabled"}),
    _row("DELETE", "/sessions/{session_id}", status=204),
    _row("POST", "/sessions/{session_id}/messages/", MESSAGE, {"role": "user", "content": "c"}, 201),
    _row("GET", "/sessions/{session_id}/messages/", MESSAGE, listed=True, query="?skip=0&limit=100"),
    _row("GET", "/messages/{message_id}", MESSAGE),
    _row("GET", "/messages/{message_id}/history", MESSAGE, listed=True),
    _row("POST", "/llm/text-completion/", {"response_text"}, {"text": "t", "llm_params": {"temperature": 0}, **PROVIDER}),
    _row(
        "POST",
        "/llm/chat-completions/",
        {"response_text", "prompt_tokens", "completion_tokens"},
        {"messages": [{"role": "user", "content": "c"}], "llm_params": {"max_tokens": 9}, **PROVIDER},
    ),
    _row("POST", "/llm/image-completion/", {"response_text"}, {"prompt": "p", **PROVIDER}, form=True),
    _row("POST", "/llm/embeddings/", {"data", "model", "usage"}, {"input": ["a", "b"]}),
    _row(
        "POST", "/mcp-connections/", CONNECTION, {"name": "n", "url": "https://mcp.example.com/", "description": "d"}, 201
    ),
    _row("GET", "/mcp-connections/", CONNECTION, listed=True),
    _row("GET", "/mcp-connections/{connection_id}", CONNECTION),
    _row("PUT", "/mcp-connections/{connection_id}", CONNECTION, {"name": "n", "url": "https://mcp.example.com/"}),
    _row("DELETE", "/mcp-connections/{connection_id}", status=204),
    _row(
        "POST",
        "/sessions/{session_id}/memory",
        ENTRY,
        {
            "memory_type": "Fact", "scope": "Session", "content": "c", "source_message_ids": [], "keywords": ["k"],
            "importance": 0.5,
        },
        201,
    ),
    _row("GET", "/memory/", ENTRY, listed=True, query="?session_id={session_id}&scope=Session&memory_type=Fact&skip=0&limit=100"),
    _row("GET", "/memory/{entry_id}", ENTRY),
    _row("PATCH", "/memory/{entry_id}", ENTRY, {"content": "c", "importance": 1, "keywords": ["k"]}),
    _row("DELETE", "/memory/{entry_id}", status=204),
    _row(
        "GET",
        "/usage/cost-estimation/",
        COST,
        query="?start_date=2026-01-01&end_date=2026-12-31&session_id={session_id}&provider=openai&model=gpt-4o-mini",
    ),
)  # fmt: skip
