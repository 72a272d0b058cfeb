"""The head of an answer in a dialect."""

import re
from collections.abc import Mapping

from starlette.types import Scope

from rini.api.dialects.errors import PASSED_ON, shown_as
from rini.api.dialects.sessions import told_of
from rini.turns.values import Begun

DROPPED = b"x-rini-dropped"
ESTIMATED = (b"x-rini-estimated", b"true")
"""Says that the tokens of an answer were not counted."""

LONGEST_DROPPED = 4096
"""Bytes of the header; many clients read no longer ones."""

_NOT_SHOWN = re.compile(r"[^ -~]")


def request_id_in(name: bytes | None, scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the header ``name`` with the request's id; none where the SDK looks for no other than x-request-id."""
    return [] if name is None else [(name, scope.get("rini.request_id", "").encode())]


def head(
    begun: Begun, content_type: bytes, more: list[tuple[bytes, bytes]], length: int | None = None
) -> list[tuple[bytes, bytes]]:
    """Return the headers of a good answer: what was left out of the request, what the provider told in its own, and ``more``."""
    headers = [(b"content-type", content_type), *more]
    if length is None:
        headers += [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
    else:
        headers.append((b"content-length", b"%d" % length))
    outgoing = begun.outgoing
    if outgoing.dropped:
        headers.append(names_of_dropped(outgoing.dropped))
    if begun.loaded is not None:
        headers += told_of(begun.loaded)
    if outgoing.passes:
        headers += passed_on(begun.headers)
    return headers


def content_type_of(headers: Mapping[str, str]) -> bytes:
    """Return as what a provider's answer is passed on."""
    return shown_as(headers).encode("latin-1")


def passed_on(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return those of a provider's headers that its own SDK reads."""
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in headers.items()
        if name.startswith(PASSED_ON)
    ]


def names_of_dropped(dropped: tuple[str, ...]) -> tuple[bytes, bytes]:
    """Return the header that names what was left out of the request."""
    return DROPPED, _listed(dropped)


def _listed(dropped: tuple[str, ...]) -> bytes:
    # The client chose some of the names: none of them may end the header, or say what no header can.
    text = _NOT_SHOWN.sub("?", ", ".join(dict.fromkeys(dropped))).encode()
    if len(text) <= LONGEST_DROPPED:
        return text
    return text[:LONGEST_DROPPED].rpartition(b",")[0] + b", ..."
