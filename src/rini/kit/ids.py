"""Identifiers."""

import os
import random
import time
import uuid


def new_call_id() -> str:
    """Return the id of one call of a model: 12 hex digits of milliseconds since 1970, then 80 random bits.

    In the order of time, so that the ledger's index grows at its end.
    """
    return f"{time.time_ns() // 1_000_000:012x}{random.getrandbits(80):020x}"


def new_session_id() -> str:
    """Return the id of a session."""
    return str(uuid.uuid4())


def session_id_or_none(text: str) -> str | None:
    """Return a session's id as it is stored, or ``None`` where ``text`` cannot be one."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def new_tool_call_id() -> str:
    """Return the id of a tool call whose model gave it none."""
    return f"call_{os.urandom(12).hex()}"
