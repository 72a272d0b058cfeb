"""Parameters that endpoints share: a row's or a session's id in the path, and ``skip`` and ``limit`` of lists, whose total travels in a header."""

from typing import Annotated

from fastapi import Path, Query

MOST_SKIPPED = 1_000_000_000
LARGEST_PAGE = 1000
LARGEST_ID = 2**63 - 1
TOTAL_HEADER = "x-total-count"
A_SESSION = "3f2b8c1e-5d47-4c0a-9b1e-7a6d2f0c8e15"
"""The session's id in the examples of the API's pages."""

RowId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The id from a list or an answer.", examples=[1])]
SessionId = Annotated[
    str, Path(description="The session's id.", examples=[A_SESSION], json_schema_extra={"format": "uuid"})
]
Skip = Annotated[int, Query(ge=0, le=MOST_SKIPPED, description="How many to leave out.")]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="How many to return at most.")]
