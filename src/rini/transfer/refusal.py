"""How a file is refused while it is read, and how its bytes become values."""

import re
from typing import TypeVar

import msgspec

T = TypeVar("T")

# An escaped backslash or a pair is passed over; what is left are halves of pairs.
_ESCAPES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


class Refusal(Exception):  # noqa: N818  # it is none to the client yet: that one is told where, and what was stored before
    """The file cannot be imported. ``why`` is the end of a sentence that begins with the place."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def decoded(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Return the value. Halves of surrogate pairs, which no text can hold, become U+FFFD. Raises Refusal."""
    try:
        try:
            return decoder.decode(data)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            whole = without_halves(data)
            if whole == data:
                raise
            return decoder.decode(whole)
    except msgspec.ValidationError as error:
        raise Refusal(_sentence(str(error))) from None
    except msgspec.DecodeError as error:
        raise Refusal(f"is not whole JSON ({error}): the file may have been cut") from None
    except UnicodeDecodeError:
        raise Refusal("is not UTF-8") from None
    except RecursionError:
        raise Refusal("is nested too deeply") from None


def without_halves(data: bytes) -> bytes:
    """Return JSON with U+FFFD for each escaped half of a surrogate pair that stands alone."""
    if b"\\u" not in data:
        return data
    return _ESCAPES.sub(lambda found: b"\\ufffd" if found["half"] else found[0], data)


def storable(text: str) -> str:
    """Return ``text`` with U+FFFD for NUL, which Postgres has not."""
    return text.replace("\x00", "\ufffd")


def _sentence(text: str) -> str:
    """Turn msgspec's ``Expected `str`, got `int` - at `$.text``` into ``has in text: expected `str`, got `int```."""
    what, _, where = text.rpartition(" - at `$")
    if not what:
        return f"does not fit: {text}"
    place = where.rstrip("`").lstrip(".")
    return f"does not fit{f' at {place}' if place else ''}: {what[:1].lower()}{what[1:]}"
