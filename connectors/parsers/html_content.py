"""Selecting the content of a web page: everything that is not navigation is kept.

trafilatura finds where the main text of a page is. All elements there are kept, also those that
trafilatura drops, such as warnings, captions and folded answers; only navigation, advertisements
and text that a reader cannot see are removed, and recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from connectors.parsers.html_elements import HEADINGS, INLINE_TAGS, read_text
from connectors.parsers.omissions import OmissionLog, list_words

_SHINGLE_WORDS = 3
_MIN_REGION_SHARE = 0.85  # of the main text that trafilatura found
_MIN_MAIN_SHARE = 0.5  # the same for an element that the page declares as its main content
_MAX_LINK_SHARE = 0.7  # of the characters of a block; one with more is a menu
_MIN_MENU_LINKS = 3
_MAX_TEASER_WORDS = 60  # of a block whose class says that it is not content
_TAGS_WITHOUT_TEXT = (
    "script",
    "style",
    "noscript",
    "template",
    "select",
    "option",
    "textarea",
    "rt",
    "rp",
    "annotation",
    "annotation-xml",
    "datalist",
)
_CONTAINERS = ("html", "body", "div", "section", "main", "article", "form", "td", "center", "span")
_NAVIGATION_ROLES = ("navigation", "banner", "contentinfo", "search", "menu", "menubar")
_NAVIGATION_CLASS = re.compile(
    r"""(?ix)(?:^|[\s_-])(?:
    nav|navbar|navigation|navbox|topnav|menu|menubar|breadcrumbs?|pagination|pager|toc|skip-?link
    |skip-?nav|skip-?to-\w+|site-?footer|page-?footer|global-?footer|site-?header|masthead
    |catlinks|printfooter|no-?print|d-print-none
    |cookies?|cookie-\w+|consent|gdpr|share|sharing|sharebar|social|socials|newsletter|subscribe
    |advert|advertisement|ads?|adsense|sponsored|promo|related|recommended|recommendations
    |sidebar|comments?|comment-list|disqus|popup|edit-?section|mw-editsection|login|signup
    )(?:$|[\s_-])"""
)
_NOTE_CLASS = re.compile(
    r"(?i)note|notice|warn|caution|danger|alert|tip|hint|info|important|callout|admonition|example"
)
_HIDING_STYLE = re.compile(
    r"(?i)display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])"
)
_PANEL_CLASS = re.compile(r"(?i)\btab|panel|accordion|collaps|toggle|expand|details|faq|slide|step")


def select_content(root: Any, main_text: str, log: OmissionLog) -> Any:
    """Return the element with the content of a page, without navigation and hidden text.

    `main_text` is the text that trafilatura found, "" for none. The tree is changed, and `log`
    gets what is left out.
    """
    body = next(root.iter("body"), root)
    _remove_hidden(body, log)
    hits = _count_hits(body, main_text)
    region = _find_region(body, hits)
    is_declared = region.tag == "main" or region.get("role") == "main"
    _remove_navigation(region, hits, log, is_declared=is_declared)
    _move_title_into(region, body)
    if region is not body and (outside := read_all_text(body, region)).strip():
        log.add("navigation", "outside of the main content", outside)
    return region


def _count_hits(body: Any, main_text: str) -> dict[Any, int]:
    """Return how many words of each element are part of the main text."""
    words = list_words(main_text)
    size = min(_SHINGLE_WORDS, len(words)) or 1
    shingles = {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}
    hits: dict[Any, int] = {}
    for element in body.iter():
        texts = [element.text or ""] if isinstance(element.tag, str) else []
        texts += [child.tail or "" for child in element]
        count = 0
        for text in texts:
            run = list_words(text)
            count += sum(tuple(run[i : i + size]) in shingles for i in range(len(run) - size + 1))
        hits[element] = count
    for element in reversed(list(body.iter())):
        parent = element.getparent()
        if parent in hits:
            hits[parent] += hits[element]
    return hits


def _find_region(body: Any, hits: dict[Any, int]) -> Any:
    """Return the smallest element that has nearly all of the main text."""
    declared = [e for e in body.iter("main", "div", "section", "article") if _is_main(e)]
    outer = [e for e in declared if not any(a in declared for a in e.iterancestors())]
    if len(outer) == 1 and hits[outer[0]] >= _MIN_MAIN_SHARE * hits[body] and read_text(outer[0]):
        return outer[0]
    region = body
    while hits[region]:
        inner = [c for c in region if hits.get(c, 0) >= _MIN_REGION_SHARE * hits[body]]
        if not inner or inner[0].tag not in _CONTAINERS:
            break
        region = inner[0]
    return region


def _is_main(element: Any) -> bool:
    return element.tag == "main" or (element.get("role") or "").lower() == "main"


# -- Navigation ----------------------------------------------------------------------------


def _remove_navigation(
    region: Any, hits: dict[Any, int], log: OmissionLog, *, is_declared: bool
) -> None:
    for element in list(region.iter()):
        if element is region or not isinstance(element.tag, str) or _is_detached(element, region):
            continue
        if _is_navigation(element, region, hits, is_declared=is_declared):
            _remove(element, "navigation", log)


def _is_navigation(element: Any, region: Any, hits: dict[Any, int], *, is_declared: bool) -> bool:
    """Whether an element is navigation or advertising: by its markup, or by its links."""
    tag, role = element.tag, (element.get("role") or "").lower()
    if tag in HEADINGS or next(element.iter("h1"), None) is not None:
        return False
    if tag == "nav" or role in _NAVIGATION_ROLES:
        return True
    if tag in ("header", "footer") and not _is_in_article(element, region):
        return hits.get(element, 0) == 0
    names = f"{element.get('class') or ''} {element.get('id') or ''}"
    if tag == "aside" and _NOTE_CLASS.search(f"{names} {role}"):
        return False
    is_named = _NAVIGATION_CLASS.search(names) is not None
    if not is_named and tag not in ("ul", "ol", "div", "section", "aside", "p", "table", "td"):
        return False
    links = list(element.iter("a"))
    text = read_text(element)
    link_share = sum(len(read_text(link)) for link in links) / max(len(text), 1)
    if is_named and 2 * hits.get(element, 0) < len(text.split()):
        return link_share > 0.3 or len(text.split()) <= _MAX_TEASER_WORDS
    is_menu = len(links) >= _MIN_MENU_LINKS and link_share > _MAX_LINK_SHARE
    if not is_menu or tag == "table" or hits.get(element, 0):
        return False
    leads_inside = all((link.get("href") or "#").startswith("#") for link in links)
    return leads_inside or (not is_declared and tag != "p")


def _is_in_article(element: Any, region: Any) -> bool:
    ancestors = [element.getparent(), *element.getparent().iterancestors()]
    return any(a.tag in ("article", "main", "section") or a is region for a in ancestors)


def _move_title_into(region: Any, body: Any) -> None:
    """Move the title of the page into its content, if the only heading of level 1 is outside."""
    titles = list(body.iter("h1"))
    if len(titles) == 1 and not any(a is region for a in titles[0].iterancestors()):
        title = titles[0]
        if not read_text(title):
            return
        heading = region.makeelement("h1")
        heading.text, heading.tail, region.text = read_text(title), region.text, None
        region.insert(0, heading)
        title.drop_tree()


def read_all_text(root: Any, without: Any = None) -> str:
    """Return all text of an element that a browser could show, `without` that of another one."""
    from lxml.etree import iterwalk

    pieces: list[str] = []
    skipped: Any = None
    for event, element in iterwalk(root, events=("start", "end", "comment", "pi")):
        is_start = event == "start"
        if skipped is None:
            separator = "" if element.tag in INLINE_TAGS else " "
            is_skipped = element is without or element.tag in _TAGS_WITHOUT_TEXT
            skipped = element if is_start and is_skipped else None
            pieces += [separator, (element.text or "") if is_start and not is_skipped else ""]
        elif not is_start and skipped is element:
            skipped = None
        if not is_start and skipped is None and element is not root:
            pieces.append(element.tail or "")
    return "".join(pieces)


# -- Hidden text ---------------------------------------------------------------------------


def _remove_hidden(body: Any, log: OmissionLog) -> None:
    """Remove text that a reader of the page cannot see, not even with a click."""
    controlled = _list_controlled_ids(body)
    for element in list(body.iter()):
        if not isinstance(element.tag, str) or element is body or _is_detached(element, body):
            continue
        is_hidden = element.get("hidden") is not None or _HIDING_STYLE.search(
            element.get("style") or ""
        )
        if is_hidden and not _is_panel(element, controlled):
            _remove(element, "hidden", log)


def _list_controlled_ids(body: Any) -> set[str]:
    """Return the ids of the elements that a control of the page shows."""
    names = ("aria-controls", "data-target", "data-bs-target", "href", "for")
    values = (element.get(name) for element in body.iter() for name in names)
    return {part.removeprefix("#") for value in values if value for part in value.split()}


def _is_panel(element: Any, controlled: Iterable[str]) -> bool:
    """Whether a click shows an element: a tab, or an answer that is folded."""
    names = f"{element.get('class') or ''} {element.get('role') or ''}"
    return (
        element.get("id") in controlled
        or _PANEL_CLASS.search(names) is not None
        or any(sibling.tag in ("button", "summary") for sibling in _list_neighbours(element))
        or any(a.tag in ("details", "dialog") for a in element.iterancestors())
    )


def _list_neighbours(element: Any) -> list[Any]:
    """Return the element before an element, and what is in it."""
    previous = element.getprevious()
    return [] if previous is None else list(previous.iter())


def _remove(element: Any, reason: Any, log: OmissionLog) -> None:
    text = read_all_text(element)
    if text.strip():
        label = element.get("id") or (element.get("class") or "").strip()
        log.add(reason, f"<{element.tag}{f' {label}' if label else ''}>", text)
    element.drop_tree()


def _is_detached(element: Any, root: Any) -> bool:
    return not any(ancestor is root for ancestor in element.iterancestors())
