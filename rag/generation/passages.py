"""Passages: the numbered spans of sources that an answer is made from.

A passage knows the headings, tables and records of its source. So a sentence is compared together
with what a reader sees beside it: ``Catalogue > H-120 > Warranty: Three years.``
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from urllib.parse import unquote, urlsplit

from rag.generation.markers import show_as_notes
from rag.text.date_ranges import find_exact_dates
from rag.text.sentences import Span, sentences
from rag.text.tokenization import words
from rag.types import Mark, SourceLocation, Table, format_location

_MAX_RECORD_NAME_CHARACTERS = 120
_MAX_PATH_PARTS = 3
_PATH_IDENTIFIER = re.compile(r"(?<![^\W\d_])[^\W\d_]++[-.]?\d[^\W_]*+")
_PATH_WORD = re.compile(r"[^\W\d_]+|\d+")
_FIRST_PERSON = re.compile(
    r"\b(?:I|[Ww]e|[Mm]y|[Oo]ur|[Ii]ch|[Ww]ir|[Mm]ein|[Uu]nser|[Nn]ous|[Jj]e)\b"
)
_SENDER = re.compile(
    r"(?:[A-Z][\w-]{1,20}:[^\n]*\n){0,3}(?:From|Von|De):[ \t]*+(?P<name>[^\n<]{1,80})"
)
# Of a paragraph or list item: "**Roof.**", "2. Roof.", "E4 flue blocked.", "Yes."
_LABEL = re.compile(
    r"(?:[-*•]\s+)?(?:(?P<number>\d{1,3}[.)])\s+|\d{1,2}\s+)?(?P<sign>\*{1,2}|_)?(?P<words>[^.!?:*_\n]{1,60})"
    r"[.!](?:\*{1,2}|_)?"
)
_LABELLED_LINE = re.compile(r"(?:[-*•]\s+)?[*_]{0,2}[^\W\d_][^:\n]{0,40}:[*_]{0,2}\s+\S")
_MIN_RECORD_LINES, _MAX_RECORD_LINES = 4, 15  # shorter ones are runs of sentences
_NUMBER_START = re.compile(r"(?:[-*•]\s+)?\d{1,3}[.)]?\s")
_REPLIES = frozenset({"yes", "no", "ja", "nein", "oui", "non", "sí"})
_MAX_LABEL_WORDS, _MAX_BOLD_LABEL_WORDS = 2, 5
_HEADING_MARKUP = "#=*_-~ \t\r"
_HEADING_LINE = re.compile(r"\s*+(?P<line>[^\n]+)(?:\n[ \t]*(?:=+|-+)[ \t]*(?=\n|\Z))?")


@dataclass(frozen=True, slots=True)
class Passage:
    """The span ``[start, end)`` of a source that a model reads, numbered from 1."""

    number: int
    uri: str
    start: int
    end: int
    text: str
    title: str
    headings: tuple[str, ...]
    location: SourceLocation
    score: float
    """The best score of its hits, divided by the best score of all hits: 0..1."""
    joints: tuple[int, ...] = ()
    """Offsets in `text` where chunks with an unknown gap meet; no quote crosses one."""
    marks: tuple[Mark, ...] = ()
    """The headings, tables, records and tables of contents in this span.

    Their offsets are those in the source.
    """

    @property
    def label(self) -> str:
        """The origin for people and models: title, headings, page or other source location."""
        path = _join_path(self.title, *self.headings)
        return ", ".join(part for part in (path, format_location(self.location)) if part)

    def headings_at(self, offset: int) -> tuple[str, ...]:
        """Return the headings above the character at `offset` of `text`."""
        for mark in self._find_marks("heading", offset):
            if isinstance(mark.value, tuple):
                return mark.value
        return self.headings

    def label_at(self, offset: int) -> str:
        """Return title and headings above the character at `offset`, and the caption of its table.

        In a record of several lines, the first line, which names it, is added.
        """
        if not self.marks:
            return _join_path(self.title, *self.headings)
        captions = [
            mark.value.name
            for mark in self._find_marks("table", offset)
            if isinstance(mark.value, Table)
        ]
        return _join_path(
            self.title, *self.headings_at(offset), *captions, self._find_record_name(offset)
        )

    @property
    def document_name(self) -> str:
        """File name and folders of the source as words; "" if the uri has no path."""
        return _split_path(self.uri)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label of a part of the passage, once; see `label_at`."""
        starts = {0, *(mark.start - self.start for mark in self.marks)}
        offsets = sorted(start for start in starts if 0 <= start < max(1, len(self.text)))
        return tuple(dict.fromkeys(map(self.label_at, offsets)))

    def list_dates(self, label: str) -> frozenset[str]:
        """Return the days and months in a label of the passage, and in the name of its file.

        They are in the form of `rag.text.date_ranges.find_exact_dates`.
        """
        file_name = unquote(self.uri.rpartition("/")[2]).replace("_", " ")
        return find_exact_dates(label) | find_exact_dates(file_name)

    def describe(self, span: Span) -> str:
        """Return the text of a span; rows of tables have the names of their columns."""
        table = self.table_at(span.start)
        text = self.text[span.start : span.end]
        if table is None or table.layout == "pairs":
            return text
        return "\n".join(table.describe_row(row) for row in text.split("\n"))

    def row_labels(self, span: Span) -> list[str]:
        """Return the first value of each row in a span of several rows of a table; else nothing."""
        rows = self.text[span.start : span.end].split("\n")
        table = self.table_at(span.start)
        if table is None or len(rows) < 2:
            return []
        return [table.find_row_label(row) for row in rows]

    def premise(self, span: Span) -> str:
        """Return what a reader knows from a span: its text below its title and headings.

        Who writes "we" in a mail is the sender.
        """
        label = self.label_at(span.start)
        if _FIRST_PERSON.search(self.text, span.start, span.end):
            label = _join_path(label, self._find_sender())
        return f"{label}: {self.describe(span)}" if label else self.describe(span)

    def _find_sender(self) -> str:
        """Return the sender of a mail; "" for other sources, and below the head of the mail."""
        match = _SENDER.match(self.text) if self.start == 0 else None
        return match["name"].strip() if match else ""

    def table_at(self, offset: int) -> Table | None:
        """Return the table at `offset` of `text`; None if there is none."""
        for mark in self._find_marks("table", offset):
            if isinstance(mark.value, Table):
                return mark.value
        return None

    def is_in_contents(self, offset: int) -> bool:
        """Whether the character at `offset` of `text` is in a table of contents."""
        return bool(self._find_marks("contents", offset))

    def column_at(self, span: Span) -> str:
        """Return the name of the column that contains a span; "" if there is none."""
        table = self.table_at(span.start)
        if table is None:
            return ""
        start = self.text.rfind("\n", 0, span.start) + 1
        end = self.text.find("\n", span.end)
        row = self.text[start : end if end >= 0 else len(self.text)]
        return table.find_column(row, span.start - start, span.end - start)

    @property
    def text_for_model(self) -> str:
        """The text; if it begins within a table, below the header row of this table.

        Markers of the source are notes: a model would repeat them as citations.
        """
        table = self.table_at(0)
        text = show_as_notes(self.text)
        if table is None or table.layout != "cells" or not table.column_line:
            return text
        (mark,) = self._find_marks("table", 0)
        if self.start < mark.start + table.header:
            return text
        names = "".join(f" {name} |" for name in table.columns)
        return f"|{names}\n|{' --- |' * len(table.columns)}\n{text}"

    def runs(self, max_sentences: int = 3) -> tuple[tuple[Span, ...], ...]:
        """Return every run of up to `max_sentences` consecutive sentences, as spans of `text`.

        A row of a table is one sentence; its header is none, and a heading is none. No run crosses
        a heading, or the beginning or end of a table or record. All lines of labels and values
        below each other are a run, too.
        """
        sections = _list_sentences(self.text, *self._find_bounds())
        records = (tuple(section) for section in sections if self._is_record(section))
        return (*_list_runs(sections, max_sentences), *records)

    def _is_record(self, section: Sequence[Span]) -> bool:
        """Whether a section has only lines such as "Owner: Ann Lee", and not too many."""
        return _MIN_RECORD_LINES <= len(section) <= _MAX_RECORD_LINES and all(
            _LABELLED_LINE.match(self.text, span.start, span.end) for span in section
        )

    def sentence_spans(self) -> list[Span]:
        """Return the spans of the sentences in `text`."""
        return [
            span for spans in _list_sentences(self.text, *self._find_bounds()) for span in spans
        ]

    def sentences_beside(self, span: Span) -> tuple[Span, ...]:
        """Return the sentences of the section, table or record that a span is in, also its own."""
        parts = _list_sentences(self.text, *self._find_bounds())
        return next(
            (part for part in parts if part and part[0].start <= span.start < part[-1].end), (span,)
        )

    def heading_spans(self) -> list[tuple[tuple[str, ...], Span]]:
        """Return the path and the span of each heading line in `text`."""
        starts = [(0, self.headings)]
        for mark in self.marks:
            if mark.kind == "heading" and isinstance(mark.value, tuple):
                starts.append((mark.start - self.start, mark.value))
        spans = {
            path: span
            for start, path in starts
            if path and (span := self._find_heading_line(start, path)) is not None
        }
        return sorted(spans.items(), key=lambda item: item[1])

    def find_longest_span(self) -> Span | None:
        """Return the longest quotable span, without surrounding white space."""
        joints, _, _ = self._find_bounds()
        start, end = max(
            _split_at_joints(self.text, joints), key=lambda part: (part[1] - part[0], -part[0])
        )
        piece = self.text[start:end]
        start += len(piece) - len(piece.lstrip())
        return Span(start, start + len(piece.strip())) if piece.strip() else None

    def _find_marks(self, kind: str, offset: int) -> list[Mark]:
        if not self.marks:
            return []
        position = self.start + offset
        return [m for m in self.marks if m.kind == kind and m.start <= position < m.end]

    def _find_record_name(self, offset: int) -> str:
        """Return the first line of the record at `offset`, if `offset` is below this line."""
        for mark in self._find_marks("row", offset):
            start = max(0, mark.start - self.start)
            name, _, _ = self.text[start : mark.end - self.start].partition("\n")
            if offset > start + len(name):
                return name.strip()[:_MAX_RECORD_NAME_CHARACTERS]
        return ""

    def _find_bounds(
        self,
    ) -> tuple[tuple[int, ...], tuple[tuple[int, int, int], ...], tuple[int, ...]]:
        """Return the offsets that no quote crosses, tables and headings.

        A table is (start, end, first row); a heading is its start, and ends at the next offset.
        """
        joints = set(self.joints)
        headings: set[int] = set()
        tables: list[tuple[int, int, int]] = []

        def add_heading(start: int, path: tuple[str, ...]) -> None:
            if (heading := self._find_heading_line(start, path)) is not None:
                headings.add(heading.start)
                joints.update(heading)

        add_heading(0, self.headings)
        for mark in self.marks:
            start, end = mark.start - self.start, mark.end - self.start
            joints |= {start, end}
            if mark.kind == "heading" and isinstance(mark.value, tuple):
                add_heading(start, mark.value)
            elif isinstance(mark.value, Table):
                first_row = max(0, start + mark.value.header)
                tables.append((max(0, start), min(end, len(self.text)), first_row))
        inner_joints = sorted(joint for joint in joints if 0 < joint < len(self.text))
        return tuple(inner_joints), tuple(tables), tuple(sorted(headings))

    def _find_heading_line(self, start: int, headings: tuple[str, ...]) -> Span | None:
        """Return the span of the heading line at `start`, with a line of - or = below it.

        Return None if the line is no heading, and if there is nothing else in the passage.
        """
        if start < 0 or not headings:
            return None
        match = _HEADING_LINE.match(self.text, start)
        if match is None:
            return None
        line = match.group("line")
        is_heading = line.startswith("#") or " ".join(
            line.strip(_HEADING_MARKUP).split()
        ) == headings[-1].strip(_HEADING_MARKUP)
        has_more = bool(self.text[: match.start()].strip() or self.text[match.end() :].strip())
        return Span(match.start("line"), match.end()) if is_heading and has_more else None


@lru_cache(maxsize=1_024)
def _split_path(uri: str) -> str:
    try:
        path = urlsplit(uri).path if "://" in uri else uri
    except ValueError:  # a uri of a connector can be any text
        path = uri
    parts = re.split(r"!?[/\\]", unquote(path))[-_MAX_PATH_PARTS:]
    # With and without division: ``P7-manual`` is about the P7, ``energy_2023`` about 2023.
    return " ".join(
        " ".join([*_PATH_WORD.findall(part), *_PATH_IDENTIFIER.findall(part)]) for part in parts
    ).strip()


def _split_at_joints(text: str, joints: tuple[int, ...]) -> list[tuple[int, int]]:
    bounds = [0, *joints, len(text)]
    return list(pairwise(bounds))


@lru_cache(maxsize=4_096)
def _join_path(*parts: str) -> str:
    """Return the parts of a path that are not empty, each once."""
    return " > ".join(dict.fromkeys(part for part in parts if part))


@lru_cache(maxsize=256)  # every sentence of an answer is compared with the same passages
def _list_sentences(
    text: str,
    joints: tuple[int, ...],
    tables: tuple[tuple[int, int, int], ...],
    headings: tuple[int, ...],
) -> tuple[tuple[Span, ...], ...]:
    """Return the sentences of each part of a passage that no quote leaves."""
    parts: list[tuple[Span, ...]] = []
    for start, end in _split_at_joints(text, joints):
        if start in headings:
            continue
        table = next((t for t in tables if t[0] <= start < t[1]), None)
        if table is None:
            spans = [Span(start + s.start, start + s.end) for s in sentences(text[start:end])]
            spans = _join_labels(text, spans)
        else:
            spans = list(_find_lines(text, max(start, table[2]), end))
        parts.append(tuple(spans))
    return tuple(parts)


def _join_labels(text: str, spans: Sequence[Span]) -> list[Span]:
    """Join each label with the sentence behind it: "**Roof.** It leaks.", "E4 flue blocked."."""
    joined: list[Span] = []
    for span in spans:
        label = text[joined[-1].start : joined[-1].end] if joined else ""
        if label and _is_label(text, joined[-1]) and "\n" not in text[joined[-1].end : span.start]:
            joined[-1] = Span(joined[-1].start, span.end)
        else:
            joined.append(span)
    return joined


def _is_label(text: str, span: Span) -> bool:
    """Whether a span is a number, a code, a reply or bold words at the start of a line."""
    line_start = text.rfind("\n", 0, span.start) + 1
    label = _LABEL.fullmatch(text, span.start, span.end)
    if label is None or text[line_start : span.start].strip():
        return False
    label_words = words(label["words"])
    is_marked = label["sign"] or _NUMBER_START.match(text, span.start)
    has_code = any(not word.isalpha() for word in label_words)
    is_reply = not _REPLIES.isdisjoint(label_words[:1])
    if not (is_marked or has_code or is_reply):
        return False
    limit = _MAX_BOLD_LABEL_WORDS if label["sign"] else _MAX_LABEL_WORDS + bool(label["number"])
    return sum(word.isalpha() for word in label_words) <= limit


@lru_cache(maxsize=256)
def _list_runs(
    parts: tuple[tuple[Span, ...], ...], max_sentences: int
) -> tuple[tuple[Span, ...], ...]:
    return tuple(
        spans[i:j]
        for spans in parts
        for i in range(len(spans))
        for j in range(i + 1, min(i + max_sentences, len(spans)) + 1)
    )


def _find_lines(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the span of each line that is not blank, without surrounding white space."""
    position = start
    for line in text[start:end].split("\n"):
        if line.strip():
            first = position + len(line) - len(line.lstrip())
            yield Span(first, position + len(line.rstrip()))
        position += len(line) + 1
