"""What one call took: tokens, money, time and how it ended."""

from decimal import Decimal
from typing import Literal

import msgspec

from rini.canon import Reply, Request, Usage
from rini.errors import FirstByteTimeoutError, ProviderMalformedError, RiniError, StalledError
from rini.inference.estimate import reply_tokens, request_tokens
from rini.inference.outgoing import Outgoing
from rini.inference.target import Target
from rini.kit import lasting
from rini.kit.clock import monotonic, now
from rini.kit.ids import new_call_id
from rini.telemetry import conventions, metrics, slow_calls, traces
from rini.usage.prices import Prices
from rini.usage.usage_record import Outcome, UsageRecord

MOST_TOKENS = 1_000_000_000
MOST_USD = Decimal(1_000_000)
"""More than any call takes. What a server says beyond it is not counted: user-given addresses may say anything."""

# Nothing of an answer came that could be booked, and yet the provider was at it.
_MAY_HAVE_COST = (FirstByteTimeoutError, ProviderMalformedError, StalledError)
_COUNTS = tuple(name for name in Usage.__struct_fields__ if name.endswith("_tokens"))


def plausible(usage: Usage) -> Usage:
    """Return ``usage`` without the counts that cannot be."""
    wrong = {name: None for name in _COUNTS if not 0 <= (getattr(usage, name) or 0) <= MOST_TOKENS}
    return msgspec.structs.replace(usage, **wrong) if wrong else usage


class Meter:
    """Measures one call from its begin, and makes its ledger row, its trace's span, and the log's line when it was slow."""

    __slots__ = ("_began", "_first_token", "_prices", "_span", "record")

    def __init__(
        self,
        prices: Prices,
        target: Target,
        model: str,
        *,
        user_id: int,
        endpoint: str,
        stream: bool,
        request_id: str | None,
        operation: Literal["chat", "embeddings"] = "chat",
    ) -> None:
        self._prices = prices
        self._span = traces.model_call(operation, target.provider.name, model, target.base_url, stream=stream)
        self._began = monotonic()
        self._first_token: float | None = None
        self.record = UsageRecord(
            call_id=new_call_id(),
            user_id=user_id,
            endpoint=endpoint,
            provider=target.provider.name,
            model=model,
            created_at=now(),
            request_id=request_id,
            key_id=target.key_id,
            stream=stream,
        )

    @property
    def awaits_first_token(self) -> bool:
        """Whether nothing of the answer itself has come yet."""
        return self._first_token is None

    def first_token(self) -> None:
        """Note that the first of the answer itself is here."""
        self._first_token = monotonic()

    def close(self, outcome: Outcome, outgoing: Outgoing, reply: Reply, error: RiniError | None = None) -> UsageRecord:
        """Complete the row and return it.

        A call that broke off before its usage was told is estimated from what was sent and what came.
        """
        usage = plausible(reply.usage) if reply.usage else None
        if outcome in ("client_left", "provider_failed", "interrupted", "cancelled"):
            usage = self._estimated(outgoing.request, reply, usage)
        return self.book(outcome, usage, reply, error)

    def book(self, outcome: Outcome, usage: Usage | None, reply: Reply, error: RiniError | None = None) -> UsageRecord:
        """Complete the row with ``usage`` (None: nobody counted) and return it; of ``reply`` only what stands beside its usage is read."""
        if outcome != "refused" or isinstance(error, _MAY_HAVE_COST):
            lasting.note()
        record = self.record
        record.outcome = outcome
        record.error_code = error.code if error else None
        seconds = monotonic() - self._began
        first_token_seconds = None if self._first_token is None else self._first_token - self._began
        record.latency_ms = round(seconds * 1000)
        if first_token_seconds is not None:
            record.first_token_ms = round(first_token_seconds * 1000)
        if usage is not None:
            self._count(usage, _served_tier(reply))
        metrics.observe_call(record.provider, record.model, outcome, seconds, first_token_seconds=first_token_seconds)
        slow_calls.observe_call(
            record.provider,
            record.model,
            outcome,
            seconds,
            first_token_seconds=first_token_seconds,
            call_id=record.call_id,
        )
        if self._span is not None:
            self._end_span(self._span, reply, first_token_seconds)
        return record

    def _end_span(self, span: "traces.WorkSpan", reply: Reply, first_token_seconds: float | None) -> None:
        record = self.record
        reasons = [choice.finish_reason for choice in reply.choices if choice.finish_reason is not None]
        span.end(
            {
                conventions.RESPONSE_MODEL: reply.model,
                conventions.RESPONSE_ID: reply.id,
                conventions.FINISH_REASONS: reasons or None,
                conventions.FIRST_CHUNK_SECONDS: first_token_seconds,
                conventions.INPUT_TOKENS: record.input_tokens,
                conventions.OUTPUT_TOKENS: record.output_tokens,
                conventions.CACHE_READ_TOKENS: record.cache_read_tokens,
                conventions.CACHE_WRITE_TOKENS: record.cache_write_tokens,
                conventions.REASONING_TOKENS: record.reasoning_tokens,
                conventions.CONVERSATION: record.session_id,
                conventions.CALL_ID: record.call_id,
            },
            error=None if record.outcome == "complete" else record.error_code or record.outcome,
        )

    def _estimated(self, request: Request, reply: Reply, usage: Usage | None) -> Usage:
        self.record.usage_estimated = True
        usage = usage or Usage()
        return msgspec.structs.replace(
            usage,
            # Nothing is read of no call: a server that translates begins Anthropic's streams with 0 and tells the number at the end.
            input_tokens=usage.input_tokens or request_tokens(request, self.record.provider),
            output_tokens=max(usage.output_tokens or 0, reply_tokens(reply)),
        )

    def _count(self, usage: Usage, tier: str | None) -> None:
        record = self.record
        record.input_tokens = usage.input_tokens
        record.output_tokens = usage.output_tokens
        record.cache_read_tokens = usage.cache_read_tokens
        record.cache_write_tokens = usage.cache_write_tokens
        record.cache_write_1h_tokens = usage.cache_write_1h_tokens
        record.reasoning_tokens = usage.reasoning_tokens
        record.input_audio_tokens = usage.input_audio_tokens
        record.output_audio_tokens = usage.output_audio_tokens
        metrics.observe_tokens(
            record.provider,
            usage.input_tokens or 0,
            usage.output_tokens or 0,
            cache_read_tokens=usage.cache_read_tokens or 0,
            cache_write_tokens=usage.cache_write_tokens or 0,
            reasoning_tokens=usage.reasoning_tokens or 0,
        )
        cost = self._prices.price(record.provider, record.model, usage, at=record.created_at, tier=tier).total
        record.cost_usd = cost if cost is not None and cost <= MOST_USD else None


def _served_tier(reply: Reply) -> str | None:
    """Return the provider's word for how it served the call: OpenAI tells it beside the answer, Anthropic within the usage."""
    for extras in (reply.extras, reply.usage.extras if reply.usage else None):
        for fields in (extras or {}).values():
            tier = fields.get("service_tier")
            if isinstance(tier, str):
                return tier
    return None
