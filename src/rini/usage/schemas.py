"""What the endpoints of the ledger answer with."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from rini.usage.records import plain


def _number(usd: Decimal) -> msgspec.Raw:
    return msgspec.Raw(plain(usd).encode())


# A JSON number with all its digits: neither Pydantic nor a float would keep them.
Usd = Annotated[Decimal, PlainSerializer(_number, return_type=Any), WithJsonSchema({"type": "number"})]
UsdText = Annotated[Decimal, PlainSerializer(plain, return_type=str), WithJsonSchema({"type": "string"})]


class Cost(BaseModel):
    """What some calls took. Tokens are totals, and the shares of them that count apart.

    ``estimated_cost`` is null where none of it could be priced, and leaves out the ``unpriced_calls`` otherwise. Of the
    ``estimated_calls``, which broke off, the tokens are estimated, and with them what they cost.
    """

    calls: int
    prompt_tokens: int
    completion_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    estimated_cost: Usd | None
    unpriced_calls: int
    estimated_calls: int


class CostGroup(Cost):
    """What the calls of one group took. Only the keys that were grouped by are there; null is without a session, or a key."""

    day: date | None = None
    model: str | None = None
    session_id: str | None = None
    provider: str | None = None
    key_id: int | None = None


class CostEstimation(BaseModel):
    """What calls cost from ``start_date`` to ``end_date``, both included, in UTC; ``details`` are by model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "total_estimated_cost": 0.0125,
                    "currency": "USD",
                    "start_date": "2026-11-01",
                    "end_date": "2026-11-30",
                    "unpriced_models": [],
                    "details": {
                        "gpt-4o": {
                            "calls": 1,
                            "prompt_tokens": 1000,
                            "completion_tokens": 1000,
                            "cache_read_tokens": 0,
                            "cache_write_tokens": 0,
                            "reasoning_tokens": 0,
                            "estimated_cost": 0.0125,
                            "unpriced_calls": 0,
                            "estimated_calls": 0,
                        }
                    },
                }
            ]
        }
    )

    total_estimated_cost: Usd
    currency: Literal["USD"] = "USD"
    start_date: date
    end_date: date
    details: dict[str, Cost]
    unpriced_models: list[str] = Field(description="Models with calls that have no price; they are not in the total.")
    groups: list[CostGroup] = Field(default=[], description="Only with `group_by`.")


class UsageRecordShown(BaseModel):
    """One call of a model. Tokens are null where nobody counted them, ``cost_usd`` where nobody knows the price."""

    id: int
    call_id: str
    request_id: str | None
    created_at: datetime
    endpoint: str
    provider: str
    model: str
    session_id: str | None
    message_id: int | None
    key_id: int | None
    stream: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_write_1h_tokens: int | None
    reasoning_tokens: int | None
    prompt_audio_tokens: int | None
    completion_audio_tokens: int | None
    usage_estimated: bool
    cost_usd: UsdText | None
    outcome: str
    error_code: str | None
    latency_ms: int | None
    first_token_ms: int | None
