"""Markdown on the terminal while it is written: block by block, the last one as it grows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

from rag.cli import terminal

if TYPE_CHECKING:
    from rich.live import Live

_REFRESHES_PER_SECOND = 8
_FENCE = re.compile(r"^ {0,3}(```|~~~)", re.MULTILINE)
_NO_PROSE = re.compile(r"\s*(?:[-*+|>#]|\d+[.)]\s|$)")


class MarkdownStream:
    """Prints Markdown on a terminal as it arrives; at the end of the block, what is left.

    A finished block is printed once and stays; the block that is being written is drawn anew with
    each piece. Links are shown as text, and control characters as signs.
    """

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._live: Live | None = None
        self._pending = ""

    def write(self, piece: str) -> None:
        """Show a piece of the text."""
        self._pending += piece
        blocks, self._pending = split_finished_blocks(self._pending)
        if blocks:
            self._stop()
            self._console.print(_render(blocks))
        if self._pending.strip():
            self._draw()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> None:
        """Print the rest of the text, and stop drawing."""
        self._stop()
        if self._pending.strip():
            self._console.print(_render(self._pending))
        self._pending = ""

    def _draw(self) -> None:
        from rich.live import Live

        if self._live is None:
            self._live = Live(
                console=self._console, transient=True, refresh_per_second=_REFRESHES_PER_SECOND
            )
            self._live.start()
        self._live.update(_render(self._pending))

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def split_finished_blocks(text: str) -> tuple[str, str]:
    r"""Return the text up to the last blank line outside of a fence, and the rest.

    >>> split_finished_blocks("One.\n\nTw")
    ('One.\n\n', 'Tw')
    """
    end = 0
    for match in re.finditer(r"\n[ \t]*\n+", text):
        if len(_FENCE.findall(text[: match.end()])) % 2 == 0:
            end = match.end()
    return text[:end], text[end:]


def _render(text: str) -> Any:
    from rich.markdown import Markdown

    return Markdown(keep_line_breaks(terminal.clean(text)), hyperlinks=False)


def keep_line_breaks(text: str) -> str:
    r"""Return Markdown in which the lines of a paragraph stay lines.

    >>> keep_line_breaks("One [1]\nTwo [2]")
    'One [1]  \nTwo [2]'
    """
    lines = text.split("\n")
    is_code = False
    for i, line in enumerate(lines[:-1]):
        is_code ^= bool(_FENCE.match(line))
        if not is_code and not _NO_PROSE.match(line) and not _NO_PROSE.match(lines[i + 1]):
            lines[i] = f"{line}  "
    return "\n".join(lines)
