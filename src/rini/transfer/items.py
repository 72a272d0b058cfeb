"""What readers make of a file, whatever its format: sessions as Rini's own lines, one after the other."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from rini.transfer.lines import (
    CutLine,
    EndLine,
    MemoryLine,
    MessageLine,
    ResponseLine,
    SessionLine,
    SystemLine,
    UsageLine,
)


class File(NamedTuple):
    """A file of the session."""

    number: int
    data: bytes


Item = SessionLine | MemoryLine | SystemLine | File | MessageLine | ResponseLine | UsageLine | CutLine | EndLine


class Reader(Protocol):
    """Reads a file. ``where`` names the place where it is: of an error, the one where it was found."""

    where: str
    left_out: Counter[str]
    """What was left out of the session that ends, by the reasons in rini.transfer.schemas."""
    empty: int
    """Conversations without a message, which make no session."""

    def items(self) -> Iterator[Item]:
        """Yield the sessions' lines. Raises Refusal."""
        ...
