"""A turn, from top to bottom: load, fit, call, settle.

Nothing is held while the provider is called: no transaction, no connection. The question is stored before the call; the answer and its
ledger row before the last bytes leave. A turn that breaks off settles what had come.
"""

import asyncio

from rini.canon import ToolCall, ToolResult
from rini.db import AnyRow, Database
from rini.errors import ContextTooLongError, RiniError, TurnCancelledError
from rini.inference.target import Router
from rini.inference.window import Windows
from rini.kit.clock import monotonic
from rini.kit.draining import process as draining
from rini.kit.http import Transport
from rini.sessions import messages
from rini.tools.toolbox import Offer, Toolbox
from rini.turns.background import Background
from rini.turns.beginning import Beginning, uncancel
from rini.turns.finishing import Finishing, log_failure
from rini.turns.following import Recording, Streams
from rini.turns.images import Images
from rini.turns.journal import Journal
from rini.turns.queueing import Place, Queues
from rini.turns.register import Register
from rini.turns.running import RunningCall
from rini.turns.settling import Settling
from rini.turns.tool_use import calls_to_make, results_of
from rini.turns.values import Answer, Ask, Listener, Loaded
from rini.usage.ledger import Ledger
from rini.usage.prices import Prices

LONGEST_END_SECONDS = 10.0
END_PAUSE_SECONDS = 0.05
"""How long an answer that is cancelled has to end, and how often it is looked whether it has."""


class Turns:
    """Takes turns. One for each process; those in the ``background`` outlast the request in which they began."""

    def __init__(
        self,
        database: Database,
        router: Router,
        transport: Transport,
        ledger: Ledger,
        prices: Prices,
        windows: Windows,
        journal: Journal,
        images: Images,
        toolbox: Toolbox,
        register: Register,
        streams: Streams,
        *,
        memory_tokens: int,
        queue_seconds: float,
    ) -> None:
        self._database = database
        self._transport = transport
        self._ledger = ledger
        self._toolbox = toolbox
        self._register = register
        self._streams = streams
        self._queues = Queues(queue_seconds, register.end)
        self._finishing = Finishing(database)
        self._beginning = Beginning(
            database,
            router,
            prices,
            windows,
            journal,
            images,
            toolbox,
            register,
            self._finishing,
            self._take_apart,
            memory_tokens=memory_tokens,
        )
        self._settling = Settling(database, ledger, journal, streams, self._finishing, register.worker_id)
        self.background = Background(self.take, self._finishing, register.worker_id)

    async def take(
        self, ask: Ask, listener: Listener | None = None, begun: "asyncio.Future[Loaded] | None" = None
    ) -> Answer:
        """Ask the model and return its answer, stored and booked; with a ``listener``, stream it on the way. ``begun`` is told what was loaded.

        Where the model asks for one of the tools that it was offered, the tool is called, once, and the model answers over its result.
        Raises RiniError. When the caller is cancelled, so is the provider's call, at once, and what had come is settled.
        """
        if not ask.continues_branch:
            return await self._take(ask, listener, None, begun)
        async with self._queues.place(ask) as place:
            return await self._take(ask, listener, place, begun)

    async def cancel(self, user_id: int, answer_id: int) -> AnyRow:
        """End an answer that is running, in whichever process, and return its row; one that is over stays as it is. Raises NotFoundError."""
        row = await self._database.read(messages.get, user_id, answer_id)
        until = monotonic() + LONGEST_END_SECONDS
        if row.status == messages.RUNNING:
            await self._register.end(answer_id, "cancelled")
        while row.status == messages.RUNNING and monotonic() < until:
            await asyncio.sleep(END_PAUSE_SECONDS)
            row = await self._database.read(messages.get, user_id, answer_id)
        return row

    async def close(self) -> None:
        """Wait until all that broke off is settled, and all that is over is booked."""
        await self.background.close()
        await self._finishing.close()
        await self._ledger.flush()

    async def _take(
        self,
        ask: Ask,
        listener: Listener | None,
        place: Place | None,
        begun: "asyncio.Future[Loaded] | None" = None,
    ) -> Answer:
        call, offer = await self._beginning.call(ask, place, begun, stream=listener is not None)
        if call.loaded is not None and listener is not None:
            listener = Recording(listener, self._streams.open(call.loaded.answer_id))
        running = self._register.running(call.loaded)
        try:
            with running:
                if place is not None and place.is_interrupted:
                    running.end("interrupted")  # at the next thing that it waits for
                try:
                    await call.run(self._transport, listener)
                except ContextTooLongError as error:
                    call = await self._beginning.again(ask, call, error)
                    await call.run(self._transport, listener)
                if offer is not None and (calls := calls_to_make(call.reply)):
                    results = await self._use(offer, call, calls, listener)
                    call = self._beginning.go_on(ask, call, results)
                    await call.run(self._transport, listener)
        except RiniError as error:
            await asyncio.shield(self._settling.of(call, "provider_failed" if call.begun else "refused", error))
            raise
        except asyncio.CancelledError:
            if call.loaded is not None and call.loaded.background and self.background.closing:
                self._finishing.to_its_end(self._settling.leave(call, call.loaded)).add_done_callback(log_failure)
                raise
            if running.ending is not None:
                uncancel()
                ended = TurnCancelledError(
                    f"The answer was {running.ending} while the model wrote it.", reason=running.ending
                )
                await asyncio.shield(self._settling.of(call, running.ending, ended))
                raise ended from None
            settling = self._settling.of(call, "interrupted" if draining.over else "client_left")
            settling.add_done_callback(log_failure)
            raise
        except Exception:
            # A fault of this server's own: it is told as what it is, and what the provider did is booked.
            await asyncio.shield(self._settling.of(call, "interrupted"))
            raise
        if call.loaded is None and not call.has_thoughts_to_keep and (answer := self._settling.soon(call)) is not None:
            return answer
        return await asyncio.shield(self._settling.of(call, "complete"))

    async def _take_apart(self, ask: Ask) -> Answer:
        return await self._take(ask, None, None)

    async def _use(
        self, offer: Offer, call: RunningCall, calls: tuple[ToolCall, ...], listener: Listener | None
    ) -> tuple[ToolResult, ...]:
        """Make the first of ``calls`` and return a result for each."""
        call.pause()
        if listener is not None:
            await listener.tool_called(calls[0])
        outcome = await self._toolbox.call(offer, calls[0])
        results = results_of(calls, outcome.result)
        call.pause(results, outcome.ms)
        if listener is not None:
            await listener.tool_answered(outcome.result, outcome.ms)
        return results
