"""/sessions and /messages."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from rini.accounts.dependencies import CurrentUser
from rini.db.dependency import DatabaseDependency
from rini.errors import NotFoundError
from rini.files.dependency import FilesDependency
from rini.files.headers import IMAGE_TYPES
from rini.files.names import content_disposition
from rini.kit.parameters import LARGEST_ID, TOTAL_HEADER, Limit, RowId, SessionId, Skip
from rini.sessions import messages, repository
from rini.sessions.schemas import Message, MessageCreate, Session, SessionWrite
from rini.sessions.shown import shown_with_labels
from rini.sessions.tree_endpoints import head_etag

router = APIRouter()


@router.post("/sessions/", status_code=201, tags=["sessions"], summary="Make a session")
def create_session(body: SessionWrite, user_id: CurrentUser, database: DatabaseDependency) -> Session:
    """Make a session."""
    fields = {"context_policy": body.context_policy}
    row = database.write_sync(repository.create, user_id, body.alias, body.system_prompt, body.memory_mode, **fields)
    return _session(row)


@router.get("/sessions/", tags=["sessions"], summary="List my sessions")
def list_sessions(
    user_id: CurrentUser, database: DatabaseDependency, response: Response, skip: Skip = 0, limit: Limit = 10
) -> list[Session]:
    """Return my sessions, oldest first."""
    rows, total = database.read_sync(repository.page, user_id, skip, limit)
    response.headers[TOTAL_HEADER] = str(total)
    return [_session(row) for row in rows]


@router.get("/sessions/{session_id}", tags=["sessions"], summary="Read a session")
def read_session(
    session_id: SessionId, user_id: CurrentUser, database: DatabaseDependency, response: Response
) -> Session:
    """Return a session. Its entity tag is that of its head."""
    row = database.read_sync(repository.get, user_id, session_id)
    response.headers["etag"] = head_etag(row.head_message_id)
    return _session(row)


@router.put("/sessions/{session_id}", tags=["sessions"], summary="Change a session")
def update_session(
    session_id: SessionId, body: SessionWrite, user_id: CurrentUser, database: DatabaseDependency
) -> Session:
    """Change a session; what the body leaves out stays."""
    changes = body.model_dump(exclude_unset=True)
    return _session(database.write_sync(repository.change, user_id, session_id, changes))


@router.delete("/sessions/{session_id}", status_code=204, tags=["sessions"], summary="Delete a session")
def delete_session(
    session_id: SessionId, user_id: CurrentUser, database: DatabaseDependency, files: FilesDependency
) -> None:
    """Delete a session with its messages and their files. What was spent in it stays in the usage records."""
    files.delete_sync(database.write_sync(repository.delete, user_id, session_id))


@router.post("/sessions/{session_id}/messages/", status_code=201, tags=["messages"], summary="Store a message")
def create_message(
    session_id: SessionId, body: MessageCreate, user_id: CurrentUser, database: DatabaseDependency
) -> Message:
    """Store a message without asking a model."""
    row = database.write_sync(messages.append, user_id, session_id, body.role, body.content, body.parent_message_id)
    return database.read_sync(shown_with_labels, [row])[0]


@router.get("/sessions/{session_id}/messages/", tags=["messages"], summary="List a session's messages")
def list_messages(
    session_id: SessionId,
    user_id: CurrentUser,
    database: DatabaseDependency,
    response: Response,
    skip: Skip = 0,
    limit: Limit = 100,
) -> list[Message]:
    """Return a session's messages, of all branches, oldest first."""
    rows, total = database.read_sync(messages.page, user_id, session_id, skip, limit)
    response.headers[TOTAL_HEADER] = str(total)
    return database.read_sync(shown_with_labels, rows)


@router.get("/messages/{message_id}", tags=["messages"], summary="Read a message")
def read_message(message_id: RowId, user_id: CurrentUser, database: DatabaseDependency) -> Message:
    """Return a message."""
    return database.read_sync(shown_with_labels, [database.read_sync(messages.get, user_id, message_id)])[0]


@router.delete("/messages/{message_id}", status_code=204, tags=["messages"], summary="Delete a message")
def delete_message(
    message_id: RowId,
    user_id: CurrentUser,
    database: DatabaseDependency,
    files: FilesDependency,
    count: Annotated[
        int | None, Query(ge=1, le=LARGEST_ID, description="How many messages go, this one included.", examples=[1])
    ] = None,
) -> None:
    """Delete a message and all below it, with their files. Where there are any below it, `count` must say how many go in all."""
    files.delete_sync(database.write_sync(messages.delete, user_id, message_id, count))


@router.get(
    "/messages/{message_id}/file",
    tags=["messages"],
    summary="Read a message's file",
    response_class=Response,
    responses={
        200: {
            "description": "The file as it was sent",
            "headers": {"content-disposition": {"description": "The name that it had.", "schema": {"type": "string"}}},
            "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in IMAGE_TYPES},
        }
    },
)
def read_file(
    message_id: RowId, user_id: CurrentUser, database: DatabaseDependency, files: FilesDependency
) -> Response:
    """Return the file that came with a message."""
    row = database.read_sync(messages.get, user_id, message_id)
    if row.file_reference is None:
        raise NotFoundError(f"The message {message_id} has no file.")
    data = files.read_sync(user_id, row.file_reference)
    is_image = row.mime_type in IMAGE_TYPES
    return Response(
        data,
        media_type=row.mime_type if is_image else "application/octet-stream",
        headers={
            "content-disposition": content_disposition("inline" if is_image else "attachment", row.original_filename),
            "cache-control": "private",
            # A user sent it: whatever is in it, a browser runs none of it as this server's own.
            "content-security-policy": "sandbox",
            "x-content-type-options": "nosniff",
        },
    )


@router.get("/messages/{message_id}/history", tags=["messages"], summary="Read the way to a message")
def read_history(message_id: RowId, user_id: CurrentUser, database: DatabaseDependency) -> list[Message]:
    """Return the messages from the root to this one."""
    return database.read_sync(shown_with_labels, database.read_sync(messages.history, user_id, message_id))


def _session(row: Any) -> Session:
    return Session.model_validate(row, from_attributes=True)
