"""Identifiers."""

import os
import uuid


def new_call_id() -> str:
    """Return the id of one call of a model: 128 random bits in hex."""
    return os.urandom(16).hex()


def new_session_id() -> str:
    """Return the id of a session."""
    return str(uuid.uuid4())


def session_id_or_none(text: str) -> str | None:
    """Return a session's id as it is stored, or ``None`` where ``text`` cannot be one."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None
