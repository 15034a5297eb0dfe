"""Coverage of a file: which of its words are not in the text of the document, and why."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rag.types.base import FrozenModel, Text

OmissionReason = Literal[
    "hidden", "deleted", "comment", "navigation", "repeated", "picture", "unreadable"
]
"""Why content is left out: hidden by its author, deleted in a tracked change, a comment, part of
the navigation of a page, repeated on each page, a picture (also one as base64), or text whose
characters cannot be read."""


class Omission(FrozenModel):
    """Content of a file that is left out of the text on purpose.

    ``name`` says what it is, such as ``row 4`` or ``sheet Salaries``. ``words`` is the number of
    its words.
    """

    reason: OmissionReason
    name: Text
    words: int = Field(0, ge=0)


class Coverage(FrozenModel):
    """How much of a file is in the text of its document.

    ``words`` is the number of words in the file. ``missing`` are those that are neither in the
    text nor in ``omissions``, and ``missing_words`` the first of them, each once.
    """

    words: int = Field(0, ge=0)
    missing: int = Field(0, ge=0)
    missing_words: tuple[Text, ...] = ()
    omissions: tuple[Omission, ...] = ()

    @property
    def missing_share(self) -> float:
        """Share of the words that are missing, 0 to 1."""
        return self.missing / self.words if self.words else 0.0
