"""Characters that are not shown, such as soft hyphens."""

from __future__ import annotations

_INVISIBLE_CHARACTERS = "\u00ad\u200b\u2060\ufeff"


def remove_invisible_characters(text: str) -> str:
    """Remove soft hyphens and other characters without width, which divide words in silence."""
    if not text.isascii():
        for character in _INVISIBLE_CHARACTERS:  # several times faster than `str.translate`
            text = text.replace(character, "")
    return text
