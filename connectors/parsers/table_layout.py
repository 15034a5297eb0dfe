"""Tables in a grid of cells: where they are, their header rows, and the names of their columns.

The grid comes from a spreadsheet, a CSV file or a table of a text document. Only the texts and the
merged cells are known, so the layout is decided by the kinds of the values: texts above numbers are
the names of their columns.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import compress, pairwise
from typing import Literal, NamedTuple

Grid = Sequence[Sequence[str]]
"""Rows of texts, "" for an empty cell. Rows may have different lengths."""

_SAMPLE_ROWS = 40  # rows below a header that show the kinds of values of its columns
_MAX_HEADER_ROWS = 3
_MAX_HEADER_CANDIDATES = 200  # rows of a table that are examined for the header of another one
_MAX_TABLES_SIDE_BY_SIDE = 50
_MAX_NAME_CHARACTERS = 120
_MAX_CAPTION_CHARACTERS = 200
_MAX_FILLED_CELLS = 2_000_000  # texts that are copied into merged cells
_MIN_HEADER_SHARE = 0.6  # of the columns have a name
_MIN_KIND_SHARE = 0.7  # of the values of a column have its kind

_UNIT = r"(?:\s?(?:%|‰|[$€£¥₹]|°?[A-Za-zµ²³/]{1,4}))?"
_NUMBER = re.compile(
    r"[-+−(~<>≈]{0,5}\s?(?:[$€£¥₹]|[A-Z]{2,3}\s)?\s?[-+−]?"
    r"[.,]?\d[\d.,'’ \u00a0\u202f]*(?:[eE][-+]?\d+)?" + _UNIT + r"\)?"
)
_DIGITS = re.compile(r"\d+")
_UNIT_AT_END = re.compile(r"(?:[%‰]|°?[A-Za-zµ²³/]{1,4})$")
_YEAR = re.compile(r"(?:19|20)\d\d(?:\s?[A-Za-z*(][^\d]{0,15}|[/–-]\d\d(?:\d\d)?)?")
_MONTH = r"(?:jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-zäé]{0,6}\.?"
_DATE = re.compile(
    r"(?:\d{4}-\d\d?(?:-\d\d?)?|\d\d?[./-]\d\d?[./-](?:\d{4}|\d\d)|\d\d?\.?[- ]"
    + _MONTH
    + r"(?:[- ,]+\d{2,4})?|"
    + _MONTH
    + r"[- ]\d\d?,? \d{4}|"
    + _MONTH
    + r"[- ]\d{2,4})(?:[T ]\d\d?:\d\d(?::\d\d(?:\.\d+)?)?(?: ?[AaPp][Mm])?)?",
    re.IGNORECASE,
)
_TIME = re.compile(r"\d{1,4}:\d\d(?::\d\d(?:\.\d+)?)?(?: ?[AaPp][Mm])?")
_ADDRESS = re.compile(r"(?<!\S)(?=\S)[^\s@]*+@\S+\.\S+|https?://\S+|www\.\S+|\+\d[\d ()/-]{6,}")
_MISSING = frozenset({"-", "–", "—", "?", ".", "..", "...", "…", "/", "x", "X", "*"}) | {
    "n/a", "N/A", "n.a.", "na", "NA", "#N/A", "NaN", "nan", "null", "None", "k.A.", "k. A.", "tbd",
    "TBD",
}  # fmt: skip
_VALUE_NAMES = frozenset(
    "value values wert werte valeur valor valore amount betrag quantity menge quantité cantidad "
    "description beschreibung meaning content answer antwort details data setting result comment "
    "limit limits rating requirement specification".split()
)
_LABEL_NAMES = frozenset(
    "item items parameter property attribute field feature characteristic measure metric indicator "
    "merkmal eigenschaft kennzahl feld paramètre propriété parámetro propiedad".split()
)
_MIN_FIELDS = 3  # of a form; "Name | Sum" above one row is a header
_FIELD_NAMES = frozenset(
    """name surname address street city town postcode country phone telephone mobile fax email
    e-mail website web contact company customer client supplier vendor manufacturer brand model type
    version serial number no id date time deadline status priority author owner manager responsible
    department project subject title place location venue duration price cost fee total weight
    height width length depth size dimensions colour color material power voltage capacity speed
    range warranty currency language born birthday age nationality position salary start end
    opening hours landlord tenant lessor lessee buyer seller employer employee contractor insurer
    insured policy rent deposit term notice break review signed valid duration beneficiary witness
    vermieter mieter käufer verkäufer arbeitgeber arbeitnehmer auftraggeber auftragnehmer
    versicherer
    miete kaution kündigung kündigungsfrist laufzeit vertrag vertragsnummer bailleur locataire loyer
    caution échéance arrendador arrendatario renta fianza anschrift straße ort plz land telefon
    handy mail firma kunde lieferant hersteller
    marke modell typ seriennummer nummer datum uhrzeit frist autor leiter leitung abteilung projekt
    betreff titel dauer preis kosten gewicht höhe breite länge tiefe größe maße farbe leistung
    spannung garantie währung sprache geburtsdatum alter beginn ende adresse nom prénom rue ville
    pays téléphone fournisseur fabricant modèle numéro auteur projet objet lieu durée prix poids
    hauteur largeur longueur taille couleur puissance nombre dirección calle ciudad teléfono
    cliente proveedor fabricante modelo número fecha hora proyecto asunto lugar duración precio
    peso altura anchura tamaño potencia garantía""".split()
)
"""Names of fields in forms and data sheets. Records are rarely called so."""
_NOTE_START = re.compile(
    r"[*†‡¹²³]|\d\)|\(\d|\(?(?:notes?|sources?|legend|remarks?|quellen?|hinweise?|anmerkung(?:en)?|"
    r"stand|note|fuente|fonte|as of|updated|prepared|all (?:figures|amounts|prices))\b",
    re.IGNORECASE,
)


class Span(NamedTuple):
    """A merged cell: its rows ``[top, bottom)`` and columns ``[left, right)``, from 0."""

    top: int
    bottom: int
    left: int
    right: int


class Region(NamedTuple):
    """A part of a grid.

    The ``kind`` is ``table``; ``form`` for labels and values in two columns; or ``text`` for titles
    and notes. The region has the cells in rows ``[top, bottom)`` and columns ``[left, right)``.
    """

    kind: Literal["table", "form", "text"]
    top: int
    bottom: int
    left: int
    right: int
    header_rows: int = 0
    """Number of rows at the top that have the names of the columns."""
    columns: tuple[str, ...] = ()
    """Name of each column, "" for one without a name; () if the table has no header."""
    caption: str = ""


def find_tables(grid: Grid, spans: Iterable[Span] = ()) -> list[Region]:
    """Return the regions of a grid from top to bottom, and from left to right.

    Every cell with a text is in one region. The texts of merged cells should be in their first
    cells only; see `repeat_merged_cells`.
    """
    finder = _RegionFinder(repeat_merged_cells(grid, spans := list(spans)), spans)
    finder.add_block(0, len(grid), 0, max(map(len, grid), default=0))
    return finder.regions


def repeat_merged_cells(grid: Grid, spans: Iterable[Span]) -> list[Sequence[str]]:
    """Return the grid with the text of each merged cell in all cells that it covers."""
    rows: list[Sequence[str]] = list(grid)
    budget = _MAX_FILLED_CELLS
    for span in spans:
        if span.top >= len(rows) or span.left >= len(rows[span.top]):
            continue
        text = rows[span.top][span.left]
        bottom = min(span.bottom, len(rows))
        budget -= (bottom - span.top) * (span.right - span.left)
        if not text or budget < 0:
            continue
        for y in range(span.top, bottom):
            row = list(rows[y])
            row += [""] * (min(span.right, _MAX_FILLED_CELLS) - len(row))
            row[span.left : span.right] = [text] * (span.right - span.left)
            rows[y] = row
    return rows


def name_columns(header: Grid) -> tuple[str, ...]:
    """Return the name of each column from one or more header rows.

    Names of groups precede those of their columns: ``2024`` above ``Units`` and ``Revenue`` makes
    ``2024 Units`` and ``2024 Revenue``. Repeated names get a number: ``Q1``, ``Q1 (2)``.
    """
    width = max(map(len, header), default=0)
    rows = [_pad([" ".join(text.split()) for text in row], width) for row in header]
    for i, row in enumerate(rows[:-1]):
        below = [next(filter(None, column), "") for column in zip(*rows[i + 1 :], strict=True)]
        _extend_groups(row, below)
    names: list[str] = []
    for column in zip(*rows, strict=True):
        parts = dict.fromkeys(part for part in column if part)
        names.append(" ".join(parts)[:_MAX_NAME_CHARACTERS])
    return _number_repeated_names(names)


def _extend_groups(row: list[str], below: Sequence[str]) -> None:
    """Copy the names of groups into the empty cells to their right."""
    if any(a and a == b for a, b in pairwise(row)):
        return  # merged cells already have the name in each column
    group = ""
    for i, name in enumerate(row):
        if name:
            group = name if below[i] and below[i] != name else ""
        elif below[i]:
            row[i] = group


def _number_repeated_names(names: Sequence[str]) -> tuple[str, ...]:
    used: set[str] = set()
    counts: dict[str, int] = {}
    unique_names = []
    for name in names:
        unique_name = name
        while name and unique_name in used:
            counts[name] = counts.get(name, 1) + 1
            unique_name = f"{name} ({counts[name]})"
        used.add(unique_name)
        unique_names.append(unique_name)
    return tuple(unique_names)


def repeat_group_labels(rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Return the rows of a table with the labels of groups in every row of their group.

    A column has labels of groups if its cells are empty only below a label: each label is there
    once, and all rows have a value in the next column.
    """
    filled: list[Sequence[str]] = list(rows)
    for column in (0, 1):
        if not _has_group_labels(filled, column):
            break
        label = ""
        for i, row in enumerate(filled):
            if row[column]:
                label = row[column]
            else:
                filled[i] = [*row[:column], label, *row[column + 1 :]]
    return filled


def _has_group_labels(rows: Sequence[Sequence[str]], column: int) -> bool:
    if len(rows) < 2 or any(len(row) <= column + 1 or not row[column + 1] for row in rows):
        return False
    labels = [row[column] for row in rows if row[column]]
    if len(labels) == len(rows) or not rows[0][column] or 3 * len(labels) > 2 * len(rows) + 1:
        return False
    if column == 0 and len(set(labels)) < len(labels):
        return False
    return all(classify_value(label) in ("text", "year", "date") for label in labels)


# -- Kinds of values -----------------------------------------------------------------------


@lru_cache(4096)
def classify_value(text: str) -> str:
    """Return the kind of a value: number, year, date, time, address, text, or "" for none."""
    if not text or text in _MISSING:
        return ""
    for kind, pattern in (
        ("year", _YEAR),
        ("date", _DATE),
        ("time", _TIME),
        ("address", _ADDRESS),
        ("number", _NUMBER),
    ):
        if pattern.fullmatch(text):
            return kind
    return "text"


def _list_kinds(rows: Grid, column: int) -> list[str]:
    """Return the kinds of the values in a column, without missing ones."""
    texts = (row[column] if column < len(row) else "" for row in rows)
    return [kind for text in texts if (kind := classify_value(text))]


def _has_values(kinds: Sequence[str]) -> bool:
    """Whether most values of a column are numbers, dates and the like."""
    return bool(kinds) and sum(k != "text" for k in kinds) >= _MIN_KIND_SHARE * len(kinds)


# -- Header rows ---------------------------------------------------------------------------


def count_header_rows(rows: Grid) -> int:
    """Return how many rows at the top of a table have the names of its columns, 0 to 3.

    Merged cells are expected to be repeated. A row with one value is a title, not a header.
    """
    width = max(map(len, rows), default=0)
    sample = [_pad(row, width) for row in rows[: _SAMPLE_ROWS + _MAX_HEADER_ROWS]]
    count = 1
    while count < min(_MAX_HEADER_ROWS, len(sample) - 1) and _continues_header(sample, count):
        count += 1
    while count > 0 and not _is_header(sample[:count], sample[count:]):
        count -= 1
    return count


def _continues_header(rows: Grid, count: int) -> bool:
    """Whether row `count` has names below the groups of the row above it."""
    upper, lower, body = rows[count - 1], rows[count], rows[count + 1 :]
    kinds = [classify_value(text) for text in lower]
    if not body or any(kind in ("number", "time", "address") for kind in kinds):
        return False
    groups = [
        i
        for i in range(1, len(lower))
        if lower[i] and lower[i - 1] != lower[i] and upper[i] in ("", upper[i - 1])
    ]
    has_group = any(_is_below_group(upper, lower, i) for i in groups)
    is_above_values = any(
        kind in ("text", "year", "date")
        and (
            _has_values(_list_kinds(body, i))
            or (has_group and _has_values(_list_kinds(body[1:], i)))
        )
        for i, kind in enumerate(kinds)
    )
    continues_labels = bool(upper[0]) and lower[0] in ("", upper[0]) and bool(body[0][0])
    if has_group:
        merges = any(upper[i] and upper[i] == upper[i - 1] for i in groups)
        return is_above_values or continues_labels or (merges and not _is_data_row(lower, body))
    only_new_names = sum(map(bool, lower)) > 1 or len(lower) == 2
    return continues_labels and is_above_values and only_new_names


def _is_below_group(upper: Sequence[str], lower: Sequence[str], column: int) -> bool:
    """Whether the nearest name to the left in the upper row has another name below it."""
    first = next((i for i in range(column - 1, -1, -1) if upper[i]), -1)
    while first > 0 and upper[first] == upper[first - 1]:
        first -= 1
    return first >= 0 and bool(lower[first]) and lower[first] not in (upper[first], lower[column])


def _is_data_row(row: Sequence[str], body: Grid) -> bool:
    """Whether a value of the row is also below it in its column."""
    return any(text and any(body_row[i] == text for body_row in body) for i, text in enumerate(row))


def _is_header(header: Grid, body: Grid) -> bool:
    """Whether `header` can have the names of the columns of `body`."""
    names = name_columns(header)
    named_columns = [i for i, name in enumerate(names) if name]
    width = sum(any(row[i] for row in (*header, *body)) for i in range(len(names)))
    texts = [text for row in header for text in row if text]
    if not body or len(named_columns) < max(2, _MIN_HEADER_SHARE * width) or len(set(texts)) < 2:
        return False
    if any(len(text) > _MAX_NAME_CHARACTERS for text in texts):
        return False
    last_names = [next((row[i] for row in reversed(header) if row[i]), "") for i in named_columns]
    evidence = [
        _compare_name(name, i, header[-1], body)
        for i, name in zip(named_columns, last_names, strict=True)
    ]
    against = sum(value < 0 for value in evidence)
    text_evidence = any(
        value > 0 and classify_value(name) == "text"
        for value, name in zip(evidence, last_names, strict=True)
    )
    if against and (against > max(1, len(named_columns) // 3) or not text_evidence):
        return False
    if any(value > 0 for value in evidence):
        return True
    repeated = len(set(map(tuple, header))) < len(header)
    return not repeated and not _is_data_row(header[-1], body) and _has_distinct_names(header)


def _has_distinct_names(header: Grid) -> bool:
    names = [text for text in header[-1] if text]
    return len(header) > 1 or len(set(names)) > len(names) / 2


def _compare_name(name: str, column: int, header: Sequence[str], body: Grid) -> int:
    """Return 1 if the name differs in kind from the values below it, -1 if it is a value."""
    kinds = _list_kinds(body, column)
    kind = classify_value(name)
    if kind in ("text", ""):
        return int(_has_values(kinds))
    if kind == "year" and not name.isdigit():
        return int(kinds.count("year") < len(kinds) or not kinds)
    if kind in ("year", "date") and kinds:
        if kinds.count(kind) <= (1 - _MIN_KIND_SHARE) * len(kinds):
            return 1
        return 1 if _is_series(header) and not _is_series(body[0]) else -1
    if kind == "number" and _is_series(header) and not (body and _is_series(body[0])):
        return 1
    return -1


def _is_series(row: Sequence[str]) -> bool:
    """Whether the numbers of a row are consecutive years, or count from 1."""
    numbers = [int(text) for text in row if text.isdecimal() and len(text) < 5]
    if len(numbers) < 2:
        return False
    steps = {b - a for a, b in pairwise(numbers)}
    is_years = all(1900 <= number < 2100 for number in numbers)
    return steps in ({1}, {-1}) and (is_years or (numbers[0] in (0, 1) and len(numbers) > 2))


def _is_form(rows: Grid) -> bool:
    """Whether two columns have labels and their values, without a header."""
    labels = [row[0] for row in rows if row[0]]
    if not labels or len(set(labels)) < len(labels) or any(len(t) > 60 for t in labels):
        return False
    if any(classify_value(label) not in ("text", "year") for label in labels):
        return False
    if len(labels) < len(rows):  # rows with a value only continue the row above
        return False
    if all(label.endswith(":") for label in labels):
        return True
    first, below = rows[0], rows[1:]
    kinds = _list_kinds(below, 1)
    if classify_value(first[1]) not in ("text", ""):
        return not count_header_rows(rows)
    if first[1].casefold() in _VALUE_NAMES or first[0].casefold() in _LABEL_NAMES or not below:
        return False
    if _are_field_names(labels) or _has_shape_of_value(first[1], below):
        return True
    merged = {"number" if kind == "year" else kind for kind in kinds}
    is_mixed = len(set(kinds)) * 2 > min(len(kinds), 4) or len(_find_units(below)) > 1
    return len(merged) > 1 and is_mixed


def _are_field_names(labels: Sequence[str]) -> bool:
    """Whether the first label and half of those below it are names of fields: "Name", "Weight"."""
    names = [_FIELD_NAMES.intersection(text.casefold().rstrip(":").split()) for text in labels]
    count = sum(bool(field_names - names[0]) for field_names in names[1:])
    return bool(names[0]) and len(labels) >= _MIN_FIELDS and 2 * count >= len(labels)


def _has_shape_of_value(text: str, below: Grid) -> bool:
    """Whether a text with digits is written as one below it, except for the digits: "8-12"."""
    shape = _DIGITS.sub("9", text)
    return "9" in shape and 2 * sum(_DIGITS.sub("9", r[1]) == shape for r in below) >= len(below)


def _find_units(rows: Grid) -> set[str]:
    """Return the units of the numbers in the second column; a currency is none."""
    texts = [row[1] for row in rows if classify_value(row[1]) == "number"]
    units = {match[0] for text in texts if (match := _UNIT_AT_END.search(text))}
    return {unit for unit in units if not unit.isupper()}


def _pad(row: Sequence[str], width: int) -> list[str]:
    return [*row, *[""] * (width - len(row))][:width]


# -- Regions -------------------------------------------------------------------------------


class _RegionFinder:
    """Divides a grid at empty rows and columns, and finds the header of each part."""

    def __init__(self, grid: list[Sequence[str]], spans: Sequence[Span]) -> None:
        self.grid = grid
        self.regions: list[Region] = []
        self._spans: dict[int, list[Span]] = {}
        for span in spans:
            if span.right - span.left > 1:
                for y in range(span.top, min(span.bottom, span.top + _MAX_HEADER_ROWS)):
                    self._spans.setdefault(y, []).append(span)

    def add_block(self, top: int, bottom: int, left: int, right: int) -> None:
        """Add the regions of a part of the grid."""
        blocks = self._join_blocks(self._split_rows(top, bottom, left, right), left, right)
        for block_top, block_bottom in blocks:
            columns = self._split_columns(block_top, block_bottom, left, right)
            if len(columns) == 1:
                self._add_table(block_top, block_bottom, *columns[0])
                continue
            for part_left, part_right in columns:
                self.add_block(block_top, block_bottom, part_left, part_right)

    def _split_rows(self, top: int, bottom: int, left: int, right: int) -> list[tuple[int, int]]:
        """Return the runs of rows that are not empty."""
        blocks: list[tuple[int, int]] = []
        start = -1
        for y in range(top, bottom):
            if any(self.grid[y][left:right]):
                start = y if start < 0 else start
            elif start >= 0:
                blocks.append((start, y))
                start = -1
        return [*blocks, (start, bottom)] if start >= 0 else blocks

    def _join_blocks(
        self, blocks: list[tuple[int, int]], left: int, right: int
    ) -> list[tuple[int, int]]:
        """Join header rows to the block below them, and rows between which all rows are empty."""
        joined: list[tuple[int, int]] = []
        for top, bottom in blocks:
            is_spaced_row = bottom - top == 1 and self._is_spaced(joined[-1:], left, right)
            if is_spaced_row or self._belongs_to_header(joined[-1:], top, bottom, left, right):
                joined[-1] = (joined[-1][0], bottom)
            else:
                joined.append((top, bottom))
        return joined

    def _belongs_to_header(
        self, blocks: list[tuple[int, int]], top: int, bottom: int, left: int, right: int
    ) -> bool:
        """Whether the block above has only the header rows, or the first row, of rows below it."""
        if not blocks:
            return False
        above, height = blocks[0], blocks[0][1] - blocks[0][0]
        if height > _MAX_HEADER_ROWS or self._count_values(above[1] - 1, left, right) < 2:
            return False
        if height == 1 and bottom - top == 1:
            return self._count_values(top, left, right) > 1
        rows = self._cut_rows(top, bottom, left, right)
        header = self._cut_rows(*above, left, right)
        return count_header_rows([*header, *rows]) == height and not count_header_rows(rows)

    def _is_spaced(self, blocks: list[tuple[int, int]], left: int, right: int) -> bool:
        """Whether empty rows separate all rows of the block above."""
        return any(
            bottom - top > 2 and not any(self.grid[top + 1][left:right]) for top, bottom in blocks
        )

    def _split_columns(self, top: int, bottom: int, left: int, right: int) -> list[tuple[int, int]]:
        """Return the runs of columns of tables side by side; one run if there is one table."""
        occupied: set[int] = set()
        for y in range(top, bottom):
            cells = self.grid[y][left:right]
            occupied.update(compress(range(left, left + len(cells)), cells))
        columns = sorted(occupied)
        runs: list[tuple[int, int]] = []
        for column in columns:
            if runs and runs[-1][1] == column:
                runs[-1] = (runs[-1][0], column + 1)
            else:
                runs.append((column, column + 1))
        if len(runs) > _MAX_TABLES_SIDE_BY_SIDE:
            return [(runs[0][0], runs[-1][1])]
        parts = [runs[0]]
        for run in runs[1:]:
            if self._are_separate(top, bottom, parts[-1], run):
                parts.append(run)
            else:
                parts[-1] = (parts[-1][0], run[1])
        return parts

    def _are_separate(
        self, top: int, bottom: int, first: tuple[int, int], second: tuple[int, int]
    ) -> bool:
        """Whether two runs of columns, with an empty column between them, are tables."""
        rows_by_part = [
            {
                y: row
                for y in range(top, min(bottom, top + _SAMPLE_ROWS))
                if any(row := self._cut(y, *run))
            }
            for run in (first, second)
        ]
        parts = [list(rows.values()) for rows in rows_by_part]
        if any(sum(map(bool, row)) > 1 for row in parts[0]) and len(parts[1]) == 1:
            return sum(map(bool, parts[1][0])) == 1
        has_same_rows = rows_by_part[1].keys() <= rows_by_part[0].keys()
        for rows in parts:
            body = [row for row in rows if sum(map(bool, row)) > 1]
            if not body or len(body) < len(rows) / 3:
                return False
            labels = [kind for kind in _list_kinds(body[1:] or body, 0) if kind != "number"]
            if has_same_rows and len(labels) * 2 <= len(body[1:] or body):
                return False
        return True

    # -- One table -------------------------------------------------------------------------

    def _add_table(self, top: int, bottom: int, left: int, right: int) -> None:
        """Add the titles, the tables and the notes of a block without empty columns."""
        while top < bottom:
            top = self._add_next_table(top, bottom, left, right)

    def _add_next_table(self, top: int, bottom: int, left: int, right: int) -> int:
        """Add the titles and the first table of a block; return the row below them."""
        start = top
        while start < bottom and self._count_values(start, left, right) < 2:
            start += 1
        if start == bottom or right - left < 2:
            self._add_list(top, bottom, left, right)
            return bottom
        if start > top:
            if start == top + 1 == bottom - 1 and self._continue_table(top, bottom, left, right):
                return bottom
            self._add(Region("text", top, start, left, right))
        stop = bottom
        while stop > start + 1 and self._is_note(start, stop - 1, left, right):
            stop -= 1
        next_top = self._add_rows(start, stop, left, right)
        if next_top == stop < bottom:
            self._add(Region("text", stop, bottom, left, right))
            return bottom
        return next_top

    def _add_list(self, top: int, bottom: int, left: int, right: int) -> None:
        """Add rows with one value each: a column of numbers below its name, or text."""
        values = [next(filter(None, self._cut(y, left, right)), "") for y in range(top, bottom)]
        sample = [[value] for value in values[1 : 1 + _SAMPLE_ROWS]]
        kinds = _list_kinds(sample, 0)
        name = values[0] if classify_value(values[0]) == "text" else ""
        if right - left == 1 and len(kinds) > 1 and name and not {"text", "address"} & {*kinds}:
            self._add(Region("table", top, bottom, left, right, 1, name_columns([[name]])))
        elif not (bottom - top > 1 and self._continue_table(top, bottom, left, right)):
            self._add(Region("text", top, bottom, left, right))

    def _add_rows(self, top: int, bottom: int, left: int, right: int) -> int:
        """Add the table that begins at `top`; return the row below it."""
        rows = self._cut_rows(top, bottom, left, right)
        is_form = right - left == 2 and _is_form([_pad(row, 2) for row in rows])
        header_rows = 0 if is_form else count_header_rows(rows)
        if not self._starts_table(rows, header_rows, left, right) and self._continue_table(
            top, bottom, left, right
        ):
            return bottom
        if is_form:
            self._add(Region("form", top, bottom, left, right))
            return bottom
        columns = name_columns([_pad(row, right - left) for row in rows[:header_rows]])
        stop = self._find_next_header(top + max(1, header_rows), bottom, left, right, header_rows)
        used = self._find_right_end(top, stop, left, right) if stop < bottom else right
        self._add(Region("table", top, stop, left, used, header_rows, columns[: used - left]))
        return stop

    def _find_right_end(self, top: int, bottom: int, left: int, right: int) -> int:
        while right > left + 1 and not any(
            len(self.grid[y]) >= right and self.grid[y][right - 1] for y in range(top, bottom)
        ):
            right -= 1
        return right

    def _find_next_header(self, top: int, bottom: int, left: int, right: int, rows: int) -> int:
        """Return the first row of another table, directly below this one; `bottom` if none is."""
        if not rows or bottom - top < 3:
            return bottom
        sample = self._cut_rows(top, min(bottom, top + 3), left, right)[:1]
        numeric = [i for i in range(right - left) if _has_values(_list_kinds(sample, i))]
        width = _measure_width(sample)
        column = left + numeric[0] if numeric else -1
        header = self._cut_rows(max(0, top - rows), top, left, right)
        names = {text.casefold() for row in header for text in row if text}
        candidates = 0
        for y in range(top + 1, bottom - 1):
            if candidates > _MAX_HEADER_CANDIDATES:
                break
            row = self.grid[y]
            text = row[column] if 0 <= column < len(row) else ""
            is_other = bool(text) and not text[0].isdigit() and classify_value(text) == "text"
            is_wider = len(row) > left + width and any(row[left + width : right])
            candidates += is_other or is_wider
            if (is_other or is_wider) and self._is_next_header(
                y, bottom, left, right, numeric, names
            ):
                title = y - 1
                has_title = title > top and self._count_values(title, left, right) == 1
                return title if has_title else y
        return bottom

    def _is_next_header(
        self,
        y: int,
        bottom: int,
        left: int,
        right: int,
        numeric: Sequence[int],
        earlier_names: Collection[str],
    ) -> bool:
        """Whether a row within a table has the names of the columns of another table.

        A row of texts above numbers can also be a record with notes instead of numbers. Without a
        title above it, it has to repeat one of the `earlier_names` (in lower case).
        """
        rows = self._cut_rows(y, min(bottom, y + _SAMPLE_ROWS), left, right)
        names = [text for text in rows[0] if text]
        kinds = {classify_value(text) for text in names}
        if len(names) < 2 or kinds - {"text", "year"} or not count_header_rows(rows):
            return False
        above = self._cut_rows(max(0, y - _SAMPLE_ROWS), y, left, right)
        changed_width = _measure_width(rows[1:]) != _measure_width(above[-1:])
        changed_kinds = any(
            kinds_below and not _has_values(kinds_below)
            for i in numeric
            if (kinds_below := _list_kinds(rows[1:], i))
        )
        if changed_width or changed_kinds:
            return all(_measure_width([row]) == _measure_width(rows[:1]) for row in rows[1:3])
        has_title = self._count_values(y - 1, left, right) == 1
        return has_title or not {name.casefold() for name in names}.isdisjoint(earlier_names)

    def _starts_table(self, rows: Grid, header_rows: int, left: int, right: int) -> bool:
        """Whether rows below an empty row begin a table: they have a header of their own."""
        table = self.regions[-1] if self.regions else None
        if table is None or table.kind != "table" or not table.columns:
            return True
        if not header_rows:
            return False
        if (table.left, table.right) != (left, right):
            return True
        body = self._cut_rows(table.top + table.header_rows, table.bottom, left, right)
        return not _is_data_row(_pad(rows[0], right - left), [_pad(r, right - left) for r in body])

    def _continue_table(self, top: int, bottom: int, left: int, right: int) -> bool:
        """Add rows to the table above them if their values fit its columns."""
        table = self.regions[-1] if self.regions else None
        if table is None or table.kind != "table" or not table.columns:
            return False
        if left < table.left or right > table.right or right - left < 2:
            return False
        above = self._cut_rows(table.top + table.header_rows, table.bottom, table.left, table.right)
        rows = self._cut_rows(top, bottom, table.left, table.right)
        for i in range(table.right - table.left):
            kinds = _list_kinds(rows, i)
            kinds_above = _list_kinds(above, i)
            if kinds and kinds_above and _has_values(kinds) != _has_values(kinds_above):
                return False
        self.regions[-1] = table._replace(bottom=bottom)
        return True

    def _is_note(self, top: int, y: int, left: int, right: int) -> bool:
        """Whether a row at the end of a table is a note about it."""
        if self._count_values(y, left, right) != 1:
            return False
        text = next(filter(None, self._cut(y, left, right)))
        if classify_value(text) != "text":
            return False
        first_values = [row[0] for row in self._cut_rows(top, y, left, right) if row]
        longest = max(map(len, first_values), default=0)
        is_merged = any(span.left <= left for span in self._spans.get(y, ()))
        is_long = len(text) > 2 * longest and len(text.split()) > 2
        return bool(_NOTE_START.match(text)) or is_merged or is_long or len(text) > 80

    def _add(self, region: Region) -> None:
        """Add a region; the titles directly above a table are its caption."""
        above = self.regions[-1] if self.regions else None
        if region.kind != "text" and above and above.kind == "text":
            is_above = above.left < region.right and region.left < above.right
            is_title = above.bottom == region.top or not self._follows_table(above)
            if is_above and is_title:
                region = region._replace(caption=self._join_titles(above))
        self.regions.append(region)

    def _follows_table(self, region: Region) -> bool:
        """Whether a text is a note directly below a table."""
        if len(self.regions) < 2:
            return False
        before = self.regions[-2]
        return before.kind != "text" and before.bottom == region.top and before.left == region.left

    def _join_titles(self, region: Region) -> str:
        titles = [
            next(filter(None, self._cut(y, region.left, region.right)), "")
            for y in range(region.top, region.bottom)
        ]
        short = [title for title in titles if title and len(title) <= _MAX_CAPTION_CHARACTERS]
        return ", ".join(dict.fromkeys(short))[:_MAX_CAPTION_CHARACTERS]

    # -- Cells -----------------------------------------------------------------------------

    def _cut(self, y: int, left: int, right: int) -> Sequence[str]:
        return self.grid[y][left:right]

    def _cut_rows(self, top: int, bottom: int, left: int, right: int) -> list[Sequence[str]]:
        """Return the first rows of a block that are not empty, of equal length."""
        width = min(right, max(map(len, self.grid[top : top + _SAMPLE_ROWS]), default=0)) - left
        rows: list[Sequence[str]] = []
        for y in range(top, bottom):
            row = self.grid[y][left:right]
            if any(row):
                rows.append(_pad(row, max(width, len(row))))
                if len(rows) > _SAMPLE_ROWS + _MAX_HEADER_ROWS:
                    break
        return rows

    def _count_values(self, y: int, left: int, right: int) -> int:
        """Return the number of values in a row; a merged cell is one value."""
        values = sum(map(bool, self.grid[y][left:right]))
        for span in self._spans.get(y, ()):
            if left <= span.left < right and self.grid[y][span.left]:
                values -= min(span.right, right) - span.left - 1
        return values


def _measure_width(rows: Grid) -> int:
    """Return the number of columns up to the last value."""
    return max((i + 1 for row in rows for i, text in enumerate(row) if text), default=0)
