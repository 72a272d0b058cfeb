"""A new user with one of everything, and the ids by the names that paths have for them."""

import io
import re
from typing import Any

from PIL import Image

from tests.support.server import Client, Server


def picture() -> bytes:
    """Return a small PNG."""
    found = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(found, "PNG")
    return found.getvalue()


class Things:
    """The user is ``client``. ``mcp`` is the address of the connection's server, which is asked only where a test does."""

    def __init__(self, server: Server, mcp: str = "https://mcp.example.com/mcp", provider: str = "openai") -> None:
        self.client: Client = server.user(provider=provider)
        session = self.client.session()
        self.ids: dict[str, Any] = {
            "session_id": session,
            "message_id": self._made(f"/sessions/{session}/messages/", role="user", content="x"),
            "entry_id": self._made(f"/sessions/{session}/memory", memory_type="Fact", content="x"),
            "token_id": self._made("/users/me/tokens", name="x"),
            "key_id": self.client.get("/api-keys/").json[0]["id"],
            "alias": self._made("/models/aliases", "alias", alias="team/fast", model="openai/gpt-4o-mini"),
            "model": "local/smollm2-135m-instruct",
            **self._of_responses(),
            "connection_id": self._made("/mcp-connections/", name="calculator", url=mcp),
        }

    def path(self, path: str) -> str:
        """Return a path with the ids in their places."""
        return re.sub(r"\{(\w+)\}", lambda found: str(self.ids[found[1]]), path)

    def _of_responses(self) -> dict[str, str]:
        talk = self.client.post("/v1/conversations", {"items": [{"role": "assistant", "content": "x"}]}).json["id"]
        item = self.client.get(f"/v1/conversations/{talk}/items").json["last_id"]
        return {"conversation_id": talk, "item_id": item, "response_id": f"resp_{item.split('_')[2]}"}

    def _made(self, path: str, name: str = "id", /, **body: Any) -> Any:
        answer = self.client.post(path, body)
        assert answer.status == 201, answer
        return answer.json[name]
