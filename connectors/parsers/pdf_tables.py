"""Tables in PDF pages: aligned cells become Markdown rows, with the names of their columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from statistics import median

from connectors.parsers.pdf_layout import CharacterBoxes, Line
from connectors.parsers.pdf_table_cells import list_columns, make_grid, name_columns
from connectors.parsers.pdf_table_lines import format_table
from connectors.parsers.pdf_table_rows import Row, may_be_row, read_rows, split_tall_lines
from connectors.parsers.pdf_text_tables import find_text_tables

_MAX_LINES = 1_000  # of a page; on a page with more lines, no tables are looked for
_MAX_ROW_DISTANCE = 4.5  # of the line height, within a table
_MAX_HEADER_DISTANCE = 1.75  # of the line height, between header rows
_MAX_DATE_DISTANCE = 3.0  # the same, if the row is a date, a period, or the label of a section
_MAX_ROW_DISTANCES = 1.2  # the same, of the usual distance of its rows, if they are far apart
_MAX_CAPTION_DISTANCE = 3.5  # of the line height, between caption and table
_MAX_HEADER_ROWS = 12
_MAX_ROWS_WITHOUT_VALUES = 8  # in succession, within a table
_COMPARED_ROWS = 12  # of a table that the next row is compared with
_MAX_CAPTION_ROWS = 4  # above a table, among them the lines of the sentence that introduces it
_MAX_CAPTION_CHARACTERS = 300
_MAX_LEAD_IN_CHARACTERS = 200  # of its last line
_MAX_TITLE_CHARACTERS = 100
_MAX_LABEL_CHARACTERS = 160  # of half of the labels; longer ones are prose

_PERIOD = re.compile(
    r"(?i)\b(?:ended|ending|months|weeks|quarters?|fiscal|years?|as of|change|(?:19|20)\d\d)\b"
    r"|\b(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*\.?\s+\d{1,2}\b"
)
_UNIT = re.compile(r"(?i)\(.*\)|(?:\$|usd|dollars|amounts|in|all|tabular)\s.*|millions|thousands")
_UNIT_WORD = re.compile(
    r"(?i)\b(?:thousands?|millions?|billions?|(?:un)?audited|dollars)\b|per[- ]share|\$"
)
_FORMATTED_NUMBER = re.compile(r"[$€£¥%]|\d[.,]\d|\(\d")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_DOT_LEADER = re.compile(r"\.{4}|(?: \.){3}|…")


@dataclass
class _Region:
    """The rows of a table."""

    body: list[Row]
    header: list[Row] = field(default_factory=list)
    units: list[Row] = field(default_factory=list)
    caption: str = ""

    @cached_property
    def value_start(self) -> float:
        """The left edge of the values."""
        return min([run.x_min for row in self.body for run in row.values])

    @cached_property
    def label_end(self) -> float:
        """The right edge of the labels of rows with values; at most the left edge of these."""
        start = self.value_start
        ends = [
            row.runs[0].x_max
            for row in self.body
            if row.has_values and not row.runs[0].is_value and row.runs[0].x_max < start
        ]
        return max(ends, default=start - 2)

    @cached_property
    def x_max(self) -> float:
        """The right edge of the values."""
        return max(row.x_max for row in self.body if row.has_values)

    @cached_property
    def row_distance(self) -> float:
        """The usual distance of two rows; 0 for a single row."""
        distances = [upper.y - lower.y for upper, lower in pairwise(self.body)]
        return median(distances) if distances else 0.0

    @property
    def rows(self) -> list[Row]:
        """All rows."""
        return [*self.units, *self.header, *self.body]


def insert_tables(lines: list[Line], boxes: CharacterBoxes) -> list[Line]:
    """Return the lines of a page with one line for each table, in place of the lines in it."""
    candidates = sum([may_be_row(line) for line in lines])
    if candidates < 2 or len(lines) > _MAX_LINES:
        return lines
    parts = split_tall_lines(lines, boxes)
    rows = read_rows([line for line in parts if line.x_max > line.x_min], boxes)
    regions = list(_find_regions(rows))
    tables = [table for region in regions if (table := _make_table(region))]
    covered = {id(line) for covered_lines, _ in tables for line in covered_lines}
    other_rows = [row for row in rows if id(row.lines[0]) not in covered]
    tables += find_text_tables(other_rows)
    if not tables:
        return lines
    for covered_lines, new_table in tables:
        located = [line for line in covered_lines if line.x_max > line.x_min]
        x_min, x_max = min(line.x_min for line in located), max(line.x_max for line in located)
        new_table.row_extent = x_min, x_max
    by_line = {id(line): table for covered_lines, table in tables for line in covered_lines}
    result: list[Line] = []
    used_lines: set[int] = set()
    for line in parts:
        table_line = by_line.get(id(line))
        if table_line is None:
            result.append(line)
        elif id(table_line) not in used_lines:
            used_lines.add(id(table_line))
            result.append(table_line)
    return result


# -- Regions -------------------------------------------------------------------------------


def _find_regions(rows: Sequence[Row]) -> Iterator[_Region]:
    """Yield the rows of each table with numbers, from top to bottom."""
    if sum(row.has_values for row in rows) < 2:
        return
    first: int | None = None
    last = previous_end = 0
    for i, row in enumerate(rows):
        if not row.has_values:
            continue
        if first is not None and not _continues(rows, first, last, i):
            yield _complete_region(rows, first, last, previous_end)
            previous_end, first = last + 1, None
        first = i if first is None else first
        last = i
    if first is not None:
        yield _complete_region(rows, first, last, previous_end)


def _continues(rows: Sequence[Row], first: int, last: int, i: int) -> bool:
    """Whether row `i` belongs to the table of the rows from `first` to `last`."""
    row, between = rows[i], rows[last + 1 : i]
    body = [r for r in rows[first : last + 1] if r.has_values and not r.has_only_years]
    body = body[-_COMPARED_ROWS:]
    if len(between) > _MAX_ROWS_WITHOUT_VALUES or (row.has_only_years and body):
        return False
    for upper, lower in pairwise([rows[last], *between, row]):
        height = max(min(upper.height, lower.height), 1)
        if upper.y - lower.y > _MAX_ROW_DISTANCE * height:
            return False
    if not body or not between:
        return not body or _is_aligned(row, body)
    region = _Region(body)
    value_start, x_max = region.value_start, region.x_max
    label_start = min(r.x_min for r in body)
    name_count = 0
    for table_line in between:
        if table_line.x_min >= min(region.label_end, value_start - 2):
            name_count += sum(not run.is_value for run in table_line.all_runs)
        elif table_line.x_max > value_start + 0.35 * (x_max - value_start) or (
            table_line.x_max > value_start
            and table_line.x_min > label_start + 0.3 * (value_start - label_start)
        ):
            return False
    return name_count < 2 and _is_aligned(row, body)


def _is_aligned(row: Row, body: Sequence[Row]) -> bool:
    """Whether half of the values of a row are above or below other values."""
    spans = [(run.x_min, run.x_max) for table_line in body for run in table_line.values]
    hits = sum(any(a < run.x_max and run.x_min < b for a, b in spans) for run in row.values)
    return 2 * hits >= len(row.values)


def _complete_region(rows: Sequence[Row], first: int, last: int, previous_end: int) -> _Region:
    """Return a region with its header rows, units and caption."""
    body = list(rows[first : last + 1])
    header: list[Row] = []
    while len(body) > 1 and _is_header_row(body):
        header.append(body.pop(0))
    region = _Region(body, header)
    if not any(row.has_values for row in body):
        return region
    top = first - 1
    sections: list[Row] = []
    while top >= previous_end and len(region.header) < _MAX_HEADER_ROWS:
        row, below = rows[top], rows[top + 1]
        kind = _classify_row_above(row, below, region)
        if kind == "header":
            region.header.insert(0, row)
            body[:0], sections = sections, []
        elif kind == "unit":
            region.units.insert(0, row)
        elif kind == "section":
            sections.insert(0, row)
        else:
            break
        top -= 1
    top += len(sections)
    region.caption = _find_caption(rows, top, previous_end, region)
    return region


def _is_header_row(body: Sequence[Row]) -> bool:
    """Whether the first of these rows has names of columns: years, or no label."""
    row = body[0]
    if row.has_only_years:
        return True
    below = [
        table_line for table_line in body[1:] if table_line.values and not table_line.has_only_years
    ]
    if not row.has_values:
        return bool(below) and row.x_max > min([run.x_min for o in below for run in o.values]) + 2
    start = min([table_line.x_min for table_line in body[1:]])
    return row.runs[0].is_value and row.x_min > start + 2 * row.height


def _classify_row_above(row: Row, below: Row, region: _Region) -> str:
    """Return ``header``, ``unit``, ``section`` or ``""`` for the row above a table or header."""
    height = max(min(row.height, below.height), 1)
    distance = (row.y - below.y) / height
    is_period = _PERIOD.search(row.text) is not None
    is_first = not region.header and row.x_max <= region.value_start
    max_distance = _MAX_DATE_DISTANCE if is_period or is_first else _MAX_HEADER_DISTANCE
    if distance > max(max_distance, _MAX_ROW_DISTANCES * region.row_distance / height):
        return ""
    value_start, label_end = region.value_start, region.label_end
    limit = min(label_end, value_start - 2) - 1
    is_unit = _is_unit(row.text)
    if row.x_min >= limit:
        if len(row.all_runs) == 1 and not is_period and _is_title(row, region):
            return ""
        return "unit" if is_unit and len(row.all_runs) == 1 else "header"
    runs = row.all_runs
    label_start = min([table_line.x_min for table_line in region.body]) + height
    names = [
        run
        for run in runs
        if run.x_min >= limit or (run.centre > value_start and run.x_min > label_start)
    ]
    labels = runs[: len(runs) - len(names)]
    has_names = (
        0 < len(names) <= max([len(table_line.values) for table_line in region.body])
        and max([run.x_max for run in labels], default=0) <= value_start + 2
    )
    if has_names and not _DOT_LEADER.search(row.text):
        return "header"
    if row.x_max > value_start + 2:
        return ""
    if is_unit:
        return "unit"
    if not region.header and len(row.text) <= _MAX_TITLE_CHARACTERS:
        return "section"
    is_label_above = region.header and below is region.header[0] and below.x_min < limit
    return "header" if is_label_above and distance <= 1.3 and len(row.text) <= 60 else ""


def _is_title(row: Row, region: _Region) -> bool:
    """Whether a row is centred above the table, and not above its values."""
    x_min = min(table_line.x_min for table_line in region.body)
    centre = (row.x_min + row.x_max) / 2
    distance = abs(centre - (x_min + region.x_max) / 2)
    return distance < 8 and distance < abs(centre - (region.value_start + region.x_max) / 2)


def _is_unit(text: str) -> bool:
    return bool(_UNIT.fullmatch(text) and _UNIT_WORD.search(text) and len(text) <= 120)


def _find_caption(rows: Sequence[Row], top: int, previous_end: int, region: _Region) -> str:
    """Return the title above a table, or the sentence that introduces it, with the units."""
    parts = [row.text for row in region.units]
    parts += [run.text for row in region.header for run in row.all_runs if _is_unit(run.text)]
    below = region.rows[0]
    is_lead_in = False  # whether the row below is the end of a lead-in
    for i in range(top, max(top - _MAX_CAPTION_ROWS, previous_end - 1), -1):
        row = rows[i]
        text = row.text
        height = max(min(row.height, below.height), 1)
        if row.y - below.y > _MAX_CAPTION_DISTANCE * height or row.has_values:
            break
        if _is_unit(text):
            parts.insert(0, text)
            below = row
            continue
        is_title = len(text) <= _MAX_TITLE_CHARACTERS and text[-1] not in ".;,"
        is_continued = text[0].islower() or (parts == [] and text.casefold().startswith("year"))
        if is_lead_in:
            parts[0] = f"{text} {parts[0]}"
            is_continued = not _is_sentence_start(text)
        elif text.endswith(":") and len(text) <= _MAX_LEAD_IN_CHARACTERS:
            parts.insert(0, text.rstrip(": "))
            is_lead_in = is_continued
        elif is_title:
            parts.insert(0, text)
        if not is_continued:
            break
        below = row
    if is_lead_in:
        parts[0] = _SENTENCE_END.split(parts[0])[-1][-_MAX_CAPTION_CHARACTERS:]
    return " ".join(dict.fromkeys(parts))


def _is_sentence_start(text: str) -> bool:
    """Whether a line begins with a capital letter, or has the beginning of a sentence in it."""
    return text[0].isupper() or _SENTENCE_END.search(text) is not None


# -- Tables --------------------------------------------------------------------------------


def _make_table(region: _Region) -> tuple[list[Line], Line] | None:
    """Return the lines of a region and the line of its table; None if it is no table."""
    rows = [row for row in region.body if row.has_values]
    if len(rows) < 2:
        return None
    columns = list_columns(region.body, region.value_start)
    if not _is_table(region, rows, len(columns)):
        return None
    header_runs = [[run for run in row.all_runs if not _is_unit(run.text)] for row in region.header]
    heights = [row.height for row in region.header]
    positions = [row.y for row in region.header]
    names = name_columns(header_runs, positions, heights, columns, region.value_start, _PERIOD)
    units = [run.text for row in region.header for run in row.all_runs if _is_unit(run.text)]
    lead = " ".join([*(row.text for row in region.units), *units])
    grid = make_grid(region.body, columns, region.value_start)
    lines = [line for row in region.rows for line in row.lines]
    return lines, format_table(lead, region.caption, names, grid)


def _is_table(region: _Region, rows: Sequence[Row], column_count: int) -> bool:
    """Whether rows with numbers are a table, and not a table of contents or prose."""
    labels = sorted(len(row.runs[0].text) for row in rows if not row.runs[0].is_value)
    if labels and labels[len(labels) // 2] > _MAX_LABEL_CHARACTERS:
        return False
    texts = [run.text for row in rows for run in row.values]
    formatted = sum(_FORMATTED_NUMBER.search(text) is not None for text in texts)
    has_leaders = 2 * sum(_DOT_LEADER.search(row.text) is not None for row in rows) > len(rows)
    full_rows = sum(len(row.values) > 1 for row in rows)
    if column_count < 2 or full_rows < 2:
        return len(rows) > 2 and 2 * formatted >= len(texts) and not has_leaders
    return bool(formatted) or (not has_leaders and bool(region.header or len(rows) > 2))
