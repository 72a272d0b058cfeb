"""What can go wrong between this server and another one, whatever library is below."""

from typing import Literal

Phase = Literal[
    "address",  # the URL is malformed, or leads where it must not
    "connect",  # name, TCP or TLS: the other side never saw the request
    "send",  # the request did not get through
    "first_byte",  # until the answer's head is complete
    "between_bytes",  # in the answer's body
    "protocol",  # the answer is not HTTP, or contradicts itself
    "too_large",  # the answer's head or body
]


class TransportError(Exception):
    """No whole answer came. The message is one sentence for people, without keys, headers, paths or queries.

    ``phase`` says how far it got; ``timeout`` whether the other side was too slow rather than wrong or gone.
    """

    def __init__(self, message: str, phase: Phase, *, timeout: bool = False) -> None:
        super().__init__(message)
        self.phase: Phase = phase
        self.timeout = timeout
