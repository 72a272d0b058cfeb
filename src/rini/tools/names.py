"""The names under which tools are offered to models: what providers take, and each one once.

OpenAI and Anthropic take 1 to 64 of the characters A-Z a-z 0-9 _ -; Gemini wants a letter or _ first.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_MOST = 64
_HASH = 8
_TAKEN_AS_IT_IS = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")
_NOT_TAKEN = re.compile(r"[^a-zA-Z0-9_-]+")


class OwnName(NamedTuple):
    """A tool by its own name, and whose it is: ``server`` is the server's key, ``server_name`` what people call it."""

    server: str
    server_name: str
    tool: str


def offered_names(tools: Sequence[OwnName]) -> list[str]:
    """Return the name that each of ``tools`` is offered under, in their order. No two of them are equal.

    It is the tool's own where providers take that and nobody else has it, otherwise ``server__tool``, with a hash where that is
    too long or taken too. Which it is does not depend on the order.
    """
    owners = Counter(each.tool for each in tools)
    names = {each: each.tool for each in tools if owners[each.tool] == 1 and _TAKEN_AS_IT_IS.fullmatch(each.tool)}
    taken = set(names.values())
    others = sorted(set(tools) - names.keys())
    wanted = {each: _told_apart(each) for each in others}
    wishes = Counter(wanted.values())
    for each in others:
        name, tries = wanted[each], 0
        while len(name) > _MOST or name in taken or (tries == 0 and wishes[name] > 1):
            name = _hashed(wanted[each], each, tries)
            tries += 1
        names[each] = name
        taken.add(name)
    return [names[each] for each in tools]


def _told_apart(own: OwnName) -> str:
    server = _NOT_TAKEN.sub("_", own.server_name).strip("_") or _NOT_TAKEN.sub("_", own.server)
    name = f"{server}__{_NOT_TAKEN.sub('_', own.tool)}"
    return name if _TAKEN_AS_IT_IS.match(name) else f"_{name}"


def _hashed(name: str, own: OwnName, tries: int) -> str:
    digest = hashlib.sha256(f"{own.server}\0{own.tool}\0{tries}".encode()).hexdigest()
    return f"{name[: _MOST - _HASH - 1]}_{digest[:_HASH]}"
