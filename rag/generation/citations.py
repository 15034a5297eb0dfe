"""From a draft to sentences with exact, verified citations, as it comes or all at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rag.generation.base import CitationAdded, Event, SentenceVerified, TextDelta
from rag.generation.claims import admitted, claims_nothing, refuses
from rag.generation.context_packing import Passage
from rag.generation.links import LINK_LIKE, disarmed, without_links
from rag.generation.markers import (
    INLINE_CODE,
    kept_markers,
    marked,
    numbers_in,
    unlinked,
    without_markers,
)
from rag.generation.quotes import Quote, best_quote, misquotes
from rag.llm.base import NativeCitation
from rag.text.sentences import Span, sentences
from rag.types import Citation, CitationMethod, Sentence, SentenceStatus
from rag.verification import Verifier

_FENCE = re.compile(r"^[ >]{0,8}+(`{3,}+(?![^\n]*`)|~{3,}+)[^\n]*+\n", re.M)
_TABLE_RULE = re.compile(r"\|?\s*+:?-{2,}+[\s:|-]*+$")
_NEEDLESS = 0.95  # a quote is not needed without which this share of the support is left
_SETTLED = 24  # characters behind a sentence that tell its end from an abbreviation's
_PATIENCE = 32  # an unfinished stretch is looked at again when it has grown by one part in so many
_OPEN_MARKER = re.compile(r"[\[【][\d,;\s–^-]*+\Z")
# What is written at once while a sentence comes: whole words, up to what may have to be changed.
_SAFE = re.compile(r"[^\[【!<`~|\\]*+")
_OWN_WORD = re.compile("[\u0e01-\u0eff\u3041-\u30ff\u3400-\u9fff]")  # of scripts without spaces


@dataclass(frozen=True, slots=True)
class CitedText:
    """A draft after checking: the text as it will be shown, its sentences and citations.

    ``dropped_markers`` counts those of passages that are not there or do not support,
    ``attributed`` the sentences whose source the verifier found, ``removed_links`` those that had
    one; ``dropped`` are the sentences that were left out.
    """

    text: str
    sentences: tuple[Sentence, ...]
    citations: tuple[Citation, ...]
    dropped_markers: int = 0
    attributed: int = 0
    removed_links: int = 0
    dropped: tuple[str, ...] = ()


@dataclass(slots=True)
class CitationWriter:
    """Writes the checked text of a draft, piece by piece, and tells what it wrote as events.

    What it writes does not depend on how the draft was cut into pieces. With `live`, words are
    written as they come and markers held back until their sentence is checked; without, a sentence
    is written when it is. With `drop`, a sentence that is not supported is left out. `native` are
    the citations of the draft's provider, by places in the draft. `question` is what the
    draft answers: without, any word that stands in a passage is supported by it.
    """

    passages: Sequence[Passage]
    verifier: Verifier
    live: bool = False
    drop: bool = False
    native: Sequence[NativeCitation] = ()
    question: str = ""

    _draft: str = ""
    _done: int = 0  # what of the draft has been dealt with
    _seen: int = 0  # what of the draft has been looked at
    _ahead: int = 0  # characters of the next sentence that are written already
    _start: int = 0  # where in the text the sentence begins that is being written
    _gap: str = ""  # white space that will be written before what comes next
    _gap_before_dropped: str = ""
    _fence: str = ""
    _trusted: bool = False
    _parts: list[str] = field(default_factory=list)
    _at: int = 0
    _sentences: list[Sentence] = field(default_factory=list)
    _citations: list[Citation] = field(default_factory=list)
    _cited: set[str] = field(default_factory=set)
    _events: list[Event] = field(default_factory=list)
    _dropped: list[str] = field(default_factory=list)
    _dropped_markers: int = 0
    _attributed: int = 0
    _removed_links: int = 0

    def feed(self, piece: str) -> Iterator[Event]:
        """Take the next piece of the draft."""
        self._draft += piece
        waiting = len(self._draft) - self._done
        if len(self._draft) - self._seen >= waiting // _PATIENCE:  # not all of it for every token
            self._seen = len(self._draft)
            self._advance(final=False)
        return self._told()

    def finish(self) -> Iterator[Event]:
        """Take the end of the draft."""
        self._advance(final=True)
        return self._told()

    @property
    def result(self) -> CitedText:
        """What has been written."""
        return CitedText(
            text="".join(self._parts),
            sentences=tuple(self._sentences),
            citations=tuple(self._citations),
            dropped_markers=self._dropped_markers,
            attributed=self._attributed,
            removed_links=self._removed_links,
            dropped=tuple(self._dropped),
        )

    def _told(self) -> Iterator[Event]:
        events, self._events = self._events, []
        return iter(events)

    # -- going through the draft -----------------------------------------------------------

    def _advance(self, *, final: bool) -> None:
        while self._done < len(self._draft):
            if self._fence:
                self._code(final)
                if self._fence:
                    return
                continue
            fence = _FENCE.search(self._draft, self._done)
            end = fence.start() if fence else len(self._draft)
            self._prose(self._draft[self._done : end], final or fence is not None)
            if fence is None:
                return
            # Only one that stands at the margin is a fence wherever it stands.
            self._trusted = fence.group().startswith(fence.group(1))
            self._write(fence.group() if self._trusted else disarmed(fence.group()))
            self._done = fence.end()
            self._fence = fence.group(1)

    def _code(self, final: bool) -> None:
        """Write fenced code as it is, line by line, up to the fence's end."""
        closing = re.compile(rf"^[ >]{{0,8}}+{self._fence}[`~]*+[ \t\r]*+$", re.M)
        end = closing.search(self._draft, self._done)
        if end is not None and (final or end.end() < len(self._draft)):
            upto, self._fence = end.end(), ""
        elif final:
            upto = len(self._draft)
        else:
            upto = self._draft.rfind("\n", self._done) + 1 or self._done
        code = self._draft[self._done : upto]
        self._write(code if self._trusted else disarmed(code))
        self._done = upto
        if final and upto == len(self._draft):
            self._fence = ""

    def _prose(self, prose: str, final: bool) -> None:
        # Code is one word here, so that no full stop in it ends a sentence.
        plain = INLINE_CODE.sub(lambda code: "x" * len(code.group()), prose)
        spans = sentences(plain, wrapped=False)
        texts = [prose[span.start : span.end] for span in spans]
        settled = len(spans) if final else _settled(plain, spans)
        at, base = 0, self._done
        for i, (span, text) in enumerate(zip(spans[:settled], texts, strict=False)):
            self._gap += prose[at : span.start]
            self._sentence(
                text, Span(base + span.start, base + span.end), _is_head(text, prose, spans, i)
            )
            at = span.end
        if final:
            self._gap += prose[at:]
            at = len(prose)
        elif self.live and settled < len(spans) and (sure := _sure(texts[settled])) > self._ahead:
            if not self._ahead:
                self._gap += prose[at : spans[settled].start]
                at = spans[settled].start
                self._begin(texts[settled])
            self._append(texts[settled][self._ahead : sure])
            self._ahead = sure
        self._done = base + at

    # -- a sentence ------------------------------------------------------------------------

    def _sentence(self, raw: str, place: Span, is_head: bool) -> None:
        bare = without_links(unlinked(raw), cited=lambda _: False, quoted=self._stands)
        claim = without_markers(bare).strip()
        numbers = [n for n in numbers_in(bare) if n <= len(self.passages) and n > 0]
        native = [n for n in self._native_numbers(place) if n not in numbers]
        if not re.search(r"\w", claim):
            self._put(raw, [], None)
        elif not numbers and not native and (is_head or claims_nothing(claim)):
            self._put(raw, [], "needs_none")
        else:
            found, support = self._evidence(admitted(claim), [*numbers, *native])
            status: SentenceStatus = self.verifier.status(support)
            if misquotes(claim, self.passages):
                status, found = "unsupported", []
            if status != "supported" and not found and refuses(claim):
                status = "needs_none"
            if self.drop and status == "unsupported":
                self._leave_out(raw)
                return
            methods: dict[int, CitationMethod] = dict.fromkeys(native, "native")
            methods |= dict.fromkeys(numbers, "marker")
            cited = [(quote, methods.get(quote.passage.number, "attribution")) for quote in found]
            self._put(raw, cited, status, support)

    def _evidence(self, claim: str, numbers: Sequence[int]) -> tuple[list[Quote], float]:
        """Quotes of the passages chosen that support the claim, or of a better one."""
        named = [[self.passages[n - 1]] for n in numbers]
        chosen = [best_quote(claim, each, self.verifier, self.question) for each in named]
        quotes = [quote for quote in chosen if quote is not None]
        found = [quote for quote in quotes if quote.support >= self.verifier.partial]
        support = max((quote.support for quote in found), default=0.0)
        if len(quotes) > 1:
            found, support = self._together(claim, quotes, (found, support))
        if support < self.verifier.threshold:
            other = best_quote(claim, self.passages, self.verifier, self.question)
            enough = self.verifier.threshold if found else self.verifier.partial
            if other is not None and other.support >= enough:
                found, support = [other], other.support
        return found, min(1.0, support)

    def _together(
        self, claim: str, quotes: list[Quote], alone: tuple[list[Quote], float]
    ) -> tuple[list[Quote], float]:
        """The quotes that support the claim between them, where that is more than `alone`.

        One that could be left out without loss is (as citation precision has it: Gao et al., 2023).
        """

        def joint(some: Sequence[Quote]) -> float:
            return float(self.verifier.scores([(claim, "\n".join(q.text for q in some))])[0])

        support = joint(quotes)
        if support < self.verifier.partial or alone[1] >= _NEEDLESS * support:
            return alone
        needed = list(quotes)
        for quote in sorted(quotes, key=lambda q: q.support):
            rest = [other for other in needed if other is not quote]
            if rest and joint(rest) >= _NEEDLESS * support:
                needed = rest
        return needed, support

    def _native_numbers(self, place: Span) -> list[int]:
        return list(
            dict.fromkeys(
                source + 1
                for cited in self.native
                if cited.start < place.end and cited.end > place.start
                for source in cited.sources
                if source < len(self.passages)
            )
        )

    def _stands(self, address: str) -> bool:
        return any(address in passage.text for passage in self.passages)

    # -- writing ---------------------------------------------------------------------------

    def _put(
        self,
        raw: str,
        cited: Sequence[tuple[Quote, CitationMethod]],
        status: SentenceStatus | None,
        support: float = 0.0,
    ) -> None:
        """Write a sentence with its markers; without a status it is none, only its text."""
        self._cited |= {quote.passage.uri for quote, _ in cited}
        kept = {quote.passage.number for quote, _ in cited}
        shown = unlinked(raw)
        named = numbers_in(shown)
        shown = kept_markers(shown, lambda numbers: [n for n in numbers if n in kept])
        self._dropped_markers += sum(n not in kept for n in named)
        linked = shown  # what is left without its markers may be a link only now
        shown = without_links(linked, cited=self._cited.__contains__, quoted=self._stands)
        self._removed_links += shown != linked
        if not self._ahead:
            shown = shown.lstrip()
        for quote, method in cited:
            if quote.passage.number not in named:
                shown = marked(shown, quote.passage.number)
                self._attributed += method == "attribution"
        if not shown.strip() and not self._ahead:
            self._forget_gap()
            return
        if not self._ahead:
            self._begin(shown)
        self._append(shown[self._ahead :])
        self._ahead = 0
        if status is None:
            return
        places = []
        for quote, method in cited:
            citation = quote.citation(quote.passage.number, method)
            if citation not in self._citations:
                self._events.append(CitationAdded(number=len(self._citations), citation=citation))
                self._citations.append(citation)
            places.append(self._citations.index(citation))
        sentence = Sentence(
            start=self._start,
            end=self._at,
            citations=tuple(dict.fromkeys(places)),
            support=support,
            status=status,
        )
        self._events.append(SentenceVerified(number=len(self._sentences), sentence=sentence))
        self._sentences.append(sentence)

    def _leave_out(self, raw: str) -> None:
        self._dropped.append(raw)
        self._forget_gap()

    def _forget_gap(self) -> None:
        """Leave the white space on both sides of something left out to its wider one."""
        self._gap_before_dropped = max(self._gap_before_dropped, self._gap, key=_lines)
        self._gap = ""

    def _begin(self, text: str) -> None:
        if (
            not self._gap
            and text[:1] in ("(", ":", "[")
            and self._parts[-1:]
            and self._parts[-1].endswith("]")
        ):
            self._gap = " "  # two sentences do not make a link between them
        self._flush()
        self._start = self._at

    def _write(self, text: str) -> None:
        """Write text that is no sentence; white space around it waits for what comes next."""
        inner = text.strip()
        if not inner:
            self._gap += text
            return
        start = text.index(inner)
        self._gap += text[:start]
        self._flush()
        self._append(inner)
        self._gap = text[start + len(inner) :]

    def _flush(self) -> None:
        """Write the white space that was held back; none at the beginning."""
        gap = max(self._gap_before_dropped, self._gap, key=_lines)
        self._gap = self._gap_before_dropped = ""
        if self._parts:
            self._append(gap)

    def _append(self, text: str) -> None:
        if text:
            self._parts.append(text)
            self._at += len(text)
            self._events.append(TextDelta(text=text))


def cite(
    draft: str,
    passages: Sequence[Passage],
    verifier: Verifier,
    *,
    drop: bool = False,
    native: Sequence[NativeCitation] = (),
    question: str = "",
) -> CitedText:
    """Check a draft: drop markers of passages that are not there, and tie each sentence down.

    A sentence cites, from each passage that its markers name and that supports it at least in part,
    the exact span that supports it best. Where none does, it gets the passage that does, if there
    is one, and a marker for it. Code stays as it is; headings, rules, questions and the heads of
    tables claim nothing. Links and images stay only where they lead to a cited source.
    """
    writer = CitationWriter(passages, verifier, drop=drop, native=native, question=question)
    writer.feed(draft)
    writer.finish()
    return writer.result


def _is_head(text: str, prose: str, spans: Sequence[Span], i: int) -> bool:
    """Whether a sentence is the head of a table: the very next line is the table's rule."""
    first, _, rest = text.partition("\n")
    if "|" not in first:
        return False
    if (
        not rest
        and i + 1 < len(spans)
        and prose[spans[i].end : spans[i + 1].start].count("\n") == 1
    ):
        rest = prose[spans[i + 1].start : spans[i + 1].end]
    return bool(_TABLE_RULE.match(rest.partition("\n")[0]))


def _settled(prose: str, spans: Sequence[Span]) -> int:
    """How many of the first sentences will not change, whatever comes behind `prose`."""
    last_line = prose.rfind("\n") + 1
    open_code = prose.find("`", last_line)
    count = 0
    for span in spans[:-1]:
        rest = prose[span.end :].lstrip()
        enough = "\n" in rest
        if not enough and "|" not in prose[span.start : span.end]:
            enough = len(rest) >= _SETTLED and rest[0] not in "-:|"  # nor the head of a table
        if not enough or _OPEN_MARKER.match(rest) or 0 <= open_code < span.end:
            break
        count += 1
    return count


def _sure(sentence: str) -> int:
    """Length of the beginning of a sentence that checking will not change."""
    safe = _SAFE.match(sentence)
    words = sentence[: safe.end()] if safe else ""
    if link := LINK_LIKE.search(words):
        words = words[: link.start()]
    end = len(words)
    while end and not words[end - 1].isspace():
        end -= 1
        if _OWN_WORD.match(words[end]) and end < len(words) - 1:
            end += 1
            break
    sure = words[:end].rstrip()
    return len(sure) if re.search(r"\w", sure) else 0


def _lines(gap: str) -> tuple[int, int]:
    return gap.count("\n"), len(gap)
