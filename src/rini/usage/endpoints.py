"""/usage: what calls cost, and the calls themselves."""

from datetime import date
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from rini.accounts.dependencies import CurrentUser
from rini.db.dependency import DatabaseDependency
from rini.errors import InvalidRequestError
from rini.kit.clock import now
from rini.kit.parameters import LARGEST_ID, TOTAL_HEADER, Limit, Skip
from rini.usage import records
from rini.usage.costs import Sums, costs, days_with_calls
from rini.usage.filters import Chosen, Filter, GroupBy, grouping
from rini.usage.ledger import Ledger
from rini.usage.schemas import Cost, CostEstimation, CostGroup, UsageRecordShown

USUAL_DAYS = 30


def _all_booked(request: Request) -> None:
    """Whoever reads the ledger sees every call that this process answered, those of the last moment too."""
    ledger: Ledger = request.app.state.ledger
    ledger.flush_sync()


router = APIRouter(dependencies=[Depends(_all_booked)])


@router.get(
    "/usage/cost-estimation/",
    tags=["usage"],
    summary="What my calls cost",
    response_model=CostEstimation,
    response_model_exclude_unset=True,
)
def estimate_cost(
    user_id: CurrentUser, database: DatabaseDependency, chosen: Chosen, group_by: GroupBy = None
) -> Response:
    """Add up what my calls cost: every call, whether in a session or not, whole, streamed or broken off.

    Without dates these are the last 30 days, today (UTC) among them. A filter that fits no call gives zeros.
    """
    start, end = _period(chosen)
    fields = grouping(group_by)
    found = database.read_sync(costs, user_id, msgspec.structs.replace(chosen, start=start, end=end), fields)
    estimation = CostEstimation(
        total_estimated_cost=found.total.cost_usd,
        currency="USD",
        start_date=start,
        end_date=end,
        details={model: Cost(**_cost(sums)) for model, sums in found.models.items()},
        unpriced_models=[model for model, sums in found.models.items() if sums.unpriced_calls],
    )
    if fields:
        estimation.groups = [
            CostGroup(**dict(zip(fields, key, strict=True)), **_cost(sums)) for key, sums in found.groups.items()
        ]
    return Response(msgspec.json.encode(estimation.model_dump(exclude_unset=True)), media_type="application/json")


@router.get("/usage/records/", tags=["usage"], summary="List my calls")
def list_records(
    user_id: CurrentUser,
    database: DatabaseDependency,
    response: Response,
    chosen: Chosen,
    skip: Skip = 0,
    limit: Limit = 100,
    before: Annotated[
        int | None,
        Query(ge=1, le=LARGEST_ID, description="Go on after the record with this id; not with `skip`.", examples=[1]),
    ] = None,
) -> list[UsageRecordShown]:
    """Return my calls, newest first. Without dates these are all."""
    if before is not None and skip:
        raise InvalidRequestError("skip: it does not go with before, which says by itself where to go on.")
    rows, total = database.read_sync(records.page, user_id, chosen, skip, limit, before)
    response.headers[TOTAL_HEADER] = str(total)
    return [UsageRecordShown.model_validate(row, from_attributes=True) for row in rows]


@router.get(
    "/usage/records.csv",
    tags=["usage"],
    summary="Export my calls",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The records as CSV",
            "headers": {TOTAL_HEADER: {"$ref": "#/components/headers/TotalCount"}},
            "content": {"text/csv": {"schema": {"type": "string"}}},
        }
    },
)
async def export_records(user_id: CurrentUser, database: DatabaseDependency, chosen: Chosen) -> StreamingResponse:
    """Return all of my calls as CSV, newest first, with the fields of the list. Without dates these are all.

    The header `x-total-count` tells how many there are. When the server fails on the way it cuts the connection off before
    the last chunk, which HTTP clients report.
    """
    days = await database.read(days_with_calls, user_id, chosen)
    headers = {
        TOTAL_HEADER: str(sum(calls for _, calls in days)),
        "content-disposition": 'attachment; filename="usage-records.csv"',
    }
    return StreamingResponse(records.as_csv(database, user_id, chosen, days), headers=headers, media_type="text/csv")


def _period(chosen: Filter) -> tuple[date, date]:
    """Return the first and the last day: what was not given is the last 30 days until the one that was, or until today."""
    today = now().date()
    end = chosen.end or max(today, chosen.start or today)
    start = chosen.start or date.fromordinal(max(end.toordinal() - USUAL_DAYS + 1, 1))
    return start, end


def _cost(sums: Sums) -> dict[str, Any]:
    known = sums.cost_pico_usd > 0 or not sums.unpriced_calls
    return {
        "calls": sums.calls,
        "prompt_tokens": sums.input_tokens,
        "completion_tokens": sums.output_tokens,
        "cache_read_tokens": sums.cache_read_tokens,
        "cache_write_tokens": sums.cache_write_tokens,
        "reasoning_tokens": sums.reasoning_tokens,
        "estimated_cost": sums.cost_usd if known else None,
        "unpriced_calls": sums.unpriced_calls,
        "estimated_calls": sums.estimated_calls,
    }
