"""What a provider sent that canon has no name for: ``{wire: {field: JSON value}}``.

An encoder gives back the fields of its own wire format and never another's, so an unknown field survives
the way to the provider it came from and reaches no other.
"""

from collections.abc import Mapping
from typing import Any

Extras = Mapping[str, Mapping[str, Any]]


def extras_of(extras: Extras | None, wire: str) -> Mapping[str, Any]:
    """Return the fields that belong to ``wire``, or an empty mapping."""
    if extras is None:
        return _EMPTY
    return extras.get(wire, _EMPTY)


def with_extras(wire: str, fields: Mapping[str, Any]) -> Extras | None:
    """Return ``fields`` as the extras of ``wire``; ``None`` when there are none."""
    return {wire: fields} if fields else None


_EMPTY: Mapping[str, Any] = {}
