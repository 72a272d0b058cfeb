"""What the import answers."""

from typing import Literal

from pydantic import BaseModel

ExportFormat = Literal["jsonl", "markdown"]
ImportFormat = Literal["rini", "chatgpt", "anthropic"]

REASONS = {
    "attached_file": "The export has a file's name without its content; the name stands in the message.",
    "empty_message": "A message says nothing.",
    "head": "The current branch ends in a message that is not there; it ends in the last one now.",
    "hidden_message": "A message was hidden from you too: the service's own instructions.",
    "image_not_there": "The export names an image without its bytes.",
    "not_an_image": "A file is no PNG, JPEG, GIF or WebP that can be read.",
    "result_without_call": "A tool's result has no call that it belongs to.",
    "service_message": "A part is the service's own bookkeeping.",
    "shared_memory": "Memory of all sessions was not asked for (shared_memory=true).",
    "sound": "Sound is not kept; a transcript is, where there is one.",
    "unknown_part": "A part is of a kind that is not known.",
    "unknown_role": "A message is of a role that is not known.",
    "usage": "What was spent is told in the file, and stays in the ledger of the server on which it was spent.",
}
"""Why something was left out, by its code."""


class LeftOut(BaseModel):
    """What was not imported: ``count`` of it, for the reason that ``code`` names and ``why`` tells."""

    code: str
    why: str
    count: int


class ImportedSession(BaseModel):
    """A session that was stored."""

    id: str
    alias: str | None
    messages: int
    left_out: list[LeftOut]


class Imported(BaseModel):
    """What came of an import. ``empty`` counts conversations without a message, which make no session."""

    format: ImportFormat
    sessions: list[ImportedSession]
    empty: int
