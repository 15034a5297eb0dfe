"""Output to the terminal, without control characters from documents, file names and models.

A control character in a text could set the title of the window, write the clipboard, or hide and
reorder what is shown. It is printed as a sign in its place. JSON stays exact: there, such a
character is an escape.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any

import click

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_INVISIBLE = "\u2028\u2029\ufff9-\ufffb\U000e0000-\U000e007f"
_UNSAFE = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}{_INVISIBLE}]")
_UNSAFE_IN_JSON = re.compile(f"[\x7f-\x9f{_BIDI}{_INVISIBLE}]")


def clean(text: str) -> str:
    """Return a text whose control characters are signs: ``␛`` for ESC, the code for others."""
    return _UNSAFE.sub(_name, text.replace("\r\n", "\n"))


def clean_in_place(text: str) -> str:
    """Do as `clean` with one sign for each character, so that offsets stay valid."""
    return _UNSAFE.sub(lambda match: _name(match) if len(_name(match)) == 1 else "\u2426", text)


def _name(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # the picture of the control character
    return "\u2421" if code == 0x7F else _escape(match)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


class Styled(str):
    """A clean text with a style of our own."""


LINE_START = Styled("\r")
"""Goes back to the beginning of the line, for progress that overwrites itself."""


def style(text: object, **styles: Any) -> Styled:
    """Return a clean text with the styles of `click.style`."""
    return Styled(click.style(clean(str(text)), **styles))


def echo(*parts: object, nl: bool = True, err: bool = False) -> None:
    """Print texts one after the other, clean unless they come from `style`."""
    texts = [part if isinstance(part, Styled) else clean(str(part)) for part in parts]
    click.echo("".join(texts), nl=nl, err=err)


def secho(text: object = "", *, nl: bool = True, err: bool = False, **styles: Any) -> None:
    """Print a clean text with the styles of `click.style`."""
    echo(style(text, **styles), nl=nl, err=err)


def echo_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a value as JSON on stdout."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    click.echo(_UNSAFE_IN_JSON.sub(_escape, text))


def write_exact(text: str) -> None:
    """Write text to stdout as UTF-8, without a change; on a terminal, clean."""
    sys.stdout.flush()
    sys.stdout.buffer.write((clean(text) if sys.stdout.isatty() else text).encode())
    sys.stdout.buffer.flush()


class CleanFormatter(logging.Formatter):
    """Formats the log messages that the command line prints."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, clean."""
        return clean(super().format(record))
