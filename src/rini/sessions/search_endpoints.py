"""GET /messages/search."""

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, BaseModel
from sqlalchemy.engine import Connection

from rini.accounts.dependencies import CurrentUser
from rini.db.dependency import DatabaseDependency
from rini.kit.parameters import A_SESSION, TOTAL_HEADER, Skip
from rini.kit.text import storable
from rini.sessions import search
from rini.sessions.schemas import Message
from rini.sessions.shown import shown_with_labels

PATH = "/messages/search"
LONGEST_QUERY = 1000
LARGEST_PAGE = 100
ANOTHER_INDEXES_SECONDS = 0.005
MATCHED_HEADER = "x-search-matched"

router = APIRouter()


class Match(BaseModel):
    """Where in a snippet what was asked for stands, in characters (Unicode code points)."""

    start: int
    end: int


class Snippet(BaseModel):
    """A stretch of a message's content. ``start`` is its place there, in characters; ``matches`` are places in ``text``."""

    text: str
    start: int
    matches: list[Match]


class FoundMessage(BaseModel):
    """A message that was found, the alias of its session, and the stretch of it that has the words."""

    message: Message
    session_alias: str | None
    snippet: Snippet


@router.get(PATH, tags=["messages"], summary="Search my messages")
def search_messages(
    user_id: CurrentUser,
    database: DatabaseDependency,
    response: Response,
    q: Annotated[
        str,
        Query(
            max_length=LONGEST_QUERY,
            description="Words in any language; nothing in it is an operator. Without any nothing is found.",
            examples=["budget"],
        ),
    ] = "",
    session_id: Annotated[str | None, Query(description="Only messages of this session.", examples=[A_SESSION])] = None,
    role: Annotated[
        Literal["user", "assistant", "system"] | None,
        Query(description="Only messages of this role.", examples=["user"]),
    ] = None,
    label: Annotated[
        str | None,
        Query(max_length=100, description="Only messages with this label.", examples=["important"]),
        AfterValidator(lambda label: label if label is None else storable(label)),
    ] = None,
    skip: Skip = 0,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="How many to return at most.")] = 10,
) -> list[FoundMessage]:
    """Return my messages that have all words of `q`, the best match first; where no message has, those that have any of them.

    `x-search-matched` says which it was, `all` or `any`; `x-total-count` how many were found. Of more than 2,000 the newest are ranked.
    """
    while database.read_sync(search.is_behind) and not database.write_sync(search.catch_up):
        time.sleep(ANOTHER_INDEXES_SECONDS)
    found, messages = database.read_sync(_search, user_id, q, session_id, role, label, skip, limit)
    response.headers[TOTAL_HEADER] = str(found.total)
    response.headers[MATCHED_HEADER] = "all" if found.has_all else "any"
    return [_shown(hit, message) for hit, message in zip(found.hits, messages, strict=True)]


def _search(
    connection: Connection,
    user_id: int,
    query: str,
    session_id: str | None,
    role: str | None,
    label: str | None,
    skip: int,
    limit: int,
) -> tuple[search.Found, list[Message]]:
    found = search.search(
        connection, user_id, query, session_id=session_id, role=role, label=label, skip=skip, limit=limit
    )
    return found, shown_with_labels(connection, [hit.message for hit in found.hits])


def _shown(hit: search.Hit, message: Message) -> FoundMessage:
    matches = [Match(start=start, end=end) for start, end in hit.matches]
    return FoundMessage(
        message=message, session_alias=hit.alias, snippet=Snippet(text=hit.snippet, start=hit.start, matches=matches)
    )
