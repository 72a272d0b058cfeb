"""What the ledger keeps of one call of a model."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

Outcome = Literal["complete", "client_left", "provider_failed", "refused", "interrupted", "cancelled"]


class UsageRecord(msgspec.Struct, kw_only=True, dict=False):
    """One call. Tokens are None where nobody counted them; ``cost_usd`` is Decimal dollars, None when unpriced.

    ``outcome``: ``complete``; ``client_left`` and ``provider_failed`` broke off in the middle; ``refused`` got an error instead
    of an answer; ``interrupted`` is a call that this server broke off, or that a dead process left behind.
    """

    call_id: str
    user_id: int
    endpoint: str
    provider: str
    model: str
    created_at: datetime
    request_id: str | None = None
    session_id: str | None = None
    message_id: int | None = None
    key_id: int | None = None
    stream: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    usage_estimated: bool = False
    cost_usd: Decimal | None = None
    outcome: Outcome = "complete"
    error_code: str | None = None
    latency_ms: int | None = None
    first_token_ms: int | None = None
