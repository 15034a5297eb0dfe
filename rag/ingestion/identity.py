"""Identity terms: the names, years and dates that tell a document from others.

They come from the title, the file name, the folders, the metadata, the first heading and the first
page. Each term is written as it is there. `rank_by_rarity` finds those that few documents have.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from rag.text.names import (
    find_dates,
    find_names,
    find_years,
    split_name,
    strip_suffix,
    unique_terms,
)
from rag.types import Document

Identity = Mapping[str, Sequence[str]]

ORIGINS = ("title", "file", "folder", "date", "author", "heading", "record", "first_page")
"""The origins of identity terms; of equally rare terms, those of an earlier origin come first."""

_MAX_FIRST_PAGE_CHARACTERS = 6_000
_MAX_CHARACTERS_WITHOUT_PAGES = 2_000
_MAX_FIRST_PAGE_TERMS = 40
_MAX_TERMS = 16  # of each other origin
_MAX_TERM_CHARACTERS = 200
_MAX_FOLDERS = 3
_MAX_FOLDERS_WITHOUT_SCOPE = 2
_PART = "!/"
_HOME = re.compile(r"/(?:[A-Za-z]:/)?(?:home|Users|Documents and Settings)/[^/]+/|/root/")
_DATE_FIELDS = ("date", "published", "issued", "effective", "created", "updated", "modified")
_AUTHOR_FIELDS = ("author", "authors", "creator", "from", "publisher", "organization", "company")
_MAIL_ADDRESS = re.compile(r"<[^<>]*>")
_METADATA_DATE = re.compile(r"(?:19|20)\d\d(?:-\d\d(?:-\d\d)?)?(?!\d)")
_NO_AUTHORS = frozenset(
    (
        *("python-docx", "openpyxl", "python-pptx", "xlsxwriter", "apache poi", "reportlab"),
        *("pandoc", "administrator", "admin", "user", "owner", "author", "root", "unknown", "none"),
        *("anonymous", "(anonymous)", "unspecified", "(unspecified)", "windows user"),
        "microsoft office user",
    )
)


def extract_identity(document: Document, scope: str = "") -> dict[str, tuple[str, ...]]:
    """Return the identity terms of `document` by origin, the most telling ones first.

    `scope` is `Connector.scope`: of the folders on this machine, only those below it are terms.
    Terms that the document already has stay, before the new ones.
    """
    file_name, folders = _split_uri(document.uri, scope)
    heading = next(
        (mark.value[0] for mark in document.marks if isinstance(mark.value, tuple) and mark.value),
        "",
    )
    title = "" if document.title == file_name else document.title
    is_record = _PART in document.uri and strip_suffix(file_name) == file_name
    days = [*find_dates(file_name), *_list_days(document)]
    found: dict[str, Iterable[str]] = {
        "title": _add_years(title),
        "record" if is_record else "file": split_name(strip_suffix(file_name)),
        "folder": [term for folder in reversed(folders) for term in _split_folder(folder)],
        "date": [*days, *(day[:4] for day in days)],
        "author": _list_authors(document),
        "heading": _add_years(heading),
        "first_page": find_names(_cut_first_page(document), _MAX_FIRST_PAGE_TERMS),
    }
    identity: dict[str, tuple[str, ...]] = {}
    for origin in dict.fromkeys([*ORIGINS, *document.identity]):
        limit = _MAX_FIRST_PAGE_TERMS if origin == "first_page" else _MAX_TERMS
        new = unique_terms(term[:_MAX_TERM_CHARACTERS] for term in found.get(origin, ()))[:limit]
        if terms := tuple(unique_terms([*document.identity.get(origin, ()), *new])):
            identity[origin] = terms
    return identity


def add_identity(document: Document, scope: str = "") -> Document:
    """Return the document with its identity terms; see `extract_identity`."""
    return document.model_copy(update={"identity": extract_identity(document, scope)})


def rank_by_rarity(
    identities: Mapping[str, Identity], limit: int | None = None
) -> dict[str, list[tuple[str, float]]]:
    """Return the identity terms of each document with their weights, the rarest first, by uri.

    The weight is the inverse document frequency ``ln(n / df)``: 0 for a term that all ``n``
    documents have. A term is listed once, whatever its case and origins. `limit` is the number of
    terms of each document.
    """
    frequencies: Counter[str] = Counter()
    for identity in identities.values():
        frequencies.update({term.casefold() for terms in identity.values() for term in terms})
    ranked: dict[str, list[tuple[str, float]]] = {}
    for uri, identity in identities.items():
        origins = [*ORIGINS, *sorted(set(identity) - set(ORIGINS))]
        terms = unique_terms(term for origin in origins for term in identity.get(origin, ()))
        weights = [
            (term, round(math.log(len(identities) / max(1, frequencies[term.casefold()])), 3))
            for term in terms
        ]
        ranked[uri] = sorted(weights, key=lambda weighted: -weighted[1])[:limit]
    return ranked


def _split_uri(uri: str, scope: str) -> tuple[str, list[str]]:
    """Return the file name of a uri, and the last folders above it, from the outermost.

    An archive counts as a folder.
    """
    *containers, last = [
        unquote(path).strip("/").split("/") for path in _cut_prefix(uri, scope).split(_PART)
    ]
    folders: list[str] = []
    for *outer_folders, container in containers:
        folders += [*outer_folders, strip_suffix(container)]
    *inner_folders, file_name = last
    names = [
        name
        for name in (*folders, *inner_folders)
        if name.strip(".") and not name.endswith(":")  # "https:" of an address in the uri
    ]
    return file_name, names[-_MAX_FOLDERS:]


def _cut_prefix(uri: str, scope: str) -> str:
    """Return the path of a uri without the host, and on this machine without what is above `scope`.

    Without a scope, at most the last two folders of a path on this machine are kept.
    """
    outer, separator, inner = uri.partition(_PART)
    try:
        parts = urlsplit(outer)
    except ValueError:  # not a valid address
        return uri
    if parts.netloc or not parts.path:
        return f"{parts.path or outer}{separator}{inner}"
    if scope and uri.startswith(scope):
        below = uri[len(scope) :]
        if scope.endswith(("/", ":")) or below.startswith("/"):
            return below.lstrip("/")
        return f"{outer.rpartition('/')[2]}{separator}{inner}"
    home = _HOME.match(parts.path)
    path = parts.path[home.end() :] if home else parts.path.lstrip("/")
    return "/".join(path.split("/")[-_MAX_FOLDERS_WITHOUT_SCOPE - 1 :]) + separator + inner


def _split_folder(folder: str) -> list[str]:
    words = split_name(folder)
    phrase = re.sub(r"[_\-]+", " ", folder).strip()
    return [phrase, *words] if " " in phrase else words


def _add_years(text: str) -> list[str]:
    return [text, *find_years(text)]


def _list_days(document: Document) -> list[str]:
    """Return the dates in the metadata, in ISO 8601 form, without the time."""
    matches = map(_METADATA_DATE.match, _list_values(document, _DATE_FIELDS))
    return [match.group() for match in matches if match]


def _list_authors(document: Document) -> list[str]:
    values = _list_values(document, _AUTHOR_FIELDS)
    authors = [_MAIL_ADDRESS.sub("", value).strip().strip("\"'") or value for value in values]
    return [author for author in authors if author.casefold() not in _NO_AUTHORS]


def _list_values(document: Document, fields: Sequence[str]) -> Iterator[str]:
    """Yield the values of metadata fields as texts, in the order of `fields`."""
    by_name = {name.casefold(): value for name, value in document.metadata.items()}
    for field in fields:
        value = by_name.get(field, ())
        for item in value if isinstance(value, tuple) else (value,):
            if not isinstance(item, bool):
                yield str(item)


def _cut_first_page(document: Document) -> str:
    """Return the text of page 1, or the first 2,000 characters of a document without pages."""
    for mark in document.marks:
        if mark.kind == "page" and mark.value == 1:
            return document.text[
                mark.start : min(mark.end, mark.start + _MAX_FIRST_PAGE_CHARACTERS)
            ]
    return document.text[:_MAX_CHARACTERS_WITHOUT_PAGES]
