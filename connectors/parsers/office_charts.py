"""Charts and diagrams of office documents: their values as tables, their texts as a list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from connectors.parsers.number_formats import format_general, format_moment, format_number
from connectors.parsers.office_parts import CHART, DIAGRAM, DRAWING
from connectors.parsers.safe_zip import local_name

_MAX_POINTS = 100_000  # of a series
_MAX_CELLS = 1_000_000  # of a table
_MAX_DATE_NUMBER = 2_958_465  # 9999-12-31
_FIRST_DAYS = {False: datetime(1899, 12, 30), True: datetime(1904, 1, 1)}
_POINT_PLOTS = ("scatterChart", "bubbleChart")
_CATEGORY_AXES = ("catAx", "dateAx", "serAx")

Values = Mapping[int, str]
"""Values of a series by their index."""


class ChartTable(NamedTuple):
    """A table of a chart: its title, and a grid whose first row has the names of the columns."""

    title: str
    grid: list[list[str]]


class _Series(NamedTuple):
    name: str
    categories: Values
    values: Values
    sizes: Values


def read_chart(root: Any) -> list[ChartTable]:
    """Return the tables of the chart part `root`: series in columns, or a point in each row."""
    if root.tag != f"{CHART}chartSpace":
        return _read_extended_chart(root)
    chart = root.find(f"{CHART}chart")
    area = None if chart is None else chart.find(f"{CHART}plotArea")
    if area is None:
        return []
    is_from_1904 = _is_on(root.find(f"{CHART}date1904"))
    categories_name, values_name = _read_axis_titles(area)
    title = _read_title(chart)
    grids: list[list[list[str]]] = []
    category_series: list[_Series] = []
    for plot in area:
        series = [
            _read_series(element, is_from_1904) for element in plot if local_name(element) == "ser"
        ]
        if local_name(plot) in _POINT_PLOTS:
            grids.append(_make_point_grid(series, categories_name, values_name))
        else:
            category_series += series
    caption = f"{title} ({values_name})" if title and values_name else title or values_name
    grids = [*_make_category_grids(category_series, categories_name), *grids]
    grids = [grid for grid in grids if len(grid) > 1]
    if not grids:
        return [ChartTable(caption, [])] if caption else []
    return [ChartTable(caption if i == 0 else "", grid) for i, grid in enumerate(grids)]


def list_chart_texts(root: Any) -> Iterator[str]:
    """Yield each title and name in a chart part once, to compare its tables with them."""
    texts = [_join_texts(element) for element in root.iter(f"{DRAWING}p")]
    for element in root.iter(f"{CHART}strCache"):
        texts += (value.text or "" for value in element.iter(f"{CHART}v"))
    yield from dict.fromkeys(texts)


def _make_category_grids(series: Sequence[_Series], name: str) -> Iterator[list[list[str]]]:
    """Yield a grid for the series of each set of categories."""
    groups: dict[tuple[str, ...], list[_Series]] = {}
    shared: tuple[str, ...] | None = None
    for data_series in series:
        key = tuple(data_series.categories.values())
        if not key and shared is not None:  # a series without categories shares those before it
            key = shared
        shared = key
        groups.setdefault(key, []).append(data_series)
    for group in groups.values():
        categories = max((data_series.categories for data_series in group), key=len)
        indexes = sorted(
            {i for data_series in group for i in (*data_series.values, *data_series.categories)}
        )
        indexes = indexes[: max(1, _MAX_CELLS // len(group))]
        grid = [[name, *(data_series.name for data_series in group)]]
        grid += [
            [
                categories.get(i, str(i + 1)),
                *(data_series.values.get(i, "") for data_series in group),
            ]
            for i in indexes
        ]
        yield grid


def _make_point_grid(series: Sequence[_Series], x_name: str, y_name: str) -> list[list[str]]:
    """Return a grid with a row for each point of a scatter or bubble chart."""
    has_names = any(data_series.name for data_series in series)
    has_sizes = any(data_series.sizes for data_series in series)
    names = ["Series"] * has_names + [x_name or "X", y_name or "Y"] + ["Size"] * has_sizes
    grid = [names]
    for data_series in series:
        for i in sorted({*data_series.categories, *data_series.values}):
            cells = [data_series.name] * has_names
            cells += [data_series.categories.get(i, str(i + 1)), data_series.values.get(i, "")]
            grid.append(cells + [data_series.sizes.get(i, "")] * has_sizes)
    return grid


def _read_series(element: Any, is_from_1904: bool) -> _Series:
    parts = {local_name(child): child for child in element}
    name = parts.get("tx")
    return _Series(
        _read_name(name),
        _read_values(parts.get("cat", parts.get("xVal")), is_from_1904),
        _read_values(parts.get("val", parts.get("yVal")), is_from_1904),
        _read_values(parts.get("bubbleSize"), is_from_1904),
    )


def _read_name(element: Any) -> str:
    if element is None:
        return ""
    values = [value.text or "" for value in element.iter(f"{CHART}v")]
    return " ".join(" ".join(values).split()) or _join_texts(element)


def _read_values(element: Any, is_from_1904: bool) -> Values:
    """Return the cached values; the names of categories on several levels are joined."""
    if element is None:
        return {}
    code = next((part.text or "" for part in element.iter(f"{CHART}formatCode")), "")
    levels = list(element.iter(f"{CHART}lvl"))
    if not levels:
        return _read_points(element, code, is_from_1904)
    inner, *outer = (_read_points(level, code, is_from_1904) for level in levels)
    joined: dict[int, str] = {}
    last = [""] * len(outer)
    for i in sorted(inner):
        last = [level.get(i, text) for level, text in zip(outer, last, strict=True)]
        joined[i] = " ".join(filter(None, (*reversed(last), inner[i])))
    return joined


def _read_points(element: Any, code: str, is_from_1904: bool) -> Values:
    points: dict[int, str] = {}
    for point in element.iter(f"{CHART}pt"):
        index = point.get("idx", "")
        value = point.find(f"{CHART}v")
        if value is not None and index.isdecimal() and len(index) < 10:
            own_code = point.get("formatCode", code)
            points[int(index)] = _format_value(value.text or "", own_code, is_from_1904)
        if len(points) >= _MAX_POINTS:
            break
    return points


def _format_value(text: str, code: str, is_from_1904: bool) -> str:
    """Return a value as the chart shows it: dates and percentages in their format."""
    text = " ".join(text.split())
    if code in ("", "General", "@"):
        return _format_plain(text)
    try:
        number = float(text)
    except ValueError:
        return text
    try:
        if 0 <= number <= _MAX_DATE_NUMBER:
            moment = _FIRST_DAYS[is_from_1904] + timedelta(days=number)
            return format_moment(moment, code) or _format_plain(text)
    except (ValueError, ArithmeticError):  # it is not the format of a date
        pass
    try:
        return format_number(number, code) or _format_plain(text)
    except (ValueError, ArithmeticError):
        return _format_plain(text)


def _format_plain(text: str) -> str:
    try:
        return format_general(float(text))
    except (ValueError, OverflowError):
        return text


def _read_axis_titles(area: Any) -> tuple[str, str]:
    """Return the titles of the axes of categories (or X) and of values (or Y)."""
    titles = {"x": "", "y": ""}
    has_categories = any(local_name(axis) in _CATEGORY_AXES for axis in area)
    for axis in area:
        name = local_name(axis)
        if not name.endswith("Ax"):
            continue
        position = axis.find(f"{CHART}axPos")
        is_horizontal = position is not None and position.get("val") in ("b", "t")
        is_first = name in _CATEGORY_AXES or (not has_categories and is_horizontal)
        title = _read_title(axis)
        key = "x" if is_first else "y"
        titles[key] = ", ".join(dict.fromkeys(filter(None, (titles[key], title))))
    return titles["x"], titles["y"]


def _read_title(element: Any) -> str:
    title = element.find(f"{CHART}title")
    return "" if title is None else _join_texts(title) or _read_name(title)


def _join_texts(element: Any) -> str:
    texts = (
        " " if local_name(part) in ("br", "p") else part.text or ""
        for part in element.iter(f"{DRAWING}t", f"{DRAWING}br", f"{DRAWING}p")
    )
    return " ".join("".join(texts).split())


def _is_on(element: Any) -> bool:
    return element is not None and element.get("val", "1") not in ("0", "false")


def _read_extended_chart(root: Any) -> list[ChartTable]:
    """Read a waterfall, funnel, treemap or another of the newer charts."""
    names: dict[str, str] = {}
    for series in root.iter("{*}series"):
        data = next(series.iter("{*}dataId"), None)
        text = next(
            (part.text or "" for tx in series.iter("{*}tx") for part in tx.iter("{*}v")), ""
        )
        if data is not None:
            names[data.get("val", "")] = " ".join(text.split())
    title = next((_join_texts(element) for element in root.iter("{*}title")), "")
    tables: list[ChartTable] = []
    for data in root.iter("{*}data"):
        columns: list[Mapping[int, str]] = []
        for dimension in data:
            levels = [
                {int(p.get("idx")): _format_plain(" ".join((p.text or "").split())) for p in level}
                for level in dimension
                if local_name(level) == "lvl" and all(_has_index(p) for p in level)
            ]
            columns += reversed(levels) if local_name(dimension) == "strDim" else levels
        indexes = sorted({i for column in columns for i in column})
        indexes = indexes[: max(1, _MAX_CELLS // max(1, len(columns)))]
        header = [""] * max(0, len(columns) - 1) + [names.get(data.get("id", ""), "")]
        grid = [header, *([column.get(i, "") for column in columns] for i in indexes)]
        if len(grid) > 1:
            tables.append(ChartTable("" if tables else title, grid))
    return tables or ([ChartTable(title, [])] if title else [])


def _has_index(point: Any) -> bool:
    index = point.get("idx", "")
    return bool(index.isdecimal()) and len(index) < 10


def read_diagram(root: Any) -> list[str]:
    """Return the texts of the boxes of a diagram (SmartArt) from its data part."""
    texts: list[str] = []
    for point in root.iter(f"{DIAGRAM}pt"):
        if point.get("type", "node") in ("node", "asst"):
            texts.append(_join_texts(point))
    return [text for text in texts if text]
