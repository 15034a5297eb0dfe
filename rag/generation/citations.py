"""Citations: a model's draft becomes sentences with exact, verified citations, also in a stream.

`rag.generation.marker_repair` holds the fallback for wrong or missing citation markers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

from rag.generation.base import CitationAdded, Event, SentenceVerified, TextDelta
from rag.generation.claims import (
    extract_claim,
    find_prose,
    has_no_claim,
    has_symbol_letters,
    is_refusal,
    lacks_predicate,
    says_something_new,
)
from rag.generation.draft_segmentation import (
    CODE_FENCE,
    compile_closing_fence,
    count_settled_sentences,
    is_table_head,
    measure_safe_prefix,
)
from rag.generation.draft_unwrapping import DraftUnwrapper
from rag.generation.foreign_markers import move_lead_in, normalize_markers
from rag.generation.links import break_link_syntax, remove_uncited_links
from rag.generation.marker_repair import (
    add_missing_markers,
    drop_wrong_markers,
    find_supporting_quotes,
)
from rag.generation.markers import INLINE_CODE, find_marker_numbers, strip_markers, unlink_markers
from rag.generation.passages import Passage
from rag.generation.quotes import Quote, has_misquotation, is_contradicted
from rag.llm.completion import NativeCitation
from rag.text.sentences import Span, sentences
from rag.text.tokenization import content_stems
from rag.types import Citation, CitationMethod, Sentence, SentenceStatus
from rag.verification import Verifier

# Characters that are not displayed but read by programs: zero-width ones, tags, bidi controls.
_TAGS = range(0xE0000, 0xE0080)
_INVISIBLE = dict.fromkeys(
    (0xAD, 0x200B, 0x2060, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A), *_TAGS)
)
_CONTEXT_CHARACTERS = 1_200  # that tell what a marker is; inline code has half of that
_RESCAN_GROWTH_DIVISOR = 32  # unfinished text is scanned again once it has grown by 1/32


@dataclass(frozen=True, slots=True)
class CitedText:
    """A checked draft: its final text, sentences and citations.

    ``dropped_markers`` counts marker numbers of passages that do not exist or do not support their
    sentence, ``attributed`` the citations whose source the verifier found, ``removed_links`` the
    sentences that lost a link. ``dropped`` holds the sentences that were removed.
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
    """Writes the checked text of a draft piece by piece, and reports what it writes as events.

    The output does not depend on how the draft is cut into pieces. With `live`, words are written
    as they arrive, and markers when their sentence is checked; without it, a sentence is written
    when it is checked. With `drop`, an unsupported sentence is removed. `native` are the citations
    of the model's provider, by offsets in the draft. `question` is the question that the draft
    answers; without it, any word that occurs in a passage is supported by that passage.
    """

    passages: Sequence[Passage]
    verifier: Verifier
    live: bool = False
    drop: bool = False
    native: Sequence[NativeCitation] = ()
    question: str = ""

    _unwrapper: DraftUnwrapper = field(init=False)
    _draft: str = ""
    _processed_end: int = 0  # end of the processed part of the draft
    _context_start: int = 0
    _scanned_end: int = 0  # end of the draft at the last scan
    _written_ahead: int = 0  # characters of the next sentence that are already written
    _sentence_start: int = 0  # where the current sentence begins in the text
    _gap: str = ""  # white space to write before the next text
    _gap_before_dropped: str = ""
    _fence: str = ""
    _parts: list[str] = field(default_factory=list)
    _text_length: int = 0
    _sentences: list[Sentence] = field(default_factory=list)
    _citations: list[Citation] = field(default_factory=list)
    _cited_uris: set[str] = field(default_factory=set)
    _events: list[Event] = field(default_factory=list)
    _dropped_sentences: list[str] = field(default_factory=list)
    _dropped_marker_count: int = 0
    _attributed_count: int = 0
    _removed_link_count: int = 0
    _known_stems: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self._unwrapper = DraftUnwrapper(self.passages)

    def feed(self, piece: str) -> Iterator[Event]:
        """Process the next piece of the draft, and return the new events."""
        if not self.native:  # its offsets are those of the model's text
            piece = piece.translate(_INVISIBLE)
        self._draft += piece if self.native else self._unwrapper.feed(piece)
        unprocessed = len(self._draft) - self._processed_end
        # Scanning all unfinished text again for every token would take quadratic time.
        if len(self._draft) - self._scanned_end >= unprocessed // _RESCAN_GROWTH_DIVISOR:
            self._advance(final=False)
            self._scanned_end = len(self._draft)
        return self._take_events()

    def finish(self) -> Iterator[Event]:
        """Process the end of the draft, and return the new events."""
        if not self.native:
            self._draft += self._unwrapper.feed("", is_last=True)
        self._advance(final=True)
        return self._take_events()

    @property
    def result(self) -> CitedText:
        """The checked text so far."""
        return CitedText(
            text="".join(self._parts),
            sentences=tuple(self._sentences),
            citations=tuple(self._citations),
            dropped_markers=self._dropped_marker_count,
            attributed=self._attributed_count,
            removed_links=self._removed_link_count,
            dropped=tuple(self._dropped_sentences),
        )

    def _take_events(self) -> Iterator[Event]:
        events, self._events = self._events, []
        return iter(events)

    # -- reading the draft -----------------------------------------------------------------

    def _advance(self, *, final: bool) -> None:
        while self._processed_end < len(self._draft):
            if self._fence:
                self._write_code(final)
                if self._fence:
                    return
                continue
            fence = CODE_FENCE.search(self._draft, self._processed_end)
            end = fence.start() if fence else len(self._draft)
            is_complete = final or fence is not None
            if not self.native:  # its offsets are those of the model's text
                end = self._normalize_markers(end, is_complete)
                fence = CODE_FENCE.search(self._draft, self._processed_end)
            self._write_prose(self._draft[self._processed_end : end], is_complete)
            if fence is None:
                return
            self._fence = fence.group(1)

    def _normalize_markers(self, end: int, is_complete: bool) -> int:
        """Write the markers of the prose up to `end` as ``[1]``. Return its new end."""
        start = self._context_start = self._find_context()
        prose = normalize_markers(
            self._draft[start:end],
            len(self.passages),
            start=self._processed_end - start,
            final=is_complete,
        )
        self._draft = self._draft[:start] + prose + self._draft[end:]
        return start + len(prose)

    def _find_context(self) -> int:
        """Return where the text begins that tells what a marker after the checked text is.

        It begins with the line, or in a long line outside of inline code.
        """
        line_start = self._draft.rfind("\n", 0, self._processed_end) + 1
        start = max(line_start, self._context_start)
        if self._processed_end - start < 2 * _CONTEXT_CHARACTERS:
            return start
        limit = code_end = self._processed_end - _CONTEXT_CHARACTERS
        for code in INLINE_CODE.finditer(self._draft, start, self._processed_end):
            if code.start() >= limit:
                break
            code_end = max(limit, code.end())
        return code_end

    def _write_code(self, final: bool) -> None:
        """Write fenced code without links, once it is complete; prose in a fence is a claim."""
        opening = CODE_FENCE.match(self._draft, self._processed_end)
        assert opening is not None
        closing = compile_closing_fence(self._fence).search(self._draft, opening.end())
        if not final and (closing is None or closing.end() == len(self._draft)):
            return
        code_end = closing.end() if closing else len(self._draft)
        block = self._draft[self._processed_end : code_end]
        content = self._draft[opening.end() : closing.start() if closing else code_end]
        self._processed_end, self._fence = code_end, ""
        tag = opening.group().strip(" >`~\n")
        if prose := find_prose(content, tag):
            self._check_block(block, prose)
            return
        self._write_verbatim(break_link_syntax(block))  # renderers do not agree on what is code

    def _check_block(self, block: str, prose: str) -> None:
        """Write a fenced block that holds sentences, as one claim."""
        claims = [prose[span.start : span.end] for span in sentences(prose)]
        support = min(
            find_supporting_quotes(claim, [], self.passages, self.verifier, self.question)[1]
            for claim in claims
        )
        status = self.verifier.status(support)
        if self.drop and status == "unsupported":
            self._drop_sentence(block)
            return
        self._flush_gap()
        start = self._text_length
        self._write_verbatim(break_link_syntax(block))
        sentence = Sentence(start=start, end=self._text_length, support=support, status=status)
        self._events.append(SentenceVerified(number=len(self._sentences), sentence=sentence))
        self._sentences.append(sentence)

    def _write_prose(self, prose: str, final: bool) -> None:
        # Inline code becomes one word, so that no full stop in it ends a sentence.
        plain = INLINE_CODE.sub(lambda code: "x" * len(code.group()), prose)
        spans = sentences(plain, wrapped=False)
        texts = [prose[span.start : span.end] for span in spans]
        settled_count = len(spans) if final else count_settled_sentences(plain, spans)
        position, offset = 0, self._processed_end
        for i, (span, text) in enumerate(zip(spans[:settled_count], texts, strict=False)):
            self._gap += prose[position : span.start]
            self._check_sentence(
                text,
                Span(offset + span.start, offset + span.end),
                is_table_head(text, prose, spans, i),
            )
            position = span.end
        if final:
            self._gap += prose[position:]
            position = len(prose)
        elif self.live and settled_count < len(spans):
            position = self._write_ahead(prose, position, spans[settled_count])
        self._processed_end = offset + position

    def _write_ahead(self, prose: str, position: int, span: Span) -> int:
        """Write the safe beginning of an unsettled sentence; returns the new `position`."""
        text = prose[span.start : span.end]
        safe_length = measure_safe_prefix(text)
        if safe_length <= self._written_ahead:
            return position
        if not self._written_ahead:
            self._gap += prose[position : span.start]
            position = span.start
            self._begin_sentence(text)
        self._append(text[self._written_ahead : safe_length])
        self._written_ahead = safe_length
        return position

    # -- checking a sentence ---------------------------------------------------------------

    def _check_sentence(self, raw: str, draft_span: Span, is_head: bool) -> None:
        raw = raw if self.native else move_lead_in(raw, len(self.passages))
        unlinked = remove_uncited_links(
            unlink_markers(raw), is_cited=lambda _: False, is_quoted=self._is_in_passages
        )
        claim = strip_markers(unlinked).strip()
        marked = [n for n in find_marker_numbers(unlinked) if 0 < n <= len(self.passages)]
        native = [n for n in self._find_native_numbers(draft_span) if n not in marked]
        has_signs = has_symbol_letters(claim)
        if not has_signs and not re.search(r"\w", claim):
            self._write_sentence(raw, [], None)
        elif lacks_predicate(claim) or (
            not marked
            and not has_signs
            and not native
            and (is_head or has_no_claim(claim))
            and not says_something_new(claim, self._known_words)
        ):
            self._write_sentence(raw, [], "needs_none")
        else:
            quotes, support = find_supporting_quotes(
                extract_claim(claim),
                [*marked, *native],
                self.passages,
                self.verifier,
                self.question,
            )
            status: SentenceStatus = self.verifier.status(support)
            if has_misquotation(claim, self.passages):
                status, quotes = "unsupported", []
            if status != "supported" and not quotes and is_refusal(claim, self._known_words):
                status = "needs_none"
            if status in ("partly", "unsupported") and not has_misquotation(claim, self.passages):
                is_denied = is_contradicted(extract_claim(claim), self.passages, self.verifier)
                status, quotes = ("contradicted", []) if is_denied else (status, quotes)
            if self.drop and status in ("unsupported", "contradicted"):
                self._drop_sentence(raw)
                return
            methods: dict[int, CitationMethod] = dict.fromkeys(native, "native")
            methods |= dict.fromkeys(marked, "marker")
            cited = [(quote, methods.get(quote.passage.number, "attribution")) for quote in quotes]
            self._write_sentence(raw, cited, status, support)

    @property
    def _known_words(self) -> Set[str]:
        """The stems of the passages and of the question."""
        if not self._known_stems:
            texts = [self.question, *(f"{p.label} {p.text}" for p in self.passages)]
            self._known_stems = frozenset(stem for text in texts for stem in content_stems(text))
        return self._known_stems

    def _find_native_numbers(self, draft_span: Span) -> list[int]:
        """Return the numbers of the passages that the model's provider cites for a span."""
        return list(
            dict.fromkeys(
                source + 1
                for citation in self.native
                if citation.start < draft_span.end and citation.end > draft_span.start
                for source in citation.sources
                if source < len(self.passages)
            )
        )

    def _is_in_passages(self, address: str) -> bool:
        return any(address in passage.text for passage in self.passages)

    # -- writing ---------------------------------------------------------------------------

    def _write_sentence(
        self,
        raw: str,
        cited: Sequence[tuple[Quote, CitationMethod]],
        status: SentenceStatus | None,
        support: float = 0.0,
    ) -> None:
        """Write a sentence with its markers; without a status, write only its text."""
        text = self._repair_sentence(raw, cited)
        if not text.strip() and not self._written_ahead:
            self._merge_gap()
            return
        if not self._written_ahead:
            self._begin_sentence(text)
        sentence_text = text.rstrip()
        self._append(sentence_text[self._written_ahead :])
        self._written_ahead = 0
        self._gap = text[len(sentence_text) :]  # the white space before a removed marker
        if status is None:
            return
        citation_indices = [
            self._add_citation(quote.citation(quote.passage.number, method))
            for quote, method in cited
        ]
        sentence = Sentence(
            start=self._sentence_start,
            end=self._text_length,
            citations=tuple(dict.fromkeys(citation_indices)),
            support=support,
            status=status,
        )
        self._events.append(SentenceVerified(number=len(self._sentences), sentence=sentence))
        self._sentences.append(sentence)

    def _repair_sentence(self, raw: str, cited: Sequence[tuple[Quote, CitationMethod]]) -> str:
        """Return the sentence with the markers of `cited` and with links to cited sources only."""
        self._cited_uris |= {quote.passage.uri for quote, _ in cited}
        supporting = {quote.passage.number for quote, _ in cited}
        with_links, marked = drop_wrong_markers(unlink_markers(raw), supporting)
        self._dropped_marker_count += sum(number not in supporting for number in marked)
        # Removing a marker can turn the text around it into a link, so links come second.
        text = remove_uncited_links(
            with_links, is_cited=self._cited_uris.__contains__, is_quoted=self._is_in_passages
        )
        self._removed_link_count += text != with_links
        if not self._written_ahead:
            text = text.lstrip()
        missing = [
            (quote.passage.number, method)
            for quote, method in cited
            if quote.passage.number not in marked
        ]
        self._attributed_count += sum(method == "attribution" for _, method in missing)
        return add_missing_markers(text, [number for number, _ in missing])

    def _add_citation(self, citation: Citation) -> int:
        """Return the index of the citation, which is added if it is new."""
        if citation not in self._citations:
            self._events.append(CitationAdded(number=len(self._citations), citation=citation))
            self._citations.append(citation)
        return self._citations.index(citation)

    def _drop_sentence(self, raw: str) -> None:
        self._dropped_sentences.append(raw)
        self._merge_gap()

    def _merge_gap(self) -> None:
        """Keep the larger of the white space on both sides of a dropped sentence."""
        self._gap_before_dropped = max(self._gap_before_dropped, self._gap, key=_measure_gap)
        self._gap = ""

    def _begin_sentence(self, text: str) -> None:
        if (
            not self._gap
            and text[:1] in ("(", ":", "[")
            and self._parts[-1:]
            and self._parts[-1].endswith("]")
        ):
            self._gap = " "  # two adjacent sentences must not form a link
        self._flush_gap()
        self._sentence_start = self._text_length

    def _write_verbatim(self, text: str) -> None:
        """Write text that is no sentence; keep the white space around it as the gap."""
        inner = text.strip()
        if not inner:
            self._gap += text
            return
        start = text.index(inner)
        self._gap += text[:start]
        self._flush_gap()
        self._append(inner)
        self._gap = text[start + len(inner) :]

    def _flush_gap(self) -> None:
        """Write the gap, except at the beginning of the text."""
        gap = max(self._gap_before_dropped, self._gap, key=_measure_gap)
        self._gap = self._gap_before_dropped = ""
        if self._parts:
            self._append(gap)

    def _append(self, text: str) -> None:
        if text:
            self._parts.append(text)
            self._text_length += len(text)
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
    """Check a draft: repair its markers, and give each sentence its citations.

    From each passage that its markers name and that supports it at least in part, a sentence cites
    the exact span that supports it best. If none does, it cites the passage that does, if there is
    one, and gets a marker for it. Code stays unchanged. Headings, rules, questions and table heads
    need no citation. Only links and images that lead to a cited source remain.
    """
    writer = CitationWriter(passages, verifier, drop=drop, native=native, question=question)
    writer.feed(draft)
    writer.finish()
    return writer.result


def _measure_gap(gap: str) -> tuple[int, int]:
    """Return the number of lines, then of characters, to compare gaps by."""
    return gap.count("\n"), len(gap)
