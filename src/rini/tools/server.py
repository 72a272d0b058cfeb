"""An MCP server as its callers see it: where it is, and what of it may be used."""

from collections.abc import Mapping
from typing import Literal

import msgspec

TransportName = Literal["streamable_http", "sse", "stdio"]
Failure = Literal["timeout", "refused", "failed"]


class ToolServer(msgspec.Struct, frozen=True, kw_only=True):
    """One user's connection, or one of the operator's servers (``connection_id`` is ``None``), ready to be asked.

    ``key`` is the same as long as the server is the same; ``version`` changes whenever anything of it changes. ``timeout`` is
    in seconds and bounds each thing that is asked, from the connection to the end of the answer. ``allowed_tools`` of ``None``
    allows all. ``fault`` is a sentence on why it cannot be asked at all. ``url`` and ``headers`` are for HTTP; ``command`` (with
    its arguments), ``environment`` and ``folder`` for stdio.
    """

    key: str
    version: str
    name: str
    transport: TransportName
    timeout: float
    connection_id: int | None = None
    allowed_tools: frozenset[str] | None = None
    fault: str | None = None
    url: str = ""
    headers: Mapping[str, str] = {}
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    folder: str | None = None

    @property
    def is_operators(self) -> bool:
        """Whether the operator set it up, so that its address is trusted."""
        return self.connection_id is None

    def log_fields(self) -> dict[str, object]:
        """Return what a log tells of it: a user's connection has an id there, its name is the user's own text."""
        return {"server": self.name} if self.connection_id is None else {"connection_id": self.connection_id}

    def without_secrets(self, text: str) -> str:
        """Return ``text`` with the headers' values masked, in case the server told them back."""
        for value in self.headers.values():
            # What is shorter is no secret, and may well be a word of the text.
            for secret in (value, *value.split()):
                if len(secret) >= _SHORTEST_SECRET:
                    text = text.replace(secret, "***")
        return text

    def __repr__(self) -> str:
        return f"ToolServer(key={self.key!r})"


_SHORTEST_SECRET = 8


class NoAnswerError(Exception):
    """A server gave no answer that could be used. The text is one sentence for people, without secrets.

    ``kind``: ``timeout``, ``refused`` (the server itself said so, as JSON-RPC has it) or ``failed``.
    """

    def __init__(self, sentence: str, kind: Failure = "failed") -> None:
        super().__init__(sentence)
        self.kind: Failure = kind
