"""A client's own names and values, as OpenAI's objects have them."""

from collections.abc import Mapping

import msgspec

from rini.errors import InvalidRequestError
from rini.kit.text import storable

MOST_PAIRS = 16
LONGEST_NAME = 64
LONGEST_VALUE = 512


def checked(metadata: Mapping[str, str] | None) -> str | None:
    """Return metadata as a JSON object's text; None where there is none. Raises InvalidRequestError."""
    if not metadata:
        return None
    if len(metadata) > MOST_PAIRS:
        raise InvalidRequestError(f"metadata: has {len(metadata)} pairs; at most {MOST_PAIRS} are kept.")
    for name, value in metadata.items():
        if len(name) > LONGEST_NAME:
            raise InvalidRequestError(f"metadata: a name has {len(name)} characters; at most {LONGEST_NAME} are kept.")
        if len(value) > LONGEST_VALUE:
            raise InvalidRequestError(
                f"metadata.{name}: has {len(value)} characters; at most {LONGEST_VALUE} are kept."
            )
        try:
            storable(name + value)
        except ValueError as error:
            raise InvalidRequestError(f"metadata: {error}.") from None
    return msgspec.json.encode(metadata).decode()
