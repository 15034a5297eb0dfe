"""Selecting the content of a web page: everything that is not navigation is kept.

trafilatura finds where the main text of a page is. All elements there are kept, also those that
trafilatura drops, such as warnings, captions and folded answers. Elsewhere, menus, headers, footers
and other parts with many links are removed. So is text that a reader cannot see. What is removed
is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from connectors.parsers.html_elements import HEADINGS, INLINE_TAGS, read_text
from connectors.parsers.html_styles import apply_page_styles, is_hidden
from connectors.parsers.omissions import OmissionLog, list_words

_SHINGLE_WORDS = 3
_MIN_REGION_SHARE = 0.85  # of the main text that trafilatura found
_MIN_MAIN_SHARE = 0.5  # the same for an element that the page declares as its main content
_MAX_LINK_SHARE = 0.7  # of the characters of a block; one with more is a menu
_MIN_MENU_LINKS = 3
_MIN_NAVIGATION_LINKS = 0.3  # share of the characters of a block whose class says what it is
_MAX_BANNER_WORDS = 60
_MAX_TEASER_WORDS = 25  # of a block outside of the main content
_MAX_LINK_WORDS = 4
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
_NAVIGATION_CLASS = re.compile(  # of parts that are never content
    r"""(?ix)(?:^|\s)(?:
    nav|navbar|navigation|navbox|topnav|main-?nav|site-?nav|menubar|breadcrumbs?|pagination|pager
    |\S*\btoc\b\S*|\S*table-of-contents\S*|skip-?link|skip-?nav|skip-?to-\w+|site-?footer|page-?footer|global-?footer|site-?header|masthead
    |cookie-?(?:banner|consent|notice|bar|popup)|cookieconsent|gdpr-\w+|consent-?banner
    |share-?(?:buttons?|bar|links)|social-?(?:share|links|icons|media)|addtoany\S*|sharethis\S*
    |newsletter-?(?:signup|form|box)|adsbygoogle|advert(?:isement)?|ad-?(?:slot|banner|container)
    |edit-?section|mw-editsection|catlinks|printfooter|no-?print|d-print-none
    )(?:$|\s)"""
)
_TEASER_CLASS = re.compile(  # of parts that may be content; their links tell
    r"""(?ix)(?:^|[\s_-])(?:
    nav|menu|sidebar|related|recommended|recommendations|promo|sponsored|ads?|share|social
    |newsletter|subscribe|comments?|disqus|popup|modal|cookies?|consent|login|signup|footer
    )(?:$|[\s_-])"""
)
_NOTE_CLASS = re.compile(
    r"(?i)note|notice|warn|caution|danger|alert|tip|hint|info|important|callout|admonition|example"
)
_PANEL_CLASS = re.compile(r"(?i)\btab|panel|accordion|collaps|toggle|expand|details|faq|slide|step")


def select_content(root: Any, main_text: str, log: OmissionLog) -> Any:
    """Return the element with the content of a page, without navigation and hidden text.

    `main_text` is the text that trafilatura found, "" for none. The tree is changed, and `log`
    gets what is left out.
    """
    body = next(root.iter("body"), root)
    apply_page_styles(root)
    remove_hidden(body, log)
    hits = _count_hits(body, main_text)
    region = _find_region(body, hits)
    _remove_navigation(body, region, hits, log)
    return body


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
    """Return the element that the page declares as its main content, else the main text's.

    The latter is the smallest element that has nearly all of the main text.
    """
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


def _remove_navigation(body: Any, region: Any, hits: dict[Any, int], log: OmissionLog) -> None:
    inside, ancestors = set(region.iter()), set(region.iterancestors())
    is_declared = _is_main(region)
    for element in list(body.iter()):
        if element is body or not isinstance(element.tag, str) or _is_detached(element, body):
            continue
        if element in inside:
            is_navigation = element is not region and _is_navigation(
                element, hits, is_declared=is_declared
            )
        else:
            is_navigation = element not in ancestors and _is_navigation_outside(element, hits)
        if is_navigation:
            _remove(element, "navigation", log)


def _is_navigation(element: Any, hits: dict[Any, int], *, is_declared: bool) -> bool:
    """Whether an element in the main content is navigation: by its markup, or by its links."""
    tag, role = element.tag, (element.get("role") or "").lower()
    if tag in HEADINGS or next(element.iter("h1"), None) is not None:
        return False
    if tag == "nav" or role in _NAVIGATION_ROLES:
        return True
    names = f"{element.get('class') or ''} {element.get('id') or ''}"
    links = list(element.iter("a"))
    link_share = _measure_link_share(element, links)
    if _NAVIGATION_CLASS.search(names):
        word_count = len(read_text(element).split())
        return link_share > _MIN_NAVIGATION_LINKS or word_count <= _MAX_BANNER_WORDS
    if tag == "aside" and _NOTE_CLASS.search(f"{names} {role}"):
        return False
    if _TEASER_CLASS.search(names) and link_share > 0.5:
        return len(links) > 1 or len(read_text(element).split()) <= _MAX_LINK_WORDS
    if tag not in ("ul", "ol", "div", "section", "aside", "p", "td") or hits.get(element, 0):
        return False
    if len(links) < _MIN_MENU_LINKS or link_share <= _MAX_LINK_SHARE:
        return False
    leads_inside = all((link.get("href") or "#").startswith("#") for link in links)
    return leads_inside or (not is_declared and tag != "p")


def _is_navigation_outside(element: Any, hits: dict[Any, int]) -> bool:
    """Whether an element outside of the main content is navigation, as most is there."""
    tag, role = element.tag, (element.get("role") or "").lower()
    if tag == "h1" or next(element.iter("h1"), None) is not None:
        return False
    links = list(element.iter("a"))
    link_share = _measure_link_share(element, links)
    if tag == "nav" or role in _NAVIGATION_ROLES:
        return True
    if tag in ("header", "footer", "aside"):
        return hits.get(element, 0) == 0 or link_share > 0.5
    names = f"{element.get('class') or ''} {element.get('id') or ''}"
    word_count = len(read_text(element).split())
    if _NAVIGATION_CLASS.search(names) or _TEASER_CLASS.search(names):
        return link_share > 0.2 or word_count <= _MAX_TEASER_WORDS
    if tag == "a":
        return element.getparent().tag in _CONTAINERS and word_count <= _MAX_LINK_WORDS
    return bool(links) and link_share > 0.5 and hits.get(element, 0) == 0


def _measure_link_share(element: Any, links: list[Any]) -> float:
    """Return the share of the characters of an element that are in links."""
    length = len(read_text(element))
    return sum(len(read_text(link)) for link in links) / max(length, 1)


def read_all_text(root: Any) -> str:
    """Return all text of an element that a browser could show."""
    from lxml.etree import iterwalk

    pieces: list[str] = []
    skipped: Any = None
    for event, element in iterwalk(root, events=("start", "end", "comment", "pi")):
        is_start = event == "start"
        if skipped is None:
            separator = "" if element.tag in INLINE_TAGS else " "
            is_skipped = element.tag in _TAGS_WITHOUT_TEXT
            skipped = element if is_start and is_skipped else None
            pieces += [separator, (element.text or "") if is_start and not is_skipped else ""]
        elif not is_start and skipped is element:
            skipped = None
        if not is_start and skipped is None and element is not root:
            pieces.append(element.tail or "")
    return "".join(pieces)


# -- Hidden text ---------------------------------------------------------------------------


def remove_hidden(body: Any, log: OmissionLog) -> None:
    """Remove text that a reader of the page cannot see, not even with a click.

    The tree is changed, and `log` gets what is left out.
    """
    controlled = _list_controlled_ids(body)
    for element in list(body.iter()):
        if not isinstance(element.tag, str) or element is body or _is_detached(element, body):
            continue
        if is_hidden(element) and not _is_panel(element, controlled):
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
        or any(e.tag in ("button", "summary", *HEADINGS) for e in _list_neighbours(element))
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
