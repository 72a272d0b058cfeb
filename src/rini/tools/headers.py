"""What headers a connection may carry."""

import re
from collections.abc import Mapping

MOST_HEADERS = 20
MAX_VALUE = 4096
MAX_ALL = 16 * 1024

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
# What HTTP/1.1 gives to each connection (RFC 9110, section 7.6.1), what the client writes itself, and what MCP does.
_TAKEN = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect",
        "host", "keep-alive", "last-event-id", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers as they are stored, their values without spaces around. Raises ValueError with a sentence's rest."""
    if len(headers) > MOST_HEADERS:
        raise ValueError(f"must be at most {MOST_HEADERS}")
    found: dict[str, str] = {}
    seen: set[str] = set()
    for name, given in headers.items():
        lower = name.lower()
        value = given.strip()
        if not _NAME.fullmatch(name):
            raise ValueError("must have names of 1 to 128 letters, digits and -")
        if lower in _TAKEN or lower.startswith("mcp-"):
            raise ValueError(f"must not set {lower}, which is set for each request")
        if lower in seen:
            raise ValueError(f"must name {lower} once")
        if not value or len(value) > MAX_VALUE or not value.isascii() or not value.isprintable():
            raise ValueError(f"must have values of 1 to {MAX_VALUE} printable ASCII characters")
        seen.add(lower)
        found[name] = value
    if sum(len(name) + len(value) for name, value in found.items()) > MAX_ALL:
        raise ValueError(f"must have at most {MAX_ALL} characters in all")
    return found


def header_names(headers: Mapping[str, str]) -> list[str]:
    """Return what may be shown of headers."""
    return sorted(headers, key=str.lower)
