"""Titles of documents: which of the texts that a file offers is a title, and which is a default."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from typing import NamedTuple

from connectors.parsers.text import extract_file_name
from rag.types import Mark

MAX_TITLE_CHARACTERS = 200
_MAX_TITLE_OFFSET = 2_000  # characters; a heading of level 1 further down is not the title

_FILE_SUFFIXES = (
    "docx?|docm|dotx?|odt|ott|rtf|pages|wpd|txt|md|tex|dvi|ps|eps|pdf|indd|qxd|p65|fm|ai|cdr|dwg"
    "|xlsx?|xlsm|xlsb|ods|csv|numbers|pptx?|pptm|potx?|odp|key|html?|xml|jpe?g|png|tiff?|gif|bmp"
)
# The names that programs give to a new file, in the languages in which they are common.
_DEFAULT_TITLE = re.compile(
    rf"""
    microsoft\ (?:office\ )?(?:word|excel|powerpoint|publisher|visio)\b.*
    | (?:power\s?point|word|excel)[ -](?:presentation|document|worksheet|präsentation|dokument)
    | (?:présentation|presentación|presentazione|apresentação)\ (?:de\ |di\ |do\ )?powerpoint
    | untitled\b.* | unbenannt\b.* | ohne\ titel.* | sans\ (?:titre|nom)\b.* | sin\ título.*
    | senza\ (?:titolo|nome).* | sem\ título.* | no\ title | zonder\ titel | namnlös.*
    | (?:new|neues?|nouveau|nuevo|nuovo)?\s*
      (?:document|dokument|documento|presentation|präsentation|présentation|presentación
      |presentazione|spreadsheet|workbook|arbeitsmappe|classeur|title|titel)[\s_-]*\(?\d*\)?
    | (?:book|mappe|libro|cartel|tabelle|sheet|feuil|folie|slide|diapositive|drawing|zeichnung
      |layout|page|seite|scan|image|img|doc)[\s_-]*\(?\d+\)?
    | about:blank | (?:file|https?|ftp)://\S* | [a-z]:\\.* | \\\\.* | /?(?:[^\s/]+/)+[^\s/]+\.\w+
    | .*\.(?:{_FILE_SUFFIXES})
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MONTHS = (
    "jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez|janv|févr|mars|avr|juin|juil"
    "|août|déc|ene|abr|ago|dic"
)
_DATE_WORD = re.compile(rf"(?:(?:{_MONTHS})[^\W\d]*|\d+(?:st|nd|rd|th|h)?|t|z|of|de|am|pm|um|at)")
_WORD = re.compile(r"[^\W\d_]+|\d+[^\W\d_]*")
_LETTER = re.compile(r"[^\W\d_]")


class _Heading(NamedTuple):
    level: int
    start: int
    text: str


def choose_title(*candidates: object, heading: str = "", uri: str) -> str:
    """Return the first of `candidates` that is a title, else `heading`, else the file name.

    A candidate is a text, a list of texts, or None. The heading is not used if it is only a number
    or a date.
    """
    for candidate in candidates:
        parts = candidate if isinstance(candidate, list | tuple) else (candidate,)
        title = " ".join(" ".join(part for part in parts if isinstance(part, str)).split())
        if is_title(title, uri):
            return title[:MAX_TITLE_CHARACTERS].strip()
    heading = " ".join(heading.split())
    if _LETTER.search(heading) and not _is_date(heading):
        return heading[:MAX_TITLE_CHARACTERS].strip()
    return extract_file_name(uri)[:MAX_TITLE_CHARACTERS]


def is_title(title: str, uri: str = "") -> bool:
    """Whether `title` names the content of the file `uri`.

    Not a title are the default names of programs (``Untitled``, ``Document1``, ``Microsoft Word -
    draft.doc``), file names, and bare numbers and dates.
    """
    title = title.strip()[: 2 * MAX_TITLE_CHARACTERS]
    letters = _LETTER.findall(title)
    if not letters or (len(letters) == 1 and re.search(r"\d", title)):
        return False
    if _DEFAULT_TITLE.fullmatch(title) or _is_date(title):
        return False
    name = extract_file_name(uri).casefold() if uri else ""
    stem = posixpath.splitext(name)[0]
    return title.casefold() != name and (title.casefold() != stem or " " in title)


def _is_date(title: str) -> bool:
    words = _WORD.findall(title.casefold())
    return any(word[0].isdigit() for word in words) and all(map(_DATE_WORD.fullmatch, words))


def find_title_heading(text: str, marks: Sequence[Mark]) -> str:
    """Return the heading that is the title of the Markdown `text`; "" if there is none.

    That is the first heading of level 1, if it is the first heading or stands near the beginning.
    If there is none of level 1, it is the first heading, if no other has its level or a higher one.
    """
    headings = [
        _Heading(_read_level(text, mark), mark.start, mark.value[-1])
        for mark in marks
        if mark.kind == "heading" and isinstance(mark.value, tuple) and mark.value
    ]
    if not headings:
        return ""
    first = headings[0]
    top_level = min(heading.level for heading in headings)
    if top_level > 1:
        is_alone = sum(heading.level == top_level for heading in headings) == 1
        return first.text if first.level == top_level and is_alone else ""
    top = next(heading for heading in headings if heading.level == 1)
    return top.text if top is first or top.start <= _MAX_TITLE_OFFSET else ""


def _read_level(text: str, mark: Mark) -> int:
    """Return the level of a heading: that in the Markdown, else the length of its path."""
    line, _, rest = text[mark.start : mark.start + 2_000].lstrip().partition("\n")
    signs = len(line) - len(line.lstrip("#"))
    if 1 <= signs <= 6:
        return signs
    underline = rest.partition("\n")[0].strip()
    if underline and set(underline) <= {"-"}:
        return 2
    return 1 if underline and set(underline) <= {"="} else len(mark.value)  # type: ignore[arg-type]
