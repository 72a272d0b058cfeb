"""Text that every database and every JSON writer takes."""


def storable(text: str) -> str:
    """Return ``text``. Raises ValueError when it holds NUL (Postgres has none) or half of a surrogate pair (UTF-8 has none)."""
    if "\x00" in text:
        raise ValueError("must not contain NUL characters (U+0000)")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain lone surrogates (U+D800 to U+DFFF)") from None
    return text
