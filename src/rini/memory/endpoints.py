"""/memory, and /sessions/{id}/memory where entries are made."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from rini.accounts.dependencies import CurrentUser
from rini.db.dependency import DatabaseDependency
from rini.kit.parameters import A_SESSION, TOTAL_HEADER, Limit, RowId, SessionId, Skip
from rini.memory import repository
from rini.memory.schemas import MemoryChange, MemoryCreate, MemoryEntry, MemoryTypeField, ScopeField

router = APIRouter(tags=["memory"])

SessionFilter = Annotated[
    str | None, Query(description="This session's own entries and the shared ones.", examples=[A_SESSION])
]
ScopeFilter = Annotated[ScopeField | None, Query(description="Only entries of this scope.", examples=["Session"])]
TypeFilter = Annotated[MemoryTypeField | None, Query(description="Only entries of this type.", examples=["Fact"])]


@router.post("/sessions/{session_id}/memory", status_code=201, summary="Remember something")
def create_entry(
    session_id: SessionId, body: MemoryCreate, user_id: CurrentUser, database: DatabaseDependency
) -> MemoryEntry:
    """Make an entry. With scope Shared it belongs to all my sessions and stays when this one is deleted."""
    return _shown(database.write_sync(repository.create, user_id, session_id, body))


@router.get("/memory/", summary="List what is remembered")
def list_entries(
    user_id: CurrentUser,
    database: DatabaseDependency,
    response: Response,
    session_id: SessionFilter = None,
    scope: ScopeFilter = None,
    memory_type: TypeFilter = None,
    skip: Skip = 0,
    limit: Limit = 100,
) -> list[MemoryEntry]:
    """Return my entries, oldest first. Filters go together."""
    rows, total = database.read_sync(repository.page, user_id, session_id, scope, memory_type, skip, limit)
    response.headers[TOTAL_HEADER] = str(total)
    return [_shown(row) for row in rows]


@router.get("/memory/{entry_id}", summary="Read an entry")
def read_entry(entry_id: RowId, user_id: CurrentUser, database: DatabaseDependency) -> MemoryEntry:
    """Return an entry."""
    return _shown(database.read_sync(repository.get, user_id, entry_id))


@router.patch("/memory/{entry_id}", summary="Change an entry")
def change_entry(
    entry_id: RowId, body: MemoryChange, user_id: CurrentUser, database: DatabaseDependency
) -> MemoryEntry:
    """Change an entry; what the body leaves out stays. Scope Session needs a session_id, scope Shared drops it."""
    return _shown(database.write_sync(repository.change, user_id, entry_id, body))


@router.delete("/memory/{entry_id}", status_code=204, summary="Forget an entry")
def delete_entry(entry_id: RowId, user_id: CurrentUser, database: DatabaseDependency) -> None:
    """Delete an entry. No question that comes later carries it."""
    database.write_sync(repository.delete, user_id, entry_id)


def _shown(row: Any) -> MemoryEntry:
    return MemoryEntry.model_validate(row, from_attributes=True)
