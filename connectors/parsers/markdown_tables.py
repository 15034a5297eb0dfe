"""Markdown tables: writing a grid of cells as one, and finding those of a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from connectors.parsers.table_layout import classify_value, count_header_rows, find_tables
from rag.types import Mark, Table
from rag.types.tables import split_cells

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

MAX_CAPTION_CHARACTERS = 200
_MAX_CAPTION_LINE_CHARACTERS = 100  # of a line that neither says "Table" nor ends with a colon
_MAX_SAMPLE_ROWS = 50  # of a table that are examined for a second header row
_MAX_SPANNED_CELLS = 1_000_000  # of a grid; in a larger one, few spans are repeated
_LINE_END = re.compile(r"\r\n|\n|\r")
_TABLE_NUMBER = re.compile(r"(?i)(?:table|tabelle|tableau|tabla|tabella|tabel|tab\.|表)\s*[\dIVX:]")
INLINE_MARKUP = re.compile(
    r"!?\[([^\[\]]*+)\]\((?:[^()]|\([^()]*+\))*+\)|(?<![\w*_`])[*_`]++|(?<![*_`])[*_`]++(?!\w)"
)
"""Links, whose words are group 1, and emphasis."""
_BREAK = re.compile(r"(?i)<br\s*/?>")
_BOLD = re.compile(r"\s*(\*\*|__)(?=\S)[^*_]+\1\s*:?\s*")
_SENTENCE_END = re.compile(r"[.!?。！？]$")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_BLOCK_SIGN = re.compile(r"^(\d{0,9})([#>*+.)=-])(?=\s|$)")
_QUOTATION = re.compile(r"\s*>")
_AMBIGUOUS_BACKSLASH = re.compile(r"\\(?=[\\|])")


class Cell(NamedTuple):
    """A cell of a table in a file; lines of its text are separated by line breaks."""

    text: str
    rows: int = 1
    columns: int = 1


# -- Writing -------------------------------------------------------------------------------


def repeat_spanned_cells(rows: Sequence[Sequence[Cell]]) -> list[list[str]]:
    """Return a grid in which the text of a cell that spans rows or columns is in each of them.

    Columns in which no cell begins are left out: ``colspan="100"`` may mean "all columns".
    """
    width = max((sum(cell.columns for cell in row) for row in rows), default=0)
    widest = width if width * len(rows) <= _MAX_SPANNED_CELLS else max(map(len, rows))
    grid: list[list[str]] = []
    begun: set[int] = set()
    last_column = 0
    spanned: dict[int, tuple[int, str]] = {}  # by column: the rows that remain, and the text
    for row in rows:
        texts = {column: text for column, (_, text) in spanned.items()}
        spanned = {c: (count - 1, text) for c, (count, text) in spanned.items() if count > 1}
        column = 0
        for cell in row:
            while column in texts:
                column += 1
            begun.add(column)
            last_column = max(last_column, column)
            for i in range(column, column + max(1, min(cell.columns, widest))):
                if i > column and i in texts:
                    break
                texts[i] = cell.text
                if cell.rows > 1:
                    spanned[i] = (cell.rows - 1, cell.text)
        grid.append([texts.get(i, "") for i in range(max(texts, default=-1) + 1)])
        if len(rows) * last_column > _MAX_SPANNED_CELLS:
            spanned = {}
    kept = sorted(begun)
    return [[row[i] if i < len(row) else "" for i in kept] for row in grid]


def format_table(
    grid: Sequence[Sequence[str]], header_rows: int | None = None, caption: str = ""
) -> str:
    """Format a grid of cells as a Markdown table below its caption.

    `header_rows` is the number of header rows; if it is None, they are detected. Several header
    rows become one, with joined names. A first row with one value for all columns is the caption.
    A table without a header gets an empty one, because Markdown requires it.
    """
    rows = _drop_empty_cells(grid)
    if not rows:
        return ""
    if len(rows[0]) == 1 and len(rows) == 1:
        return join_lines(rows[0][0])
    if len(rows) > 2 and len(rows[0]) > 1 and len(set(rows[0])) == 1:
        title = " ".join(rows.pop(0)[0].split())
        caption = ": ".join(dict.fromkeys(part for part in (caption, title) if part))
        header_rows = header_rows - 1 if header_rows and header_rows > 1 else None
    if header_rows is None:
        header_rows = detect_header_rows(
            [[join_lines(cell) for cell in row] for row in rows[:_MAX_SAMPLE_ROWS]]
        )
    header_rows = min(header_rows, len(rows))
    columns = join_header_rows(rows[:header_rows]) or [""] * len(rows[0])
    lines = [_format_row(columns), "|" + " --- |" * len(columns)]
    lines += [_format_row([join_lines(cell) for cell in row]) for row in rows[header_rows:]]
    caption = " ".join(caption.split())
    if caption:
        lines.insert(0, _BLOCK_SIGN.sub(r"\1\\\2", caption))
    return "\n".join(lines)


def _drop_empty_cells(grid: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the grid with rows of equal length, without its empty rows and columns."""
    rows = [row for row in grid if any(cell.strip() for cell in row)]
    kept = sorted({i for row in rows for i, cell in enumerate(row) if cell.strip()})
    return [[row[i] if i < len(row) else "" for i in kept] for row in rows]


def detect_header_rows(rows: Sequence[Sequence[str]]) -> int:
    """Return how many rows at the top of a grid have the names of its columns.

    A table of labels and values in two columns has none.
    """
    if len(rows) < 2:
        return 0
    if len(rows[0]) == 1:
        return int(not is_value(rows[0][0]) and rows[0] not in rows[1:])
    region = next(iter(find_tables(rows)))
    return 0 if region.kind == "form" else count_header_rows(rows)


def is_value(text: str) -> bool:
    """Whether a cell has a number, a date, a time, or an address of mail or web."""
    return classify_value(text) not in ("", "text")


def join_header_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the name of each column: the names in its header rows, each once."""
    return [
        " ".join(dict.fromkeys(name for cell in cells if (name := " ".join(cell.split()))))
        for cells in zip(*rows, strict=True)
    ]


def join_lines(text: str) -> str:
    """Return a text as one line: paragraphs, list items and lines are separated by commas.

    They are separated by semicolons if one has a comma, and by a space after punctuation or if a
    line break (the character ``VT``) is within a sentence.
    """
    if not any(character in text for character in "\n\v"):
        return " ".join(text.split())
    parts = [
        (match.group(1), " ".join(match.group(2).split()))
        for match in re.finditer(r"(?<![\n\v])([\n\v]*+)([^\n\v]++)", text)
        if match.group(2).strip()
    ]
    separator = "; " if any(", " in part for _, part in parts) else ", "
    joined = ""
    for breaks, part in parts:
        is_within_sentence = "\n" not in breaks and (part[0].islower() or part[0] in "([")
        if joined:
            joined += " " if joined[-1] in ".,;:!?-–—/" or is_within_sentence else separator
        joined += part
    return joined


def _format_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escape_cell(cell) for cell in cells) + " |"


def _escape_cell(text: str) -> str:
    """Escape vertical bars, and the backslashes that would be read as escapes."""
    return _AMBIGUOUS_BACKSLASH.sub(r"\\\\", text).replace("|", "\\|")


# -- Finding -------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def make_block_parser() -> MarkdownIt:
    """Make a parser for CommonMark and tables that does not parse inline markup."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").disable(["inline", "text_join"])


def find_table_marks(text: str) -> tuple[Mark, ...]:
    """Return the marks of the tables of a Markdown text and of their rows."""
    if "|" not in text:
        return ()
    return tuple(list_table_marks(text, make_block_parser().parse(text), find_line_starts(text)))


def find_line_starts(text: str) -> list[int]:
    """Return the offset of each line, as a Markdown parser counts them."""
    return [0, *(match.end() for match in _LINE_END.finditer(text))]


def list_table_marks(
    text: str, tokens: Sequence[Token], line_starts: Sequence[int]
) -> Iterator[Mark]:
    """Yield the marks of the tables among `tokens`, and of their rows."""
    for i, token in enumerate(tokens):
        if token.type != "table_open" or not token.map:
            continue
        columns = _read_columns(tokens, i)
        first_line = token.map[0]
        lines = list(_list_rows(text, line_starts, token, len(columns)))
        header_lines, columns = _extend_header(text, columns, lines)
        rows = lines[header_lines:]
        start = line_starts[first_line]
        if lines and _QUOTATION.match(text, lines[0][0]):
            columns = ["", *columns]  # `>` in front of the first vertical bar
        rule_end = _get_line_end(text, line_starts, first_line + 1)
        end = lines[-1][1] if lines else rule_end
        header_end = rows[0][0] if rows else end
        table = Table(
            name=_find_caption(tokens, i), columns=tuple(columns), header=header_end - start
        )
        yield Mark(start=start, end=end, kind="table", value=table)
        for number, (row_start, row_end) in enumerate(rows, start=1):
            yield Mark(start=row_start, end=row_end, kind="row", value=number)


def _read_columns(tokens: Sequence[Token], table_index: int) -> list[str]:
    columns: list[str] = []
    for token in islice(tokens, table_index, None):
        if token.type == "thead_close":
            break
        if token.type == "inline":
            columns.append(_clean_name(token.content))
    return columns


def _list_rows(
    text: str, line_starts: Sequence[int], token: Token, column_count: int
) -> Iterator[tuple[int, int]]:
    """Yield the span of each row below the rule.

    A line without a vertical bar directly below a table is text, although Markdown reads it as a
    row. The parser stops after 65,536 missing cells; rows that follow are read all the same.
    """
    assert token.map
    line, stop = token.map[0] + 2, token.map[1]
    while line < len(line_starts):
        start, end = line_starts[line], _get_line_end(text, line_starts, line)
        if line >= stop and (token.level or not text.startswith("|", start)):
            return
        if column_count > 1 and text.find("|", start, end) < 0:
            return
        if start < end:
            yield start, end
        line += 1


def _get_line_end(text: str, line_starts: Sequence[int], line: int) -> int:
    if line + 1 >= len(line_starts):
        return len(text)
    end = line_starts[line + 1]
    return end - 2 if text[end - 2 : end] == "\r\n" else end - 1


def _extend_header(
    text: str, columns: list[str], lines: Sequence[tuple[int, int]]
) -> tuple[int, list[str]]:
    """Return the number of rows below the rule that belong to the header, and the names.

    The first row does if it is bold and there are no names above the rule, or if it distinguishes
    columns of the same name: ``2024 | 2024`` above ``Units | Sales``.
    """
    is_named = any(columns)
    if len(lines) < 2 or (is_named and len(set(columns)) == len(columns)):
        return 0, columns
    sample = [
        [text[start + a : start + b] for a, b in split_cells(text[start:end])]
        for start, end in lines[:_MAX_SAMPLE_ROWS]
    ]
    first = [_clean_name(cell) for cell in sample[0]]
    if len(first) != len(columns):
        return 0, columns
    if not is_named:
        is_bold = all(_BOLD.fullmatch(cell) for cell in sample[0] if cell)
        return (1, first) if is_bold and any(first) else (0, columns)
    repeated = [i for i, name in enumerate(columns) if name and columns.count(name) > 1]
    names = [first[i] for i in repeated]
    has_names = all(names) and not any(map(is_value, names))
    has_values = all(any(is_value(row[i]) for row in sample[1:] if i < len(row)) for i in repeated)
    if (
        repeated
        and has_names
        and has_values
        and len({*zip(columns, first, strict=True)}) == len(columns)
    ):
        return 1, join_header_rows([columns, first])
    return 0, columns


def _find_caption(tokens: Sequence[Token], table_index: int) -> str:
    """Return the caption of a table: the paragraph before it, if that is short or a lead-in.

    Otherwise the paragraph after it, if that begins with "Table 3".
    """
    table = tokens[table_index]
    before = _get_paragraph(tokens, table_index - 3, table.level)
    if before:
        is_adjacent = tokens[table_index - 3].map[1] == table.map[0]  # type: ignore[index]
        content = before.content.rpartition("\n")[2] if is_adjacent else before.content
        caption = _clean_name(content)
        if is_adjacent and len(caption) <= MAX_CAPTION_CHARACTERS:
            return caption.rstrip(":：").rstrip()
        if caption := _select_caption(content, caption):
            return caption
    for i in range(table_index + 1, len(tokens)):
        if tokens[i].type == "table_close" and tokens[i].level == table.level:
            after = _get_paragraph(tokens, i + 1, table.level)
            is_next_table = i + 4 < len(tokens) and tokens[i + 4].type == "table_open"
            caption = _clean_name(after.content) if after and not is_next_table else ""
            if _TABLE_NUMBER.match(caption) and len(caption) <= MAX_CAPTION_CHARACTERS:
                return caption
            break
    return ""


def _get_paragraph(tokens: Sequence[Token], index: int, level: int) -> Token | None:
    """Return the content of the paragraph that begins at `index`, on the given level."""
    if index < 0 or index + 2 >= len(tokens):
        return None
    opening = tokens[index]
    is_paragraph = opening.type == "paragraph_open" and opening.level == level
    return tokens[index + 1] if is_paragraph else None


def _select_caption(content: str, caption: str) -> str:
    """Return `caption`, the plain text of the paragraph `content`, if it names a table."""
    is_lead_in = caption.endswith((":", "："))
    if is_lead_in and len(caption) > MAX_CAPTION_CHARACTERS:
        caption = re.split(r"(?<=[.!?。！？])\s+", caption)[-1]
    if not caption or len(caption) > MAX_CAPTION_CHARACTERS:
        return ""
    is_short = (
        "\n" not in content.strip()
        and len(caption) <= _MAX_CAPTION_LINE_CHARACTERS
        and not _SENTENCE_END.search(caption)
    )
    if is_lead_in or is_short or _BOLD.fullmatch(content) or _TABLE_NUMBER.match(caption):
        return caption.rstrip(":：").rstrip()
    return ""


def _clean_name(text: str) -> str:
    """Return a line of Markdown as plain text."""
    text = _BREAK.sub(" ", text[: 4 * MAX_CAPTION_CHARACTERS])
    text = INLINE_MARKUP.sub(lambda match: match.group(1) or "", text)
    return " ".join(_ESCAPED.sub(r"\1", text).split())
