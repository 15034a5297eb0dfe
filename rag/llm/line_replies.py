"""Replies of models that were asked for a line or a few: the questions in them, and nothing else.

Models write introductions, labels, headings, fences, notes, numbers or JSON around what was asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rag.llm.structured import find_json_values

_FENCE = re.compile(r"^[^\S\n]*+(?:```|~~~).*$", re.MULTILINE)
_MARKER = re.compile(r"\s*(?:[-*•–+]\s+|\(?\d{1,2}[.):]\s+|\(?[a-h][.)]\s+|>\s*)")
_HEADING = re.compile(r"#{1,6}\s+")
_EMPHASIS = re.compile(r"(\*\*|__|\*|_|`)(?=\S)(.+?)(?<=\S)\1")
_QUOTED = re.compile(r"[\"“„«»'‘‚`]++(.*?)[\"”“»«'’`]++\s*+[.]?", re.DOTALL)
_NOUNS = (
    r"(?:questions?|query|queries|versions?|rewrites?|rewriting|rewritten|rephrased|rephrasings?|"
    r"variations?|alternatives?|formulations?|output|result|answer|reply|"
    r"frage|suchanfrage|pregunta|domanda|vraag|requête)"
)
_ADJECTIVES = (
    r"(?:the|die|der|my|your|a|an|is|are|of|rewritten|standalone|stand-alone|self-contained|rephrased|"
    r"reformulated|alternative|final|new|improved|updated|search|general|broader|specific|more|"
    r"step-back|sub|simpler|simplified|possible|generated|different|following|\d{1,2}|one|two|"
    r"three|four|five|umformulierte|eigenständige)"
)
_LABEL_TEXT = (
    r"(?:(?:sure|certainly|of course|okay|ok|great)\W+)?"
    r"(?:(?:here(?:['’]s| is| are)?|below (?:is|are)|this is|these are)\s+)?"
    rf"(?:{_ADJECTIVES}\s+){{0,6}}?{_NOUNS}(?:\s*#?\d{{1,2}})?"
    r"(?:\s+(?:is|are|would be|could be|might be|lautet|in english|to search for|"
    r"of (?:the|your) question))?"
)
_LABEL = re.compile(rf"\s*{_LABEL_TEXT}\s*[:：]\s*", re.IGNORECASE)
_SOURCE_LABEL = re.compile(
    r"\s*(?:(?:the\s+)?"
    r"(?:original|initial|previous|last|first|old|user(?:['’]s)?|follow[- ]?up)\s*+"
    r"(?:question|query|version)?|user|assistant|human|ai|history|conversation|context)\s*+[:：]",
    re.IGNORECASE,
)
_LABEL_LINE = re.compile(rf"\s*+{_LABEL_TEXT}\s*+[:：.!]*+\s*+", re.IGNORECASE)
_INTRODUCTION = re.compile(
    r"\s*(?:sure|certainly|of course|okay|here(?:['’]s| is| are)|below|the following|let me|"
    r"i(?:['’](?:ve|ll|d)| have| will| would| rewrote)|note|explanation|reasoning|this (?:question|"
    r"version|rewrite|query)|these (?:questions|versions|queries)|hope)\b",
    re.IGNORECASE,
)
_NOTE = re.compile(
    r"(?<!\s)\s*+[(\[](?:focus|note|this|emphasi|asks|target|rephras|more (?:general|specific)|"
    r"broader|narrower|alternative)[^()\[\]]*+[)\]]\s*+$",
    re.IGNORECASE,
)
_IS_QUESTION = re.compile(r"[?？؟][\"”’»)\s]*$")
_KEYS = (
    re.compile(r"rewrit|standalone|rephras|reformul|search", re.I),
    re.compile(r"quer|question|version|text|output", re.I),
)
_SOURCE_KEYS = re.compile(r"original|initial|previous|follow|reason|explan|note|history", re.I)
_JSON_START = re.compile(r"\s*(?:[{\[]\s*[\"'{\[]|```)")


def parse_lines(reply: str) -> list[str]:
    """Return the lines that a model was asked for, in order, without what it wrote around them.

    JSON counts as its strings. If some lines are questions, those that are neither questions nor
    list items are left out.
    """
    if (strings := _read_json(reply)) is not None:
        return [" ".join(text.split()) for text in strings if text.strip()]
    lines = [line for line in _FENCE.sub("", reply).splitlines() if line.strip()]
    markers = sum(bool(_MARKER.match(line.strip())) for line in lines)
    cleaned = [_clean(line, has_markers=markers > 1) for line in lines]
    found = [(text, is_item) for text, is_item in cleaned if text]
    if not found:  # what looks like an introduction is all there is
        first = lines[0].strip() if lines else ""
        is_text = re.search(r"\w", first) and not _LABEL_LINE.fullmatch(first.strip(" #*_"))
        return [first] if is_text else []
    if any(_IS_QUESTION.search(text) for text, _ in found):
        found = [(text, is_item) for text, is_item in found if is_item or _IS_QUESTION.search(text)]
    return [text for text, _ in found]


def parse_line(reply: str) -> str:
    """Return the one line that a model was asked for, a question before others; "" if none."""
    lines = parse_lines(reply)
    questions = [line for line in lines if _IS_QUESTION.search(line)]
    return next(iter(questions or lines), "")


def _clean(line: str, *, has_markers: bool) -> tuple[str, bool]:
    """Return what a line says, "" if only an introduction or a note; and whether it is an item.

    `has_markers` says that several lines have list markers; one number alone may be a date.
    """
    text = line.strip()
    is_item = False
    while marker := _MARKER.match(text):
        if not has_markers and re.match(r"\d", text) and not text.startswith("1"):
            break
        if not has_markers and text.startswith("1") and not re.match(r"1[.):]\s", text):
            break
        is_item = True
        text = text[marker.end() :]
    text = _HEADING.sub("", text, count=1) if _HEADING.match(text) else text
    plain = _EMPHASIS.sub(r"\2", text).strip()
    if _EMPHASIS.fullmatch(text) or _NOTE.search(text):
        text = plain
    if _LABEL_LINE.fullmatch(plain):
        return "", False
    if _SOURCE_LABEL.match(plain):
        return "", False
    label = _LABEL.match(plain)
    if label is not None:
        text = plain[label.end() :]
    elif not is_item and _INTRODUCTION.match(text) and not _IS_QUESTION.search(text):
        return "", False
    text = _NOTE.sub("", text).strip()
    quoted = _QUOTED.fullmatch(text)
    if quoted and not re.search(r"[\"“”„«»]|'\s|\s'", quoted[1]):
        text = quoted[1].strip()
    if text.endswith((":", "：")) and not is_item:
        return "", False
    return (text, is_item) if re.search(r"\w", text) else ("", False)


def _read_json(reply: str) -> list[str] | None:
    """Return the strings of a reply that is JSON, or of JSON in its fence; None without JSON."""
    if not _JSON_START.match(reply):
        return None
    strings = [text for value in find_json_values(reply) for text in _list_strings(value)]
    return strings or None


def _list_strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _list_strings(item)
    elif isinstance(value, Mapping):
        items = [(str(k), v) for k, v in value.items() if not _SOURCE_KEYS.search(str(k))]
        for pattern in _KEYS:
            if named := [inner for key, inner in items if pattern.search(key)]:
                break
        for inner in named or [inner for _, inner in items]:
            yield from _list_strings(inner)
