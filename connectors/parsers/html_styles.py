"""What the styles of a page do to its text: hidden elements, and text that is struck out.

Only the page's own styles are read, and of these the rules for one element, class or id: they are
written into the ``style`` attributes of the elements. Rules for another screen or for printing
do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_SIMPLE_SELECTOR = re.compile(r"([A-Za-z][\w-]*)?((?:[.#][\w-]+)*)")
_NAME = re.compile(r"([.#])([\w-]+)")
_HIDDEN = re.compile(r"(?i)display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])")
_SHOWN = re.compile(r"(?i)display\s*:\s*(?!none)\w|visibility\s*:\s*visible")
_MAX_STYLE_CHARACTERS = 500_000
_MAX_RULES = 500


def is_hidden(element: Any) -> bool:
    """Whether an element is hidden by an attribute of its own."""
    hidden = element.get("hidden")
    return (hidden is not None and hidden.lower() != "until-found") or (
        _HIDDEN.search(element.get("style") or "") is not None
    )


def apply_page_styles(root: Any) -> None:
    """Write the page's own rules that hide or strike out into its elements. The tree is changed.

    What another rule or a script of the page shows again, such as the panel of a tab, is not
    hidden.
    """
    rules = [(selector, style) for selector, style in _list_rules(root)][:_MAX_RULES]
    if not rules:
        return
    scripts = "\n".join("".join(script.itertext()) for script in root.iter("script"))
    shown_names = {
        name for selector, style in rules if _SHOWN.search(style) for name in _list_names(selector)
    }
    for selector, style in rules:
        match = _SIMPLE_SELECTOR.fullmatch(selector)
        if match is None or not selector:
            continue
        declarations = "text-decoration:line-through;" if _strikes_out(style) else ""
        if _HIDDEN.search(style) and not any(
            name in shown_names or name in scripts for name in _list_names(selector)
        ):
            declarations += "display:none;"
        if declarations:
            _add_style(root, match[1], _NAME.findall(match[2]), declarations)


def strike_out(root: Any) -> None:
    """Turn elements whose style strikes their text out into ``<s>``. The tree is changed."""
    for element in root.iter("span", "font", "b", "strong", "em", "i", "small"):
        if _strikes_out(element.get("style") or ""):
            element.tag = "s"
    for block in root.iter("p", "div", "li", "td"):
        if _strikes_out(block.get("style") or "") and not len(block):
            struck = block.makeelement("s")
            struck.text, block.text = block.text, None
            block.append(struck)


def _strikes_out(style: str) -> bool:
    return "line-through" in style.lower()


def _list_rules(root: Any) -> Iterator[tuple[str, str]]:
    """Yield each selector with its declarations; none of those in ``@media`` and the like."""
    for element in root.iter("style"):
        if (element.get("media") or "all").lower() not in ("all", "screen"):
            continue
        first, *pieces = "".join(element.itertext())[:_MAX_STYLE_CHARACTERS].split("/*")
        text = " ".join([first, *(piece.partition("*/")[2] for piece in pieces)])
        depth, selectors = 0, ""
        for part in re.split(r"([{}])", text):
            if part == "{":
                depth += 1
            elif part == "}":
                depth = max(0, depth - 1)
            elif depth == 0:
                selectors = part.rpartition(";")[2].strip()  # behind ``@import "a.css";``
            elif depth == 1 and not selectors.startswith("@"):
                for selector in selectors.split(","):
                    yield selector.strip(), part


def _list_names(selector: str) -> list[str]:
    return [name for _, name in _NAME.findall(selector)]


def _add_style(root: Any, tag: str | None, names: list[tuple[str, str]], style: str) -> None:
    classes = {name for sign, name in names if sign == "."}
    ids = {name for sign, name in names if sign == "#"}
    if not (classes or ids):  # a rule for all elements of a kind tells too little
        return
    for element in root.iter(tag) if tag else root.iter("*"):
        if classes <= set((element.get("class") or "").split()) and (
            not ids or {element.get("id")} == ids
        ):
            element.set("style", f"{element.get('style') or ''};{style}")
