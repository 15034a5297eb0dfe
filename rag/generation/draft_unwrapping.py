"""Draft unwrapping: an answer without labels, the fence around it and the references below it.

Some models write their whole answer into a Markdown fence, or "Answer:" before it, and many add a
list of their sources, which the citations show already. All are taken off while the draft arrives,
whatever its pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote

from rag.generation.passages import Passage

_OPENING = re.compile(r"\s*+(?P<fence>`{3,}+|~{3,}+)[ \t]*+(?P<info>\w*+)[ \t]*+\n")
_PROSE_INFO = frozenset({"markdown", "md", "text", "txt", "plaintext", "plain"})
_ANSWER_LABEL = "final answer|answer|antwort|réponse|respuesta|risposta|答案|回答"
_QUESTION_LABEL = "question|q|frage|pregunta|domanda|问题"
_LABELS = re.compile(
    rf"(?:[*_]{{0,3}}(?:{_QUESTION_LABEL})[ ]?[:：][^\n]{{0,500}}\n\s*+"
    rf"[*_]{{0,3}}(?:{_ANSWER_LABEL}|a)[ ]?[:：][*_]{{0,3}}\s*+"
    rf"|[*_]{{0,3}}(?:{_ANSWER_LABEL})[ ]?[:：][*_]{{0,3}}\s*+)(?=\S)",
    re.IGNORECASE,
)
_QUESTION_LINE = re.compile(
    rf"[*_]{{0,3}}(?:{_QUESTION_LABEL})[ ]?[:：][^\n]{{0,500}}", re.IGNORECASE
)
_PARTIAL_OPENING = re.compile(r"\s*(?:`{1,2}|~{1,2}|`{3,}[^\n]{0,40}|~{3,}[^\n]{0,40})?\Z")
_PROSE = re.compile(r"\[\d+\]|[.!?。！？][\"”’)*_]*\s*$", re.MULTILINE)
_WORDS = (
    "references reference sources source citations citation bibliography footnotes quellen quelle "
    "quellenangaben literatur références référence fuentes fuente referencias fonti fonte bronnen"
).split()
_HEADING = re.compile(
    rf"[ \t]*(?:#{{1,6}}[ \t]+)?[*_]{{0,3}}(?:{'|'.join(_WORDS)})[*_]{{0,3}}"
    r"[ \t]*(?::|：|$)[*_]{0,3}(?P<rest>.*)",
    re.IGNORECASE,
)
_NOTE = re.compile(r"[ \t]*\[\^?\d{1,3}\][ \t]*:(?P<rest>.*)")
_RULE = re.compile(r"[ \t]*(?:-{3,}|\*{3,}|_{3,})[ \t]*")
_ITEM_MARK = re.compile(r"(?<!\s)\s*+(?:[-*•]|\(?\d{1,3}[.)]|\[\^?\d{1,3}\]:?)\s*+")
_REFERENCE = re.compile(
    r"https?://\S+|\b(?:passage|source|document|page|section|chunk|p\.)\s*+(?:\.\s*+)?\[?\d++\]?",
    re.IGNORECASE,
)
_MARKERS_ANYWHERE = re.compile(r"\[\^?\d{1,3}\]")
_LINKS = frozenset("and of the in on from see page section docs und der die das et de".split())
_MAX_WHITE_SPACE = 64  # characters in a row
_WHITE_SPACE = re.compile(rf"\s{{{_MAX_WHITE_SPACE + 1},}}")
_MAX_REFERENCE_LINES = 100
_MAX_OTHER_WORDS = 1  # of an entry, besides the name of a source
_MARKERS = re.compile(r"[\s,;&]*(?:\[\^?\d{1,3}\][\s,;&]*)*")
_MAX_REFERENCE_WORDS = 20
_MIN_NAME_CHARACTERS = 3


class DraftUnwrapper:
    """Takes a draft piece by piece, and returns what belongs to the answer.

    `passages` are the sources: a list of references must name them.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._source_names: tuple[str, ...] | None = None
        self._mode = "start"
        self._held = ""
        self._opening = ""
        self._fence = ""
        self._inner_fences = 0  # that are open where the text that is held back begins
        self._references = ""
        self._is_at_line_start = True  # of what is held back as references
        self._has_answer = False
        self._beginning: str | None = ""  # None: the labels are behind
        self._ends_with_return = False
        self._trailing_breaks = 0

    def feed(self, piece: str, *, is_last: bool = False) -> str:
        """Return the next text of the answer; what may be no part of it is held back."""
        text = self._unwrap(self._remove_labels(self._unify_breaks(piece), is_last), is_last)
        return self._remove_references(text, is_last)

    def _unify_breaks(self, piece: str) -> str:
        """Return a piece with one kind of line break, and without endless blank lines."""
        if self._ends_with_return and piece.startswith("\n"):
            piece = piece[1:]
        self._ends_with_return = piece.endswith("\r") or (self._ends_with_return and not piece)
        if "\r" in piece:
            piece = piece.replace("\r\n", "\n").replace("\r", "\n")
        if not piece.strip():
            free = max(0, _MAX_WHITE_SPACE - self._trailing_breaks)
            self._trailing_breaks += len(piece)
            return piece[:free]
        self._trailing_breaks = len(piece) - len(piece.rstrip())
        return _WHITE_SPACE.sub(lambda run: run[0][:_MAX_WHITE_SPACE], piece)

    def _remove_labels(self, piece: str, is_last: bool) -> str:
        """Remove "Answer:" at the beginning, also after the question."""
        if self._beginning is None:
            return piece
        text = self._beginning + piece
        if not is_last and _may_begin_labels(text):
            self._beginning = text
            return ""
        self._beginning = None
        labels = _LABELS.match(text, len(text) - len(text.lstrip()))
        return text[labels.end() :] if labels else text

    # -- the fence -------------------------------------------------------------------------

    def _unwrap(self, piece: str, is_last: bool) -> str:
        if self._mode == "through":
            return piece
        self._held += piece
        if self._mode == "start":
            if not is_last and _PARTIAL_OPENING.match(self._held):
                return ""
            opening = _OPENING.match(self._held)
            info = opening["info"].lower() if opening else ""
            if opening is None or (info and info not in _PROSE_INFO):
                return self._release()
            self._mode = "prose" if info else "unknown"
            self._opening, self._fence = opening.group(), opening["fence"]
            self._held = self._held[opening.end() :]
        closing, _ = self._find_closing(self._held)
        if self._mode == "unknown":
            return self._decide(closing) if is_last else ""
        if closing and (is_last or closing.end() < len(self._held)):
            self._held = self._held[: closing.start()].rstrip("\n") + self._held[closing.end() :]
            return self._release()
        if is_last:
            return self._release()
        end = self._held.rfind("\n") + 1
        end = len(self._held[:end].rstrip("\n"))  # the line breaks before a closing fence
        text, self._held = self._held[:end], self._held[end:]
        _, self._inner_fences = self._find_closing(text)
        return text

    def _find_closing(self, text: str) -> tuple[re.Match[str] | None, int]:
        """Return the line that ends the fence, if any, and how many fences within are open."""
        open_fences = self._inner_fences
        lines = re.finditer(rf"(?m)^[ \t]*{re.escape(self._fence)}(?P<info>[^\n`~]*)$", text)
        for line in lines:
            if line["info"].strip():
                open_fences += 1
            elif open_fences:
                open_fences -= 1
            else:
                return line, 0
        return None, open_fences

    def _decide(self, closing: re.Match[str] | None) -> str:
        """Return a draft in a fence of no language: prose is unwrapped, code is kept."""
        is_whole = closing is not None and not self._held[closing.end() :].strip()
        if closing is not None and is_whole and _PROSE.search(self._held[: closing.start()]):
            self._held = self._held[: closing.start()].rstrip("\n")
        else:
            self._held = self._opening + self._held
        return self._release()

    def _release(self) -> str:
        text, self._held, self._mode = self._held, "", "through"
        return text

    # -- references ------------------------------------------------------------------------

    def _remove_references(self, text: str, is_last: bool) -> str:
        self._references += text
        start = self._find_references(is_last)
        if start is None:
            start = len(self._references)
            if not is_last:  # white space before a list
                start = len(self._references.rstrip())
        elif not is_last:
            start = len(self._references[:start].rstrip())
        elif self._has_answer or self._references[:start].strip():
            self._references = self._references[:start].rstrip()
            start = len(self._references)
        else:  # there is nothing but the list
            start = len(self._references)
        ready, self._references = self._references[:start], self._references[start:]
        if ready:
            self._is_at_line_start = ready.endswith("\n")
            self._has_answer = self._has_answer or bool(ready.strip())
        return ready

    def _find_references(self, is_last: bool) -> int | None:
        """Return where a list of references may begin; None if nothing is to be held back."""
        position = 0
        lines = self._references.split("\n")
        for i, text in enumerate(lines):
            is_complete = i + 1 < len(lines) or is_last
            if i or self._is_at_line_start:
                is_repeated_rule = i > 0 and _RULE.fullmatch(lines[i - 1])
                may_begin = _may_begin(text, is_complete) or _RULE.fullmatch(text)
                if (
                    may_begin
                    and not is_repeated_rule
                    and self._is_reference_list(
                        lines[i : i + _MAX_REFERENCE_LINES + 1], is_last=is_last
                    )
                ):
                    return position
            position += len(text) + 1
        return None

    def _is_reference_list(self, lines: list[str], *, is_last: bool) -> bool:
        """Whether lines are a list of references, or may become one."""
        if len(lines) > _MAX_REFERENCE_LINES:
            return False
        open_line = None if is_last else lines.pop()
        entries = 0
        for line in lines:
            if not line.strip() or (not entries and _RULE.fullmatch(line)):
                continue
            heading = (_HEADING.fullmatch(line) if not entries else None) or _NOTE.fullmatch(line)
            entry = heading["rest"] if heading else _ITEM_MARK.sub("", line, count=1)
            if heading and not entry.strip() and not _NOTE.fullmatch(line):
                entries += 1
                continue
            if (not heading and not entries) or not self._is_reference(entry):
                return False
            entries += 1
        if is_last:
            return entries > 0
        return open_line is not None and (
            entries > 0 or _may_begin(open_line, False) or not open_line.strip()
        )

    def _is_reference(self, entry: str) -> bool:
        """Whether an entry only names a source: its title, its file, an address or a number."""
        text = entry.strip().strip("*_`").strip()
        if _MARKERS.fullmatch(text):
            return True
        if len(text.split()) > _MAX_REFERENCE_WORDS:
            return False
        lowered = _MARKERS_ANYWHERE.sub(" ", text.lower())
        rest = _REFERENCE.sub(" ", lowered)
        for name in sorted(self._list_source_names(), key=len, reverse=True):
            rest = rest.replace(name, " ")
        other_words = [w for w in re.findall(r"\w+", rest) if not w.isdigit() and w not in _LINKS]
        return rest != lowered and len(other_words) <= _MAX_OTHER_WORDS

    def _list_source_names(self) -> Iterable[str]:
        if self._source_names is None:
            names: set[str] = set()
            for passage in self._passages:
                path = PurePosixPath(unquote(passage.uri))
                names |= {passage.title, path.name, path.stem, *passage.headings}
            self._source_names = tuple(
                name.lower().strip() for name in names if len(name.strip()) >= _MIN_NAME_CHARACTERS
            )
        return self._source_names


def _may_begin_labels(text: str) -> bool:
    """Whether a beginning may become a label, or a question and a label."""
    answer_labels = [*_ANSWER_LABEL.split("|"), "a"]
    line, line_break, rest = text.lstrip().partition("\n")
    if _QUESTION_LINE.fullmatch(line):
        return not line_break or _may_become(rest, answer_labels)
    if not line_break and _may_become(line, _QUESTION_LABEL.split("|")):
        return True
    return _may_become(text, answer_labels)


def _may_become(text: str, labels: Sequence[str]) -> bool:
    beginning = text.strip(" *_\t\n").rstrip(":：").rstrip().lower()
    return any(label.startswith(beginning) for label in labels)


def _may_begin(line: str, is_complete: bool) -> bool:
    """Whether a line begins a list of references, or may do so when it is complete."""
    if _HEADING.fullmatch(line) or _NOTE.fullmatch(line):
        return True
    if is_complete:
        return False
    text = line.lstrip(" \t#*_").lower()
    if not text.strip("-"):
        return bool(line)
    return any(word.startswith(text) or text.rstrip(" *_") == word for word in _WORDS) or bool(
        re.fullmatch(r"\[\^?\d{0,3}\]?", text)
    )
