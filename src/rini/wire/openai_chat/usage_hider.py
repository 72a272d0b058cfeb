"""Takes the usage out of a stream whose client did not ask for it: the ledger did."""

import re

import msgspec

_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class _Chunk(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    usage: dict[str, msgspec.Raw] | None = None


_chunk = msgspec.json.Decoder(_Chunk)


class UsageHider:
    """Passes a stream's bytes on, all but the chunk that holds nothing but the usage."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Return the bytes to pass on; the begin of an unfinished event waits for its end."""
        if not self._rest and data.endswith(b"\n\n") and _NO_CHOICES.search(data) is None:
            return data  # as nearly all is
        data = self._rest + data
        end = 0
        kept: list[bytes] = []
        for match in _END.finditer(data):
            event = data[end : match.end()]
            end = match.end()
            if not (_NO_CHOICES.search(event) and _is_usage(event)):
                kept.append(event)
        self._rest = data[end:]
        return b"".join(kept)

    def close(self) -> bytes:
        """Return what is left when the stream ends."""
        rest, self._rest = self._rest, b""
        return rest


def _is_usage(event: bytes) -> bool:
    payload = b"".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
    try:
        chunk = _chunk.decode(payload)
    except msgspec.MsgspecError:
        return False
    return chunk.choices == [] and chunk.usage is not None
