"""/export, /sessions/{session_id}/export and /sessions/import."""

from collections.abc import AsyncIterator, Iterator
from itertools import chain
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from rini.accounts.dependencies import CurrentUser
from rini.db.dependency import DatabaseDependency
from rini.errors import InvalidRequestError
from rini.files.dependency import FilesDependency
from rini.files.names import content_disposition, safe_filename
from rini.kit.parameters import LARGEST_ID, SessionId
from rini.transfer import export, markdown
from rini.transfer.dependency import ImportsDependency
from rini.transfer.form import FILE_FIELD, file_in, is_form
from rini.transfer.schemas import ExportFormat, Imported, ImportFormat

IMPORT_PATH = "/sessions/import"
JSONL, MARKDOWN = "application/jsonl", "text/markdown; charset=utf-8"

router = APIRouter(tags=["sessions"])

_JSONL_CONTENT = {JSONL: {"schema": {"type": "string", "description": "Lines of JSON."}}}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file, as it is written",
        "content": {**_JSONL_CONTENT, "text/markdown": {"schema": {"type": "string"}}},
    }
}
_BINARY = {"type": "string", "format": "binary"}
_CONVERSATION = {
    "name": "Hello",
    "chat_messages": [{"sender": "human", "text": "안녕"}, {"sender": "assistant", "text": "안녕하세요!"}],
}
_BODY = {
    "requestBody": {
        "required": True,
        "description": f"The file as it is, or in the field `{FILE_FIELD}` of a form.",
        "content": {
            "application/json": {
                "schema": {"type": "array", "items": {"type": "object"}},
                "examples": {"claude": {"summary": "As Claude exports it", "value": [_CONVERSATION]}},
            },
            "application/x-ndjson": {"schema": _BINARY},
            "application/zip": {"schema": _BINARY},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {FILE_FIELD: _BINARY}, "required": [FILE_FIELD]}
            },
        },
    }
}
Branch = Annotated[
    Annotated[int, Query(ge=1, le=LARGEST_ID)] | Literal["all"] | None,
    Query(
        description="For Markdown: the path to this message, or `all` messages. Else the current branch.",
        examples=["all"],
    ),
]

SharedMemory = Annotated[
    bool, Query(description="For JSON lines: with the memory of all sessions that models were given in these.")
]
Usage = Annotated[bool, Query(description="For JSON lines: with what each answer cost, which no import books.")]


@router.get(
    "/sessions/{session_id}/export", summary="Export a session", response_class=StreamingResponse, responses=_ANSWER
)
def export_session(
    session_id: SessionId,
    user_id: CurrentUser,
    database: DatabaseDependency,
    files: FilesDependency,
    format: Annotated[ExportFormat, Query(description="`jsonl` has everything, and can be imported.")] = "jsonl",  # noqa: A002  # the client's name for it
    branch: Branch = None,
    *,
    shared_memory: SharedMemory = False,
    usage: Usage = False,
) -> StreamingResponse:
    """Return a session as a file: all of it as JSON lines, or one branch to read as Markdown."""
    session = database.read_sync(export.session_row, user_id, session_id)
    if format == "markdown":
        text = markdown.document(database, user_id, session.id, branch)
        return _file(text, MARKDOWN, f"{session.alias or 'session'}.md")
    if branch not in (None, "all"):
        raise InvalidRequestError("branch: format=jsonl always has all branches; take format=markdown for one.")
    lines = export.one_session(database, files, user_id, session.id, export.Extras(shared_memory, usage))
    return _file(chain((export.header(),), lines), JSONL, f"{session.alias or 'session'}.jsonl")


@router.get(
    "/export",
    summary="Export all my sessions",
    response_class=StreamingResponse,
    responses={200: {"description": "The file, as it is written", "content": _JSONL_CONTENT}},
)
def export_all(
    user_id: CurrentUser,
    database: DatabaseDependency,
    files: FilesDependency,
    format: Annotated[Literal["jsonl"], Query(description="There is one format.")] = "jsonl",  # noqa: A002  # the client's name for it
    *,
    shared_memory: SharedMemory = False,
    usage: Usage = False,
) -> StreamingResponse:
    """Return all of my sessions in one file, oldest first."""
    del format
    lines = export.all_sessions(database, files, user_id, export.Extras(shared_memory, usage))
    return _file(chain((export.header(),), lines), JSONL, "sessions.jsonl")


@router.post(IMPORT_PATH, status_code=201, summary="Import sessions", openapi_extra=_BODY)
async def import_sessions(
    request: Request,
    user_id: CurrentUser,
    imports: ImportsDependency,
    format: Annotated[  # noqa: A002  # the client's name for it
        ImportFormat | None,
        Query(description="Whose export it is; found out where it is not said.", examples=["anthropic"]),
    ] = None,
    *,
    shared_memory: Annotated[
        bool,
        Query(description="Take the memory of all sessions that the file has too; from then on all of mine have it."),
    ] = False,
) -> Imported:
    """Make sessions of a file: Rini's own JSON lines, or the export of ChatGPT or Claude (its zip archive, or its conversations.json).

    Each session is stored whole or not at all. A file that cannot be read to its end is refused, and the answer names what was stored before.
    """
    body: AsyncIterator[bytes] = request.stream()
    kind = request.headers.get("content-type", "")
    if is_form(kind):
        body = file_in(kind, body)
    return await imports.take(user_id, body, format, shared_memory=shared_memory)


def _file(content: Iterator[bytes], media_type: str, name: str) -> StreamingResponse:
    headers = {
        "content-disposition": content_disposition("attachment", safe_filename(name)),
        "cache-control": "private",
    }
    return StreamingResponse(export.gathered(content), media_type=media_type, headers=headers)
