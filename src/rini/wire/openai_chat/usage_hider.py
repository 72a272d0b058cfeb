"""Takes the usage out of a stream whose client did not ask for it: the ledger did."""

import re

import msgspec

_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class _Chunk(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    usage: dict[str, msgspec.Raw] | None = None


_chunk = msgspec.json.Decoder(_Chunk)


def without_usage(data: bytes) -> bytes:
    """Return whole events of a stream as they came, all but the one that holds nothing but the usage."""
    if not _NO_CHOICES.search(data):
        return data
    end = 0
    kept: list[bytes] = []
    for match in _END.finditer(data):
        event = data[end : match.end()]
        end = match.end()
        if not (_NO_CHOICES.search(event) and _is_usage(event)):
            kept.append(event)
    kept.append(data[end:])
    return b"".join(kept)


def _is_usage(event: bytes) -> bool:
    payload = b"".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
    try:
        chunk = _chunk.decode(payload)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return chunk.choices == [] and chunk.usage is not None
