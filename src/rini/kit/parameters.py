"""Parameters that endpoints share: a row's id in the path, and ``skip`` and ``limit`` of lists, whose total travels in a header."""

from typing import Annotated

from fastapi import Path, Query

MOST_SKIPPED = 1_000_000_000
LARGEST_PAGE = 1000
LARGEST_ID = 2**63 - 1
TOTAL_HEADER = "x-total-count"

RowId = Annotated[int, Path(ge=1, le=LARGEST_ID)]
Skip = Annotated[int, Query(ge=0, le=MOST_SKIPPED, description="How many to leave out.")]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="How many to return at most.")]
