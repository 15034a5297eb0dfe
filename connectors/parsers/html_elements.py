"""Simplifying HTML before it becomes Markdown: labels become headings, indices become characters.

Markdown has no buttons, definition lists or indices. Their text is what a reader needs: the
question of an answer that is shown with a click, the term of a definition, the 2 of CO2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Set
from typing import Any

from connectors.parsers.docx_numbering import format_roman
from connectors.parsers.html_styles import strike_out
from connectors.parsers.invisible_characters import remove_invisible_characters

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
INLINE_TAGS = (
    *("a", "abbr", "b", "bdi", "cite", "code", "del", "em", "font", "i", "ins", "kbd", "mark", "q"),
    *("s", "small", "span", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr", "ruby", "rb"),
    *("rt", "rp", "math", "mi", "mn", "mo", "mrow", "msup", "msub", "mfrac", "semantics"),
    *("annotation", "annotation-xml"),
)
_DROPPED_TAGS = (
    *("script", "style", "head", "noscript", "template", "svg", "iframe", "object"),
    *("annotation", "annotation-xml", "rt", "rp", "datalist"),
)
_BLOCK_TAGS = (
    *("aside", "figcaption", "figure", "header", "footer", "main", "address", "form", "fieldset"),
    *("legend", "details", "dialog", "center", "nav", "hgroup", "menu", "search", "dt", "dd"),
)
_SUPERSCRIPTS = str.maketrans("0123456789+-−=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱ")
_EXPONENT = re.compile(r"[0-9+\-−=()ni]{1,12}")
_REFERENCE = re.compile(r"\[?([0-9]{1,3}|[a-z*†‡])\]?")
_PERMALINK = re.compile(
    r"[#¶🔗↩↑⏎︎]+|permalink|(?:link|permalink) to this (?:heading|section|definition)", re.I
)
_WHITE_SPACE = re.compile(r"[ \t\r\n\f]+")
_LIST_STYLE = re.compile(r"(?i)list-style(?:-type)?\s*:\s*([a-z-]+)")
_LIST_KINDS = {
    "lower-alpha": "a", "lower-latin": "a", "upper-alpha": "A", "upper-latin": "A",
    "lower-roman": "i", "upper-roman": "I", "decimal": "1",
}  # fmt: skip
_TAB = re.compile(r"(?i)\btabs?\b|\bpills?\b")
_TOGGLE = re.compile(r"(?i)accordion|collapse|toggle|expand|faq")
_MAX_LABEL_CHARACTERS = 200
_MAX_DEPTH = 80
_TABLE_TAGS = ("table", "thead", "tbody", "tfoot", "tr", "td", "th", "caption", "body", "html")
_MAX_DEFINITION_CHARACTERS = 300  # a longer definition is a section below its term
_BLOCKS_IN_DEFINITION = ("ul", "ol", "table", "pre", "dl", "blockquote")


def simplify_elements(root: Any) -> None:
    """Change an lxml tree so that Markdown can have all of its text. The tree is changed."""
    _write_labels_of_pictures(root)
    for element in list(root.iter(*_DROPPED_TAGS)):
        if element is not root:
            element.drop_tree()
    _limit_depth(root)
    strike_out(root)
    _write_form_values(root)
    for comment in list(root.xpath("//comment() | //processing-instruction()")):
        if comment.getparent() is not None:
            comment.drop_tree()
    _collapse_white_space(root)
    _join_bold_text(root)
    _simplify_formulas(root)
    _simplify_indices(root)
    _drop_permalinks(root)
    _split_list_items(root)
    _number_list_items(root)
    _write_labels_as_headings(root)
    for button in list(root.iter("button")):
        button.drop_tree()
    for definitions in list(root.iter("dl")):
        _rewrite_definitions(definitions)


def rename_blocks(root: Any) -> None:
    """Turn the blocks that markdownify does not know into ``div``."""
    for block in root.iter(*_BLOCK_TAGS):
        block.tag = "div"


def _limit_depth(root: Any) -> None:
    """Remove the tags of elements that are nested too deep; their text stays."""
    from lxml.etree import iterwalk

    too_deep: list[Any] = []
    depth = 0
    for event, element in iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if event == "start" and depth > _MAX_DEPTH and element.tag not in _TABLE_TAGS:
            too_deep.append(element)
    for element in reversed(too_deep):
        if element is not root and element.getparent() is not None:
            element.drop_tag()


def _write_form_values(root: Any) -> None:
    """Replace the fields of forms by their values: what is typed, checked or to choose from."""
    for field in list(root.iter("input", "textarea", "select")):
        if field is root or field.getparent() is None:
            continue
        if field.tag == "textarea":
            text = "".join(field.itertext())
        elif field.tag == "select":
            options = list(field.iter("option"))
            selected_options = [o for o in options if o.get("selected") is not None] or options
            text = ", ".join(filter(None, map(read_text, selected_options)))
        else:
            text = _read_input(field)
        for child in list(field):
            field.remove(child)
        field.text = f" {text} " if text.strip() else None
        field.drop_tag()


def _read_input(field: Any) -> str:
    kind = (field.get("type") or "text").lower()
    if kind in ("checkbox", "radio"):
        return "[x]" if field.get("checked") is not None else "[ ]"
    if kind in ("hidden", "password", "submit", "button", "image", "reset", "file", "search"):
        return ""
    return field.get("value") or ""


def read_text(element: Any) -> str:
    """Return the text of an element on one line, with a space for a line break or block."""
    from lxml.etree import iterwalk

    pieces: list[str] = []
    for event, part in iterwalk(element, events=("start", "end", "comment", "pi")):
        if event == "start":
            separator = " " if part.tag not in INLINE_TAGS else ""
            pieces += [separator, part.text or ""]
        if event != "start" and part is not element:
            separator = " " if part.tag not in INLINE_TAGS else ""
            pieces += [separator, part.tail or ""]
    return " ".join("".join(pieces).split())


def _collapse_white_space(root: Any) -> None:
    """Replace line breaks and spaces of the source by one space, except in code.

    Soft hyphens and other characters that are not shown are removed.
    """
    preformatted = {inner for code in root.iter("pre") for inner in code.iter()}
    for element in root.iter():
        if element.text and isinstance(element.tag, str):
            element.text = _simplify_text(element.text, element in preformatted)
        if element.tail:
            element.tail = _simplify_text(element.tail, element.getparent() in preformatted)


def _simplify_text(text: str, is_preformatted: bool) -> str:
    text = remove_invisible_characters(text)
    return text if is_preformatted else _WHITE_SPACE.sub(" ", text)


def _join_bold_text(root: Any) -> None:
    """Join bold elements that follow each other directly."""
    for element in list(root.iter("b", "strong")):
        following = element.getnext()
        while following is not None and following.tag == element.tag and not element.tail:
            element.append(following)
            element.tail, following.tail = following.tail, None
            following.drop_tag()
            following = element.getnext()


def _simplify_formulas(root: Any) -> None:
    """Write the exponents and fractions of MathML as text, the innermost first."""
    for element in reversed(list(root.iter("msup", "mfrac"))):
        parts = [read_text(child) for child in element]
        if len(parts) != 2:
            continue
        for child in list(element):
            element.remove(child)
        if element.tag == "mfrac":
            element.text = "/".join(p if len(p) == 1 or p.isalnum() else f"({p})" for p in parts)
        else:
            is_plain = _EXPONENT.fullmatch(parts[1]) is not None
            exponent = parts[1].translate(_SUPERSCRIPTS) if is_plain else f"^({parts[1]})"
            element.text = parts[0] + exponent


def _simplify_indices(root: Any) -> None:
    for element in list(root.iter("a")):
        names = f"{element.get('epub:type') or ''} {element.get('role') or ''}"
        number = _REFERENCE.fullmatch(read_text(element))
        if number and "noteref" in names and not any(True for _ in element.iterancestors("sup")):
            element.text = f"[^{number.group(1)}]"
            for child in list(element):
                element.remove(child)
    for element in list(root.iter("sub", "sup")):
        if element.getparent() is None:  # it was in another index
            continue
        text = read_text(element)
        if element.tag == "sup":
            text = _format_superscript(element, text)
        elif re.search(r"[+*/=−-]", text):
            text = f"_({text})"
        tail = element.tail
        for child in list(element):
            element.remove(child)
        element.text, element.tail = text, tail
        element.drop_tag()


def _format_superscript(element: Any, text: str) -> str:
    """Return a superscript as characters: ``m²``; the number of a note as ``[^1]``."""
    links = [*element.iter("a"), *element.iterancestors("a")]
    is_reference = any((link.get("href") or "").startswith("#") for link in links)
    if is_reference and (number := _REFERENCE.fullmatch(text)):
        return f"[^{number.group(1)}]"
    if _EXPONENT.fullmatch(text):
        return text.translate(_SUPERSCRIPTS)
    return f"^({text})" if re.search(r"[*/=]", text) else text


# -- Labels --------------------------------------------------------------------------------


def _write_labels_as_headings(root: Any) -> None:
    """Turn the labels of hidden or folded content into headings, and free headings of controls."""
    by_id = {element.get("id"): element for element in root.iter() if element.get("id")}
    panel_ids = set(map(_read_target, root.iter("button", "a", "li", "div", "span", "label")))
    level = 1
    for element in list(root.iter()):
        if not isinstance(element.tag, str) or _is_removed(element, root):
            continue
        if element.tag in HEADINGS:
            level = int(element.tag[1])
            _clean_heading(element)
        elif element.tag == "summary" or (
            element.tag == "button" and element.get("aria-expanded") is not None
        ):
            _make_heading(element, level + 1, element.getparent())
        elif element.tag in ("button", "a", "li", "div", "span", "label"):
            target = by_id.get(_read_target(element))
            if target is None or target is element:
                continue
            if element.get("role") == "tab" or _is_tab(element):
                _label_panel(element, target, level + 1, panel_ids)
            elif element.tag == "button" or _TOGGLE.search(_read_toggle(element)):
                _make_heading(element, level + 1, target)


def _is_tab(element: Any) -> bool:
    """Whether a control is a tab, or in a list of tabs."""
    elements = [element, *element.iterancestors()][:3]
    return any(_TAB.search(_read_toggle(e)) or e.get("role") == "tablist" for e in elements)


def _drop_permalinks(root: Any) -> None:
    for link in list(root.iter("a")):
        if (text := read_text(link)) and _PERMALINK.fullmatch(text):
            link.drop_tree()


def _split_list_items(root: Any) -> None:
    """Make a paragraph of the text of a list item that follows a list in it."""
    for inner in list(root.iter("ul", "ol")):
        parent = inner.getparent()
        if parent is not None and parent.tag == "li" and (inner.tail or "").strip():
            paragraph = inner.makeelement("p")
            paragraph.text, inner.tail = inner.tail, None
            inner.addnext(paragraph)


def _number_list_items(root: Any) -> None:
    """Write the numbers that Markdown has not: letters, Roman ones, and those that do not ascend.

    A list such as ``<ol type="A">`` becomes one with bullets, whose items begin with "A.".
    """
    for items in list(root.iter("ol")):
        elements = [child for child in items if child.tag == "li"]
        style = _LIST_STYLE.search(items.get("style") or "")
        kind = _LIST_KINDS.get((style[1] if style else "").lower(), items.get("type") or "1")
        step = 1 if items.get("reversed") is None else -1
        first = _read_integer(items.get("start"), len(elements) if step < 0 else 1)
        numbers: list[int] = []
        for element in elements:
            following = numbers[-1] + step if numbers else first
            numbers.append(_read_integer(element.get("value"), following))
        is_plain = numbers == list(range(first, first + len(numbers)))
        if (kind in "1" and is_plain) or not numbers:
            continue
        items.tag = "ul"
        for element, number in zip(elements, numbers, strict=True):
            holder = element[0] if len(element) and element[0].tag == "p" else element
            label = format_list_number(number, kind)
            holder.text = f"{label}. {(holder.text or '').lstrip()}"


def _read_integer(text: str | None, default: int) -> int:
    digits = (text or "").strip()
    return int(digits) if re.fullmatch(r"[+-]?\d{1,6}", digits, re.ASCII) else default


def format_list_number(number: int, kind: str) -> str:
    """Return a number as HTML's ``type`` says: 1, a, A, i or I. Others and 0 are digits."""
    if kind in ("a", "A") and number > 0:
        letters = ""
        while number:
            number, digit = divmod(number - 1, 26)
            letters = chr(ord(kind) + digit) + letters
        return letters
    if kind in ("i", "I") and number > 0:
        roman = format_roman(number)
        return roman if kind == "i" else roman.upper()
    return str(number)


def _write_labels_of_pictures(root: Any) -> None:
    """Write what a picture says that is alone in a cell of a table: ``alt="yes"``."""
    for cell in root.iter("td", "th"):
        drawings = list(cell.iter("svg"))
        titles = [read_text(title) for drawing in drawings for title in drawing.iter("title")]
        pictures = [*cell.iter("img", "i", "span"), *drawings]
        names = ("alt", "aria-label", "title")
        labels = [*titles, *(picture.get(name) or "" for picture in pictures for name in names)]
        for drawing in drawings:
            if drawing.getparent() is not None:
                drawing.drop_tree()
        if not read_text(cell):
            cell.text = next((label for label in labels if label.strip()), None)


def _is_removed(element: Any, root: Any) -> bool:
    return element is not root and element.getparent() is None


def _clean_heading(heading: Any) -> None:
    """Replace the content of a heading by its text, without permalinks."""
    for link in list(heading.iter("a")):
        if _PERMALINK.fullmatch(read_text(link)):
            link.drop_tree()
    text = read_text(heading)
    images = [image for image in heading.iter("img") if image.get("alt")]
    for child in list(heading):
        heading.remove(child)
    heading.text = text or " ".join(image.get("alt") for image in images)
    if not heading.text.strip():
        heading.tag = "p"


def _read_target(element: Any) -> str:
    """Return the id of the element that a control shows; "" if there is none."""
    for name in ("aria-controls", "data-bs-target", "data-target", "href"):
        value = (element.get(name) or "").strip()
        if value and (name == "aria-controls" or value.startswith("#")):
            return value.removeprefix("#").split()[0] if value != "#" else ""
    return ""


def _read_toggle(element: Any) -> str:
    names = ("data-toggle", "data-bs-toggle", "class")
    return " ".join(element.get(name) or "" for name in names)


def _make_heading(element: Any, level: int, content: Any) -> None:
    """Turn a label into a heading, or into bold text if more than its content would be below."""
    text = read_text(element)
    if not text or len(text) > _MAX_LABEL_CHARACTERS:
        return
    if any(ancestor.tag in HEADINGS for ancestor in element.iterancestors()):
        return
    for child in list(element):
        element.remove(child)
    is_heading = content is None or _ends_section(content)
    element.tag, element.text = (f"h{min(level, 6)}" if is_heading else "p"), text
    if not is_heading:
        bold = element.makeelement("strong")
        bold.text, element.text = text, None
        element.append(bold)


def _ends_section(content: Any) -> bool:
    """Whether nothing but headings and other folded content follows an element."""
    for element in [content, *content.iterancestors()]:
        for following in element.itersiblings():
            if (element.tail or "").strip():
                return False
            if not isinstance(following.tag, str) or not read_text(following):
                continue
            is_label = following.tag in (*HEADINGS, "details", "summary", "button", "dt")
            return (
                is_label
                or (following.tag == "dl" and _begins_with_section(following))
                or next(following.iter("button", "summary", *HEADINGS), None) is not None
            )
        if element.tag == "body":
            break
    return True


def _begins_with_section(definitions: Any) -> bool:
    """Whether the first term of a list of definitions becomes a heading."""
    term, definition = next(definitions.iter("dt"), None), next(definitions.iter("dd"), None)
    if term is None or definition is None:
        return False
    return _is_long_definition(read_text(term), definition)


def _label_panel(tab: Any, panel: Any, level: int, panel_ids: Set[str]) -> None:
    """Write the label of a tab into its panel, and remove the tab.

    It is a heading, unless more than the panels would be below the last of them.
    """
    text = read_text(tab)
    if (
        not text
        or len(text) > _MAX_LABEL_CHARACTERS
        or any(a is panel for a in tab.iterancestors())
    ):
        return
    if _ends_section(_find_last_panel(panel, panel_ids)):
        heading = panel.makeelement(f"h{min(level, 6)}")
        heading.text, heading.tail, panel.text = text, panel.text, None
        panel.insert(0, heading)
    else:
        first = next(panel.iter("p"), panel)
        first.text = f"{text.rstrip(':')}: {(first.text or '').lstrip()}"
    tab.drop_tree()


def _find_last_panel(panel: Any, panel_ids: Set[str]) -> Any:
    """Return the last of the panels that follow each other."""
    kind = (panel.tag, panel.get("role"), panel.get("class"))
    last = panel
    for element in panel.itersiblings():
        if isinstance(element.tag, str):
            is_panel = (element.tag, element.get("role"), element.get("class")) == kind
            if not is_panel and element.get("id", "") not in panel_ids - {""}:
                break
            last = element
    return last


# -- Definitions ---------------------------------------------------------------------------


def _rewrite_definitions(definitions: Any) -> None:
    """Turn a list of definitions into lines ``Term: definition``, or headings and text."""
    if definitions.getparent() is None:
        return
    level = min(_find_level(definitions) + 1, 6)
    for group in list(definitions.iter("div")):
        if group.getparent() is definitions:
            group.drop_tag()
    terms: list[Any] = []
    for element in list(definitions):
        if element.tag == "dt":
            terms.append(element)
        elif element.tag == "dd" and terms:
            _join_definition(terms, element, level)
            terms = []
        elif element.tag == "dd":
            element.tag = "p" if not _has_blocks(element) else "div"
    for term in terms:
        term.tag = "p"
    definitions.tag = "div"


def _join_definition(terms: list[Any], definition: Any, level: int) -> None:
    label = ", ".join(filter(None, map(read_text, terms)))
    is_section = _is_long_definition(label, definition)
    for term in terms[:-1]:
        term.drop_tree()
    last = terms[-1]
    for child in list(last):
        last.remove(child)
    if is_section:
        for child in list(last):
            last.remove(child)
        last.text, last.tail, definition.tag = label, None, "div"
        _make_heading(last, level, definition.getparent())
        return
    last.drop_tree()
    for paragraph in list(definition.iter("p")):
        paragraph.drop_tag()
    definition.tag = "p"
    separator = "" if label.endswith(":") else ":"
    definition.text = f"{label}{separator} {(definition.text or '').lstrip()}"


def _is_long_definition(label: str, definition: Any) -> bool:
    """Whether a definition is a section below its term; a short one is a line."""
    return (
        label.endswith("?")
        or _has_blocks(definition)
        or len(read_text(definition)) > _MAX_DEFINITION_CHARACTERS
        or sum(1 for _ in definition.iter("p")) > 1
    )


def _has_blocks(element: Any) -> bool:
    return next(element.iter(*_BLOCKS_IN_DEFINITION), None) is not None


def _find_level(element: Any) -> int:
    """Return the level of the heading that an element is below; 1 if there is none."""
    for earlier in _iterate_backwards(element):
        if earlier.tag in HEADINGS:
            return int(earlier.tag[1])
    return 1


def _iterate_backwards(element: Any) -> Iterator[Any]:
    """Yield the elements before an element that are its siblings or siblings of an ancestor."""
    parents: Iterable[Any] = (element, *element.iterancestors())
    for parent in parents:
        yield from parent.itersiblings(preceding=True)
