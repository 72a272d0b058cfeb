"""What tells about the server itself: its greeting, its health, its metrics."""

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy.engine import Connection

from rini import __version__
from rini.db.dependency import DatabaseDependency
from rini.errors import StorageUnavailableError
from rini.kit.draining import process as draining
from rini.telemetry import metrics

router = APIRouter()


@router.get("/", tags=["service"], summary="Greeting")
def greet() -> dict[str, str]:
    """Say what is here."""
    return {"message": f"Rini {__version__}: one server in front of every LLM. See /docs."}


@router.get("/healthz", tags=["service"], summary="Is the process alive")
async def live() -> dict[str, str]:
    """Answer as long as the process does."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    tags=["service"],
    summary="Does the server take requests",
    responses={503: {"description": "Not now, and why", "model": dict[str, str]}},
)
def ready(request: Request, response: Response, database: DatabaseDependency) -> dict[str, str]:
    """Answer 200 when the database answers, the ledger is written and the server is not shutting down; else 503 and why."""
    state = "ok"
    if draining.begun:
        state = "shutting down"
    elif not request.app.state.ledger.healthy:
        state = "usage rows wait for the database"
    else:
        try:
            database.read_sync(_ping)
        except StorageUnavailableError:
            state = "the database does not answer"
    if state != "ok":
        response.status_code = 503
    return {"status": state}


@router.get("/metrics", tags=["service"], summary="Prometheus metrics", response_class=PlainTextResponse)
def show_metrics() -> Response:
    """Return the metrics of all of this server's processes."""
    content, kind = metrics.render()
    return Response(content, media_type=kind)


def _ping(connection: Connection) -> None:
    connection.execute(sa.text("SELECT 1"))
