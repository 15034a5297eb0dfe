"""Characters that are not shown, such as soft hyphens."""

from __future__ import annotations

_INVISIBLE_CHARACTERS = dict.fromkeys([0xAD, 0x200B, 0x2060, 0xFEFF])


def remove_invisible_characters(text: str) -> str:
    """Remove soft hyphens and other characters without width, which divide words in silence."""
    return text if text.isascii() else text.translate(_INVISIBLE_CHARACTERS)
