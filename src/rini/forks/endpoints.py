"""/sessions/{session_id}/fork."""

from fastapi import APIRouter, Response

from rini.accounts.dependencies import CurrentUser
from rini.db.dependency import DatabaseDependency
from rini.forks import copying
from rini.forks.schemas import ForkRequest
from rini.kit.parameters import SessionId
from rini.sessions.schemas import Session
from rini.sessions.tree_endpoints import head_etag

router = APIRouter(tags=["sessions"])


@router.post("/sessions/{session_id}/fork", status_code=201, summary="Fork a session")
def fork_session(
    session_id: SessionId, body: ForkRequest, user_id: CurrentUser, database: DatabaseDependency, response: Response
) -> Session:
    """Make a session of another one's messages, with their labels and notes; answers that are being written are left out.

    Memory that was learned only from messages that are not copied is not copied either. What was spent stays with the first session.
    """
    row = database.write_sync(
        copying.fork,
        user_id,
        session_id,
        message_id=body.message_id,
        mode=body.mode,
        changes={"alias": body.alias} if "alias" in body.model_fields_set else {},
        with_memory=body.memory,
        with_files=body.files,
    )
    response.headers["etag"] = head_etag(row.head_message_id)
    return Session.model_validate(row, from_attributes=True)
