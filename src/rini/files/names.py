"""The names that clients give to their files: what is kept of them, and how they are told in a header."""

import unicodedata
from urllib.parse import quote

LONGEST = 255
LONGEST_SUFFIX = 16


def safe_filename(name: str | None) -> str | None:
    """Return what may be stored and shown of a client's file name: its last part, printable, at most 255 characters.

    None where nothing is left. Hangul that came in pieces (as macOS names files) is put together.
    """
    if name is None:
        return None
    last = name.replace("\\", "/").rpartition("/")[2]
    # What is not printable are controls, lone surrogates, and marks that turn the direction of writing, which hide an ending.
    kept = "".join(" " if each.isspace() else each for each in last if each.isspace() or each.isprintable())
    kept = unicodedata.normalize("NFC", kept).strip()
    if len(kept) > LONGEST:
        stem, dot, suffix = kept.rpartition(".")
        if stem and len(suffix) < LONGEST_SUFFIX:
            kept = stem[: LONGEST - len(suffix) - 1].rstrip() + dot + suffix
        else:
            kept = kept[:LONGEST].rstrip()
    return kept if kept.strip(". ") else None


def content_disposition(kind: str, name: str | None) -> str:
    """Return the header's value (RFC 6266), ``kind`` being ``inline`` or ``attachment``; the full name in RFC 8187's form."""
    if name is None:
        return kind
    plain = "".join(each if each.isascii() and each.isprintable() and each not in '"\\%' else "_" for each in name)
    value = f'{kind}; filename="{plain}"'
    return value if plain == name else f"{value}; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
