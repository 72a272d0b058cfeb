"""A provider that answers when it is told to."""

import asyncio
import threading
from typing import Self

from rini.canon import Text
from tests.support.dialects import Behind, World
from tests.support.model import reply, scripted
from tests.support.upstream import Conversation


class Gate:
    """Says ``done`` in three pieces; ``begun`` when it is asked. Whoever waits for it is let go at the end."""

    def __init__(self, world: World, behind: Behind) -> None:
        self._open = threading.Event()
        self.begun = threading.Event()
        answer = scripted(behind.provider, lambda _: reply(Text("done")), pieces=3)

        async def script(conversation: Conversation) -> None:
            self.begun.set()
            while not self._open.is_set():
                await asyncio.sleep(0.01)
            await answer(conversation)

        world.upstream.scripts[world.keys[behind.provider]] = script

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.set()

    def open(self) -> None:
        self._open.set()
