"""A provider's stream that is made to stop the server for all others."""

import threading
import time

from tests.support.server import Client
from tests.support.upstream import Conversation


def test_lines_of_no_format_do_not_stop_the_server(user: Client, script):
    async def junk(conversation: Conversation) -> None:
        await conversation.head()
        for _ in range(20):
            await conversation.chunk(b"x\n" * 32_768)
        await conversation.end()

    script(junk)
    asking = threading.Thread(target=user.stream)
    asking.start()
    slowest = 0.0
    while asking.is_alive():
        began = time.monotonic()
        user.get("/healthz")
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.01)
    assert slowest < 1.0
