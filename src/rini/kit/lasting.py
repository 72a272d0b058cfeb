"""Whether a request did what does not pass with it, such as a call of a model that costs, or a question that is stored.

``note`` is called where it is done, ``watched`` where the request is answered and an error must be told from one before which nothing
was done. What is started in a request's context, in other tasks and threads too, belongs to the request.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar


class Watch:
    """What is known of one request. ``done``: it did something that lasts."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False


_watch: ContextVar[Watch | None] = ContextVar("rini_lasting", default=None)


def note() -> None:
    """Tell that what is being answered has done something that lasts."""
    watch = _watch.get()
    if watch is not None:
        watch.done = True


@contextmanager
def watched() -> Generator[Watch]:
    """Watch what is done within."""
    watch = Watch()
    token = _watch.set(watch)
    try:
        yield watch
    finally:
        _watch.reset(token)
