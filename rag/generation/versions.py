"""Versions: if old and new versions of a document are quoted, the newest comes first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

from rag.generation.relevance import Candidate
from rag.text.date_forms import find_dates as find_written_dates
from rag.text.names import find_dates, find_years
from rag.text.tokenization import stems, words

_MAX_COMPARED = 20  # candidates
_MIN_SHARED_STEMS = 0.7  # of the words of two sentences or two names, without numbers
_VERSION = re.compile(
    r"(?<![^\W_])(?:v|ver|version|rev|revision|stand|fassung)[ ._-]?(\d{1,4})\b", re.IGNORECASE
)
_SUPERSEDED_WORDS = frozenset(
    "old older draft superseded obsolete archive archived archiv previous outdated alt entwurf "
    "veraltet überholt ancien brouillon antiguo borrador".split()
)
_VERSION_WORDS = _SUPERSEDED_WORDS | frozenset(
    "v ver version rev revision stand fassung final new newest current latest copy neu kopie "
    "aktuell nouveau copie nuevo copia valid from as of until".split()
)
_PAST = re.compile(
    r"\b(?:(?:19|20)\d\d|old|older|oldest|former|formerly|previous|previously|earlier|earliest|"
    r"first|original|originally|draft|superseded|used to|was|were|did|alt(?:e[nrs]?)?|früher\w*|"
    r"vorherig\w*|erste\w*|war|waren|ancien\w*|précédent\w*|avant|était|antes|anterior\w*|antigu\w*|era)\b",
    re.IGNORECASE,
)


def put_newest_first(
    question: str, selected: Sequence[Candidate], ranked: Sequence[Candidate]
) -> list[Candidate]:
    """Return the quotes with that from the newest version of the first one's document in front.

    Other versions are looked for in `selected` and among the best of the `ranked` candidates. Two
    quotes are of versions if their texts, and the names of their documents, differ in numbers,
    dates and words such as "draft" only. Which one is newer say the date or the version in the
    name, and the words for superseded ones. If a question is about the past or names a year, or if
    the names do not say it, the order stays.
    """
    if not selected or _PAST.search(question):
        return list(selected)
    first, *others = selected
    versions = [first]
    for candidate in [*others, *ranked[:_MAX_COMPARED]]:
        is_known = any(candidate.passage.uri == version.passage.uri for version in versions)
        if not is_known and _is_other_version(first, candidate):
            versions.append(candidate)
    ages = [_read_age(candidate) for candidate in versions]
    keys = [
        tuple(part for part, known in zip(age, zip(*ages, strict=True), strict=True) if all(known))
        for age in ages
    ]
    current = [not _is_superseded(candidate) for candidate in versions]
    order = sorted(range(len(versions)), key=lambda i: (current[i], keys[i]), reverse=True)
    newest_first = [versions[i] for i in order]
    return [*newest_first, *(c for c in others if not any(c is v for v in versions))]


def _is_superseded(candidate: Candidate) -> bool:
    """Whether the name of the document, or a folder, says that a newer version has replaced it."""
    return not _SUPERSEDED_WORDS.isdisjoint(words(_name_with_versions(candidate)))


def _is_other_version(first: Candidate, second: Candidate) -> bool:
    if first.passage.uri == second.passage.uri or first.text == second.text:
        return False
    names = (_name_document(first), _name_document(second))
    return (
        _list_folders(first) == _list_folders(second)
        and _are_alike(first.text, second.text)
        and _are_alike(*names, ignored=_VERSION_WORDS)
    )


def _are_alike(first: str, second: str, ignored: frozenset[str] = frozenset()) -> bool:
    """Whether two texts have the same words, but for numbers and the `ignored` ones."""
    first_stems, second_stems = (
        {
            stem
            for word in words(text)
            if word not in ignored and not any(map(str.isdigit, word))
            for stem in stems(word)
        }
        for text in (first, second)
    )
    shared = len(first_stems & second_stems)
    return shared >= _MIN_SHARED_STEMS * len(first_stems | second_stems) and shared > 0


def _name_document(candidate: Candidate) -> str:
    passage = candidate.passage
    return f"{passage.title}\n{unquote(passage.uri).rsplit('/', 1)[-1]}"


def _name_with_versions(candidate: Candidate) -> str:
    """Return the name of a document and the folders that name its version."""
    folders = unquote(candidate.passage.uri).split("/")[:-1]
    return "\n".join([_name_document(candidate), *filter(_names_version, folders)])


def _list_folders(candidate: Candidate) -> list[str]:
    """Return the folders of a document without those that name a version, such as ``old``."""
    folders = unquote(candidate.passage.uri).split("/")[:-1]
    return [folder for folder in folders if not _names_version(folder)]


def _names_version(folder: str) -> bool:
    folder_words = words(folder)
    return bool(folder_words) and all(w in _VERSION_WORDS or w.isdigit() for w in folder_words)


def _read_age(candidate: Candidate) -> tuple[str, int]:
    """Return the latest date (ISO 8601) and the highest version in a name; "" and 0 for none."""
    name = _name_with_versions(candidate).replace("_", " ")
    forms = find_written_dates(name, frozenset(words(name)))
    written_dates = [form.text.lstrip("@") for form in forms]
    dates = [date for date in written_dates if date[:1].isdigit()]
    dates += [*find_dates(name), *find_years(name, is_name=True)]
    versions = [int(match[1]) for match in _VERSION.finditer(name)]
    return max(dates, default=""), max(versions, default=0)
