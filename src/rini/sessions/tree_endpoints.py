"""The tree of a session: /sessions/{id}/tree and /head; the ways to, below and beside a message; labels and notes."""

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response

from rini.accounts.dependencies import CurrentUser
from rini.db import AnyRow
from rini.db.dependency import DatabaseDependency
from rini.errors import InvalidRequestError
from rini.kit.parameters import LARGEST_ID, TOTAL_HEADER, Limit, RowId, SessionId, Skip
from rini.sessions import marks, repository, tree, ways
from rini.sessions.schemas import Message
from rini.sessions.shown import shown_with_labels
from rini.sessions.tree_schemas import Head, HeadWrite, LabelCount, MessageMarks, Tree, TreeNode

ANY_HEAD = "*"
_HEAD_TAG = re.compile(r'(?:W/)?"([0-9]{1,19})"')
LABELS_PATH = "/messages/labels"

router = APIRouter()


def head_etag(head_id: int | None) -> str:
    """Return the entity tag of a session's head."""
    return f'"{head_id or 0}"'


@router.get("/sessions/{session_id}/tree", tags=["sessions"], summary="Read a session's tree")
def read_tree(
    session_id: SessionId,
    user_id: CurrentUser,
    database: DatabaseDependency,
    response: Response,
    shape: Annotated[
        Literal["nested", "flat"], Query(description="Children within their parents, or one list, level by level.")
    ] = "nested",
    top: Annotated[
        int | None,
        Query(alias="from", ge=1, le=LARGEST_ID, description="The message at the top.", examples=[1]),
    ] = None,
    after: Annotated[
        int, Query(ge=0, le=LARGEST_ID, description="Go on after this message at the top (with `from`: below it).")
    ] = 0,
    depth: Annotated[int, Query(ge=1, le=100, description="How many levels to return.")] = 20,
    breadth: Annotated[int, Query(ge=1, le=1000, description="How many children of each message to return.")] = 20,
    limit: Annotated[int, Query(ge=1, le=tree.MOST_NODES, description="How many messages to return at most.")] = 200,
) -> Tree:
    """Return a page of a session's tree, from its roots or from a message on: as many levels, children and messages as are asked for."""
    page = database.read_sync(
        tree.page, user_id, session_id, top=top, after=after, depth=depth, breadth=breadth, most=limit
    )
    response.headers["etag"] = head_etag(page.head_id)
    nested = shape == "nested"
    return Tree(
        session_id=session_id.lower(),
        head_message_id=page.head_id,
        message_count=page.message_count,
        cost_usd=page.cost_usd,
        shape=shape,
        next_after=page.roots_after,
        messages=[_node(node, page.head_id, nested=nested) for node in (page.roots if nested else page.nodes)],
    )


@router.get("/sessions/{session_id}/head", tags=["sessions"], summary="Read a session's head")
def read_head(session_id: SessionId, user_id: CurrentUser, database: DatabaseDependency, response: Response) -> Head:
    """Return the tip of a session's current branch; its entity tag goes with a change of it."""
    return _head(database.read_sync(repository.get, user_id, session_id), response)


@router.put("/sessions/{session_id}/head", tags=["sessions"], summary="Move a session's head")
def move_head(
    session_id: SessionId,
    body: HeadWrite,
    user_id: CurrentUser,
    database: DatabaseDependency,
    response: Response,
    if_match: Annotated[
        str | None,
        Header(
            description="The entity tag of the head as you know it: where it is another one by now, 412 says so.",
            examples=["*"],
        ),
    ] = None,
) -> Head:
    """Make a message the tip of the current branch: the next question goes below it."""
    row = database.write_sync(ways.set_head, user_id, session_id, body.message_id, _expected(if_match))
    return _head(row, response)


@router.get("/messages/", tags=["messages"], summary="List my messages with a label")
def list_labelled(
    user_id: CurrentUser,
    database: DatabaseDependency,
    response: Response,
    label: Annotated[str, Query(min_length=1, max_length=100, description="The label.", examples=["idea"])],
    skip: Skip = 0,
    limit: Limit = 100,
) -> list[Message]:
    """Return my messages that have a label, of all sessions, the newest first."""
    return _messages(database, response, database.read_sync(marks.labelled, user_id, label, skip, limit))


@router.get(LABELS_PATH, tags=["messages"], summary="List my labels")
def list_labels(user_id: CurrentUser, database: DatabaseDependency) -> list[LabelCount]:
    """Return my labels, each with the number of messages that have it."""
    rows = database.read_sync(marks.counted, user_id)
    return [LabelCount.model_validate(row, from_attributes=True) for row in rows]


@router.patch("/messages/{message_id}", tags=["messages"], summary="Label a message")
def mark_message(message_id: RowId, body: MessageMarks, user_id: CurrentUser, database: DatabaseDependency) -> Message:
    """Give a message labels and a note. Its text never changes: another one is another message (`POST …/edit`)."""
    row = database.write_sync(
        marks.mark,
        user_id,
        message_id,
        labels=body.labels,
        note=body.note,
        sets_note="note" in body.model_fields_set,
    )
    return database.read_sync(shown_with_labels, [row])[0]


@router.get("/messages/{message_id}/path", tags=["messages"], summary="Read a part of the way to a message")
def read_path(
    message_id: RowId,
    user_id: CurrentUser,
    database: DatabaseDependency,
    response: Response,
    skip: Skip = 0,
    limit: Limit = 100,
) -> list[Message]:
    """Return messages from the root to this one, a page at a time; `/history` returns all of them."""
    return _messages(database, response, database.read_sync(ways.path, user_id, message_id, skip, limit))


@router.get("/messages/{message_id}/children", tags=["messages"], summary="List the messages below one")
def list_children(
    message_id: RowId,
    user_id: CurrentUser,
    database: DatabaseDependency,
    response: Response,
    skip: Skip = 0,
    limit: Limit = 100,
) -> list[Message]:
    """Return the messages right below one, oldest first: of a question its answers."""
    return _messages(database, response, database.read_sync(ways.children, user_id, message_id, skip, limit))


@router.get("/messages/{message_id}/siblings", tags=["messages"], summary="List the messages beside one")
def list_siblings(
    message_id: RowId,
    user_id: CurrentUser,
    database: DatabaseDependency,
    response: Response,
    skip: Skip = 0,
    limit: Limit = 100,
) -> list[Message]:
    """Return the messages that have the same parent, this one among them, oldest first."""
    return _messages(database, response, database.read_sync(ways.siblings, user_id, message_id, skip, limit))


def _messages(database: DatabaseDependency, response: Response, found: tuple[list[AnyRow], int]) -> list[Message]:
    rows, total = found
    response.headers[TOTAL_HEADER] = str(total)
    return database.read_sync(shown_with_labels, rows)


def _head(row: AnyRow, response: Response) -> Head:
    response.headers["etag"] = head_etag(row.head_message_id)
    return Head(session_id=row.id, head_message_id=row.head_message_id)


def _expected(if_match: str | None) -> frozenset[int] | None:
    """Return the heads one of which a client expects, 0 for none; None where any will do. Raises InvalidRequestError.

    They are a list (RFC 9110, section 13.1.1). A proxy that compresses makes tags weak; they name the same head as before.
    """
    if if_match is None or if_match.strip() == ANY_HEAD:
        return None
    tags = [_HEAD_TAG.fullmatch(tag.strip()) for tag in if_match.split(",")]
    found = [int(tag[1]) for tag in tags if tag is not None]
    if len(found) < len(tags):
        raise InvalidRequestError('If-Match: must be the entity tag of a head, such as "17", or *.')
    return frozenset(found)


def _node(node: tree.Node, head_id: int | None, *, nested: bool) -> TreeNode:
    row: Any = node.row
    preview = " ".join(row.start.split())
    return TreeNode.model_construct(
        id=row.id,
        parent_message_id=row.parent_message_id,
        depth=row.depth,
        role=row.role,
        status=row.status,
        preview=preview[: tree.PREVIEW_CHARACTERS],
        provider=row.provider,
        model=row.model,
        tokens=row.size_tokens if row.token_count is None else row.token_count,
        cost_usd=node.cost_usd,
        labels=node.labels,
        note=row.note,
        created_at=row.created_at,
        on_head_path=node.on_path,
        is_head=row.id == head_id,
        child_count=row.child_count,
        children_after=node.children_after,
        children=[_node(child, head_id, nested=True) for child in node.children] if nested else None,
    )
