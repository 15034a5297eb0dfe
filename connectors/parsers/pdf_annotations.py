"""Form values, text boxes and comments of a PDF page, which are not in its text layer."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from connectors.parsers.omissions import OmissionLog, list_words
from connectors.parsers.pdf_layout import CharacterBoxes, Line
from rag.types import to_well_formed

_MAX_ANNOTATIONS = 5_000  # of a page
_MAX_TEXT_CHARACTERS = 100_000  # of an annotation
_HIDDEN_FLAGS = 0x01 | 0x02 | 0x20  # invisible, hidden, not shown on the screen
_PASSWORD_FLAG = 1 << 13
_MAX_LABEL_DISTANCE = 200.0  # points between the label and a field to its right
_MAX_CHECK_BOX_DISTANCE = 40.0  # points between a check box and the label to its right
_MAX_LABEL_HEIGHT = 14.0  # points between a field and the label above it
_MAX_PARAGRAPH_LINES = 15  # that a comment is moved down, to the end of a paragraph
_SHORT_LINE_CHARACTERS = 40
_SENTENCE_ENDS = ".!?:;…。"
_WORD = re.compile(r"\S+")
_TAG = re.compile(r"<[^<>]*>")

Box = tuple[float, float, float, float]


@dataclass(slots=True)
class Annotation:
    """Text that is written at a place of a page; ``box`` is in the coordinates of the lines."""

    kind: Literal["field", "choice", "text", "comment"]
    text: str
    box: Box
    name: str = ""


# -- Reading --------------------------------------------------------------------------------


def read_annotations(
    page: Any, form: Any, boxes: CharacterBoxes | None, log: OmissionLog
) -> list[Annotation]:
    """Return the texts of the annotations of a page; hidden ones are recorded in `log`.

    `form` is PDFium's form handle, None for a document without a form.
    """
    import pypdfium2.raw as pdfium

    count = pdfium.FPDFPage_GetAnnotCount(page.raw)
    annotations: list[Annotation] = []
    for index in range(min(count, _MAX_ANNOTATIONS)):
        handle = pdfium.FPDFPage_GetAnnot(page.raw, index)
        if not handle:
            continue
        try:
            subtype = pdfium.FPDFAnnot_GetSubtype(handle)
            if subtype in (pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_POPUP):
                continue
            annotation = _read_annotation(handle, subtype, form)
            if annotation is None or not annotation.text.strip():
                continue
            if pdfium.FPDFAnnot_GetFlags(handle) & _HIDDEN_FLAGS:
                log.add("hidden", "annotation", f"{annotation.name} {annotation.text}")
                continue
            if boxes is not None:
                annotation.box = boxes.turn(annotation.box)
            annotations.append(annotation)
        finally:
            pdfium.FPDFPage_CloseAnnot(handle)
    return annotations


def _read_annotation(handle: Any, subtype: int, form: Any) -> Annotation | None:
    import pypdfium2.raw as pdfium

    rectangle = pdfium.FS_RECTF()
    pdfium.FPDFAnnot_GetRect(handle, ctypes.byref(rectangle))
    x_min, x_max = sorted((rectangle.left, rectangle.right))
    y_min, y_max = sorted((rectangle.bottom, rectangle.top))
    box = (x_min, y_min, x_max, y_max)
    if subtype == pdfium.FPDF_ANNOT_WIDGET:
        return _read_field(handle, form, box)
    contents = _read_text(handle, "Contents")
    if subtype == pdfium.FPDF_ANNOT_FREETEXT:
        return Annotation("text", contents or _TAG.sub(" ", _read_text(handle, "RC")), box)
    if not contents.strip() or pdfium.FPDFAnnot_HasKey(handle, b"StateModel"):
        return None
    author = " ".join(_read_text(handle, "T").split())[:200]
    return Annotation("comment", " ".join(contents.split()), box, author)


def _read_field(handle: Any, form: Any, box: Box) -> Annotation | None:
    """Return the value of a form field; None for buttons, signatures and empty fields."""
    import pypdfium2.raw as pdfium

    if form is None:
        return Annotation("field", _read_text(handle, "V"), box, _read_text(handle, "T"))
    name = _read_string(pdfium.FPDFAnnot_GetFormFieldAlternateName, form, handle)
    name = name or _read_string(pdfium.FPDFAnnot_GetFormFieldName, form, handle)
    kind = pdfium.FPDFAnnot_GetFormFieldType(form, handle)
    if kind in (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON):
        if kind == pdfium.FPDF_FORMFIELD_RADIOBUTTON:
            name = _read_string(pdfium.FPDFAnnot_GetFormFieldExportValue, form, handle) or name
        mark = "[x]" if pdfium.FPDFAnnot_IsChecked(form, handle) else "[ ]"
        return Annotation("choice", mark, box, name)
    value = _read_string(pdfium.FPDFAnnot_GetFormFieldValue, form, handle)
    if kind in (pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX):
        value = ", ".join(_list_selected_options(form, handle)) or value
    elif (
        kind != pdfium.FPDF_FORMFIELD_TEXTFIELD
        or pdfium.FPDFAnnot_GetFormFieldFlags(form, handle) & _PASSWORD_FLAG
    ):
        return None
    return Annotation("field", " ".join(value.split()), box, name)


def _list_selected_options(form: Any, handle: Any) -> Iterator[str]:
    import pypdfium2.raw as pdfium

    for index in range(max(0, pdfium.FPDFAnnot_GetOptionCount(form, handle))):
        if pdfium.FPDFAnnot_IsOptionSelected(form, handle, index):
            yield _read_string(
                lambda *rest, i=index: pdfium.FPDFAnnot_GetOptionLabel(form, handle, i, *rest)
            )


def _read_text(handle: Any, key: str) -> str:
    import pypdfium2.raw as pdfium

    return _read_string(pdfium.FPDFAnnot_GetStringValue, handle, key.encode())


def _read_string(read: Callable[..., int], *arguments: Any) -> str:
    """Call a function of PDFium that writes UTF-16 to a buffer, and return the text."""
    import pypdfium2.raw as pdfium

    size = read(*arguments, None, 0)
    if not 2 < size <= 2 * _MAX_TEXT_CHARACTERS:
        return ""
    buffer = (pdfium.FPDF_WCHAR * (size // 2 + 1))()
    read(*arguments, buffer, size)
    return to_well_formed(bytes(buffer)[: size - 2].decode("utf-16-le", "replace")).rstrip("\0")


# -- Writing --------------------------------------------------------------------------------


def insert_annotations(
    lines: list[Line], annotations: Sequence[Annotation], boxes: CharacterBoxes | None
) -> list[Line]:
    """Return the lines of a page with the texts of the annotations at their places."""
    insertions: dict[int, list[tuple[int, str]]] = {}
    added: list[tuple[Line | None, list[Line]]] = []
    for annotation in sorted(annotations, key=lambda a: (-a.box[3], a.box[0])):
        if annotation.kind in ("field", "choice"):
            label_position = _find_label(lines, annotation, boxes)
            if label_position is not None:
                line, position = label_position
                insertions.setdefault(id(line), []).append((position, annotation.text))
                continue
        elif annotation.kind == "text" and _is_drawn(lines, annotation):
            continue
        added.append((_find_line_above(lines, annotation), _write_lines(annotation)))
    for line in lines:
        for position, text in sorted(insertions.get(id(line), ()), key=lambda i: -i[0]):
            before, after = line.text[:position].rstrip(), line.text[position:].lstrip()
            line.text = " ".join(part for part in (before, text, after) if part)
    result = list(lines)
    for upper, new_lines in reversed(added):
        index = next((i for i, line in enumerate(result) if line is upper), -1) + 1
        index = _find_paragraph_end(result, index)
        result[index:index] = new_lines
    return result


def _find_paragraph_end(lines: Sequence[Line], index: int) -> int:
    """Return the index of the first line from `index` on that does not continue a sentence."""
    for i in range(index, min(index + _MAX_PARAGRAPH_LINES, len(lines))):
        previous = lines[i - 1].text.rstrip() if i else ""
        text = lines[i].text.lstrip()
        if not previous or previous[-1] in _SENTENCE_ENDS or not text or lines[i - 1].marks:
            return i
        if not text[0].islower() and len(previous) < _SHORT_LINE_CHARACTERS:
            return i
    return index


def _write_lines(annotation: Annotation) -> list[Line]:
    x_min, y_min, x_max, y_max = annotation.box
    if annotation.kind == "text":
        return [Line(" ".join(part.split())) for part in annotation.text.splitlines() if part]
    if annotation.kind == "comment":
        author = f" by {annotation.name}" if annotation.name else ""
        return [Line(""), Line(f"[Comment{author}: {annotation.text}]"), Line("")]
    name = " ".join(annotation.name.split())
    if annotation.kind == "choice":
        return [Line(f"{annotation.text} {name}".rstrip(), 0, x_min, x_max, y_min, y_max)]
    return [Line(f"{name}: {annotation.text}" if name else annotation.text)]


def _find_label(
    lines: Sequence[Line], annotation: Annotation, boxes: CharacterBoxes | None
) -> tuple[Line, int] | None:
    """Return the line with the label of a field, and the position of the value in it."""
    x_min, y_min, x_max, y_max = annotation.box
    best: tuple[float, Line, int] | None = None
    for line in lines:
        if line.marks or line.x_max <= line.x_min:
            continue
        centre = (line.y_min + line.y_max) / 2
        field_centre = (y_min + y_max) / 2
        is_beside = y_min <= centre <= y_max or line.y_min <= field_centre <= line.y_max
        if is_beside and line.x_max <= x_min + 2:
            distance, position = x_min - line.x_max, len(line.text)
            if distance > _MAX_LABEL_DISTANCE:
                continue
            if annotation.kind == "choice":
                distance += _MAX_CHECK_BOX_DISTANCE  # the label of a check box follows it
        elif is_beside and line.x_min >= x_max - 2:
            distance, position = line.x_min - x_max, 0
            if annotation.kind != "choice" or distance > _MAX_CHECK_BOX_DISTANCE:
                continue
        elif is_beside and line.x_min < x_min < line.x_max and boxes is not None:
            distance, position = 0.0, _find_position(line, x_min, boxes)
        elif (
            annotation.kind == "field"
            and 0 <= line.y_min - y_max + 3 <= _MAX_LABEL_HEIGHT
            and line.x_min < x_max
            and line.x_max > x_min
            and boxes is not None
        ):
            distance = _MAX_LABEL_DISTANCE + abs(line.x_min - x_min) / 100
            position = _find_position(line, x_max, boxes)
        else:
            continue
        if best is None or distance < best[0]:
            best = (distance, line, position)
    return None if best is None else (best[1], best[2])


def _find_position(line: Line, x: float, boxes: CharacterBoxes) -> int:
    """Return the start of the first word of a line that is right of `x`; its length if none is."""
    for word in _WORD.finditer(line.text):
        if boxes.get_x_min(line.start + word.start()) >= x - 2:
            return word.start()
    return len(line.text)


def _is_drawn(lines: Sequence[Line], annotation: Annotation) -> bool:
    """Whether the page itself has the text of an annotation, at its place."""
    x_min, y_min, x_max, y_max = annotation.box
    inside = [
        line.text
        for line in lines
        if line.y_max >= y_min
        and line.y_min <= y_max
        and line.x_max >= x_min
        and line.x_min <= x_max
    ]
    words = list_words(annotation.text)
    return bool(inside) and set(words) <= set(list_words(" ".join(inside)))


def _find_line_above(lines: Sequence[Line], annotation: Annotation) -> Line | None:
    """Return the line after which an annotation is written; None at the top of the page."""
    x_min, y_min, x_max, y_max = annotation.box
    centre = (y_min + y_max) / 2
    above = [line for line in lines if line.y_max > line.y_min and line.y_max >= centre]
    overlapping = [line for line in above if line.x_min < x_max and line.x_max > x_min]
    if not above:
        return None
    return min(overlapping or above, key=lambda line: line.y_max - centre)
