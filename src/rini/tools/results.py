"""What a tool answered, as text for a model."""

import json
from typing import Any, cast

from rini.canon import Text
from rini.tools.listing import shortened

MAX_CHARACTERS = 100_000
"""The most characters of one answer that a model is shown."""


def shown_text(content: list[Any], structured: Any) -> tuple[Text, ...]:
    """Return the parts that show an answer's ``content`` (JSON values, by the protocol's names), never none.

    What is no text is told in a note. ``structured`` is shown where there is no text.
    """
    texts = [text for block in content if (text := _shown(block))]
    if structured is not None and not any(_is_text(block) for block in content):
        texts.append(json.dumps(structured, ensure_ascii=False))
    return _within(texts) or (Text("[The tool answered with nothing.]"),)


def _within(texts: list[str]) -> tuple[Text, ...]:
    parts: list[Text] = []
    left = MAX_CHARACTERS
    for number, text in enumerate(texts):
        clean = shortened(text, len(text))
        if len(clean) <= left:
            parts.append(Text(clean))
            left -= len(clean)
            continue
        more = len(clean) - left + sum(map(len, texts[number + 1 :]))
        parts.append(Text(f"{clean[:left]}[cut here: {more} more characters]"))
        break
    return tuple(parts)


def _is_text(block: Any) -> bool:
    return block["type"] == "text" and bool(block["text"])


def _shown(block: Any) -> str:
    match block["type"]:
        case "text":
            return block["text"]
        case "image" | "audio":
            return _note(block["mimeType"], block["data"])
        case "resource":
            resource: dict[str, Any] = block["resource"]
            return (
                resource["text"]
                if "text" in resource
                else _note(resource.get("mimeType") or "a file", resource["blob"])
            )
        case "resource_link":
            return f"[a link to {shortened(cast('str', block['uri']), 2000)}: not followed]"
        case _:
            return "[content of a kind that is not known here: not shown]"


def _note(kind: str, data: str) -> str:
    size = len(data) * 3 // 4
    return f"[{shortened(kind, 100)}, {f'{size} bytes' if size < 1000 else f'{round(size / 1000)} kB'}: not shown]"
