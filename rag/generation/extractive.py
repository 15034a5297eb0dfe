"""The extractive generator: answers in the words of the sources, without a language model."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from rag.embedding import Embedder, StaticEmbedder
from rag.generation.answer_scorer import estimate_answerability, rank_candidates
from rag.generation.answer_types import find_answer_type, has_new_answer
from rag.generation.antecedents import find_antecedents
from rag.generation.base import Generator, abstention
from rag.generation.closest_passages import find_closest_passages
from rag.generation.composed_answers import (
    is_lead_in,
    select_files,
    select_items,
    select_list_around,
    select_list_below,
    select_quantities,
    select_sides,
    select_summary,
)
from rag.generation.context_packing import pack
from rag.generation.links import remove_uncited_links
from rag.generation.list_items import is_list_item
from rag.generation.markers import show_as_notes
from rag.generation.passages import Passage
from rag.generation.question_kinds import AskedFor, QuestionKind, find_question_kind
from rag.generation.question_spelling import respell_question
from rag.generation.quotes import Quote
from rag.generation.relevance import Candidate, explain_missing_answer
from rag.generation.versions import put_newest_first
from rag.query import Query
from rag.text.function_words import find_stop_words, question_stems
from rag.text.instructions import split_instructions
from rag.text.sentences import Span
from rag.text.tokenization import stems, words
from rag.text.tokens import count_tokens
from rag.types import Answer, Citation, ExtractStep, Hit, Message, Sentence

_MAX_QUOTES = 20
_SURE_ENOUGH = 0.5  # that a sentence without an answer of the asked kind holds one in other words
_MAX_SHORT_WORDS = 4  # a sentence of so many words needs its heading to be understood
_QUOTE_SIGNS = re.compile(r"(?:\A|\n)[ \t]*(?:>[ \t]?)+")
_WITHOUT_SUBJECT = re.compile(
    r"[^\W\d_a-zß-öø-ÿ][a-zß-öø-ÿ]+s\s(?:the|a|an|all|up|at|in|from|to|with|for)\b"
)
_MAX_EXCEPTION_CHARACTERS = 200
_EXCEPTION = re.compile(
    r"(?:After that|Afterwards|Thereafter|Otherwise|However|But|Except|Unless|Only if|"
    r"In other cases|Danach|Sonst|Andernfalls|Allerdings|Jedoch|Aber|Außer|Ensuite|Sinon|"
    r"Cependant|Mais|"
    r"Después|De lo contrario|Sin embargo|Pero)\b"
)
_QUESTION_WORD = re.compile(
    r"\W*(?:(?:in|at|on|by|from|to|for|until|since)\s)?(?:what|which|how|when|where|who|whose|why|was|welche[mnrs]?|"
    r"wie|wann|wo|wer|wem|warum|que|quel(?:le)?s?|quand|où|qui|pourquoi|qué|cuál|cuándo|dónde|quién)\b",
    re.IGNORECASE,
)
_MAX_NEW_WORDS = 1  # of a sentence that repeats a question
_MIN_REPEATED_WORDS = 2
# What is quoted shows by itself that it is about what is asked for.
_KINDS_WITH_OWN_CHECK = frozenset({"comparison", "summary", "files"})
_WITH_A_MODEL = {
    "comparison": "sentences are quoted as they are, a chat model could compare the passages",
    "calculation": "values are quoted as they are, a chat model could calculate with them",
    "summary": "sentences are quoted as they are, a chat model could sum up the passages",
}


class ExtractiveGenerator(Generator):
    """Quotes the sentences that answer best, verbatim, each with its citation.

    It cannot hallucinate, since it only quotes. First, the question is written as the passages
    spell it (`rag.generation.question_spelling`). A learned scorer (`rag.generation.answer_scorer`)
    ranks the sentences. It compares words with ``embedder``, and, if there is one, whole sentences
    with ``sentence_embedder`` (better and slower: `MiniLMEmbedder`). If the probability (0..1) that
    the best ones hold the answer is below ``answerability``, or the best relevance (0..2, see
    `rag.generation.relevance`) below ``threshold``, the generator abstains. It quotes up to
    ``sentences`` sentences whose odds are at least ``near`` times those of the best, each on a line
    of its own; of several versions of a document, the newest first (`rag.generation.versions`). A
    sentence comes with those that its pronoun points back to (`rag.generation.antecedents`). In the
    answer's text, white space is collapsed, a row of a table has the names of its columns, markers
    of the source are notes (⁽³⁾), and links lead to the cited source only; the citations' quotes
    are unchanged.

    `benchmarks/answers.py` prints how many answerable questions the defaults keep, and how many
    unanswerable ones they refuse.
    """

    name: ClassVar[str] = "extractive"
    revision: ClassVar[int] = 11

    sentences: int = Field(3, ge=1, le=20)
    answerability: float = Field(0.27, ge=0, le=1)
    threshold: float = Field(0.0, ge=0, le=2)
    near: float = Field(0.33, ge=0, le=1)
    streams: ClassVar[bool] = False

    budget: int = Field(4_000, ge=64)
    embedder: Embedder = StaticEmbedder()
    sentence_embedder: Embedder | None = None

    def answer(
        self, question: str | Query, hits: Sequence[Hit], history: Sequence[Message] = ()
    ) -> Answer:
        """See `Generator.answer`; `history` is not used."""
        start_time = time.perf_counter()
        packed = pack(hits, self.budget, count_tokens)
        asked_query = Query.of(question)
        query = replace(asked_query, text=split_instructions(asked_query.text).answered_text)
        query = respell_question(query, packed.passages, self.embedder)
        asked = find_question_kind(query.text)
        searched = replace(query, text=_find_searched_text(query, asked))
        embedders = self.embedder, self.sentence_embedder
        candidates = rank_candidates(searched, packed.passages, *embedders)
        best_relevance = max((c.relevance for c in candidates), default=0.0)
        answerability = estimate_answerability(candidates[0].score) if candidates else 0.0

        def make_step() -> ExtractStep:
            return ExtractStep(
                name="extract",
                seconds=time.perf_counter() - start_time,
                passages=len(packed.passages),
                left_out=packed.omitted_hits,
                candidates=len(candidates),
                relevance=round(best_relevance, 3),
                answerability=round(answerability, 3),
            )

        selected, missing_sides = self._compose(query, asked, candidates, packed.passages)
        is_sure = (
            answerability >= self._required_answerability(query, candidates)
            and best_relevance >= self.threshold
        )
        has_own_check = asked.kind in _KINDS_WITH_OWN_CHECK or (
            asked.kind in ("list", "calculation") and bool(selected) and not _is_item(selected[-1])
        )
        if is_sure and not selected and not has_own_check:
            selected = self._select_candidates(query, candidates)
        if not selected or not (is_sure or has_own_check):
            reason = self._explain(query, asked, missing_sides, packed.passages, answerability)
            closest = find_closest_passages(searched, candidates)
            return abstention(reason, hits, closest=closest, trace=(make_step(),))
        if asked.kind == "fact":
            selected = put_newest_first(query.text, selected, candidates)
        text, sentences, citations = _compose_answer(query, selected[:_MAX_QUOTES], asked.kind)
        if asked.kind == "list" and len(selected) > self.sentences:
            text, sentences = _add_count(text, sentences, selected)
        return Answer(
            text=text,
            status="answered",
            sentences=sentences,
            citations=citations,
            hits=tuple(hits),
            trace=(make_step(),),
        )

    def _compose(
        self,
        query: Query,
        asked: AskedFor,
        ranked: Sequence[Candidate],
        passages: Sequence[Passage],
    ) -> tuple[list[Candidate], list[str]]:
        """Return the quotes of an answer of several parts, and the sides that have none.

        A question for a fact has such quotes only if its best sentence introduces a list.
        """
        if asked.kind == "comparison":
            selected, missing_sides = select_sides(asked, passages, self.embedder)
            return ([] if missing_sides else selected), missing_sides
        if asked.kind == "calculation":
            return select_quantities(asked, passages, self.embedder), []
        if asked.kind == "summary":
            return select_summary(asked, passages, ranked), []
        if asked.kind == "files":
            return select_files(asked, passages, ranked), []
        if asked.kind == "list":
            return select_items(query, asked, ranked, passages), []
        near_best = self._list_near_best(ranked)
        return select_list_below(ranked) or select_list_around(ranked, near_best), []

    def _required_answerability(self, query: Query, ranked: Sequence[Candidate]) -> float:
        """Return ``answerability``, or more if no good sentence has an answer of the asked kind.

        "Ask the captain." is hardly an answer to "Who is the captain?".
        """
        kind = find_answer_type(query.text)
        if kind in (None, "reason") or not self.answerability:  # a reason needs no "because"
            return self.answerability
        has_kind = any(
            has_new_answer(query.text, c.passage.describe(c.span), kind)
            for c in self._list_near_best(ranked)
        )
        return self.answerability if has_kind else max(self.answerability, _SURE_ENOUGH)

    def _list_near_best(self, ranked: Sequence[Candidate]) -> list[Candidate]:
        """Return the best sentences, as far as their odds are near those of the best one."""
        best = ranked[: self.sentences]
        return [c for c in best if c.score >= ranked[0].score - self._max_distance]

    @property
    def _max_distance(self) -> float:
        """The log of ``near``: how much lower the log odds of a quote may be than the best."""
        return -math.log(self.near) if self.near else math.inf

    def _explain(
        self,
        query: Query,
        asked: AskedFor,
        missing_sides: Sequence[str],
        passages: Sequence[Passage],
        answerability: float,
    ) -> str:
        if not passages:
            return "nothing was retrieved"
        if missing_sides:
            reason = f"no sentence of the passages is about {' or '.join(missing_sides)}"
            reason += f' and "{asked.topic}"' if asked.topic else ""
        else:
            searched = _find_searched_text(query, asked)
            reason = explain_missing_answer(searched, passages, answerability)
        return f"{reason}; {_WITH_A_MODEL[asked.kind]}" if asked.kind in _WITH_A_MODEL else reason

    def _select_candidates(self, query: Query, ranked: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates to quote, best first, without duplicate texts."""
        selected: list[Candidate] = []
        selected_texts: set[str] = set()
        for candidate in ranked:
            text = _collapse_white_space(candidate.text)
            if len(selected) == self.sentences or (
                selected and candidate.score < selected[0].score - self._max_distance
            ):
                break
            if text not in selected_texts and _render_candidate(candidate).strip():
                selected_texts.add(text)
                extended = _extend_over_answer(query, _extend_over_exception(candidate))
                selected.append(_extend_over_antecedent(extended, selected))
        return [
            candidate
            for i, candidate in enumerate(selected)
            if not any(_is_within(candidate, other) for other in selected[:i])
        ]


def _extend_over_exception(candidate: Candidate) -> Candidate:
    """Add the next sentence if it limits this one: "Free for ten days. After that, 50 %"."""
    passage, span = candidate.passage, candidate.span
    following = _find_following(candidate)
    if following is None or not _EXCEPTION.match(passage.text, following.start, following.end):
        return candidate
    return candidate._replace(span=Span(span.start, following.end))


def _extend_over_answer(query: Query, candidate: Candidate) -> Candidate:
    """Add the next sentence if this one only repeats the words of a question for a fact.

    "Check the colour of the lime. Violet means used up." answers "Which colour means used up?".
    """
    text = candidate.text
    if _QUESTION_WORD.match(query.text) is None or any(map(str.isdigit, text)):
        return candidate
    kind = find_answer_type(query.text)
    if kind is not None and has_new_answer(query.text, text, kind):
        return candidate
    known_stems = set(question_stems(query.text))
    new_words = set(words(text)) - find_stop_words(text)
    content = [word for word in new_words if not known_stems & set(stems(word))]
    if len(content) > _MAX_NEW_WORDS or len(known_stems & set(stems(text))) < _MIN_REPEATED_WORDS:
        return candidate
    following = _find_following(candidate)
    return (
        candidate._replace(span=Span(candidate.span.start, following.end))
        if following
        else candidate
    )


def _find_following(candidate: Candidate) -> Span | None:
    """Return the next sentence of the same paragraph or list item; None if there is none."""
    passage, span = candidate.passage, candidate.span
    if passage.table_at(span.start) is not None:
        return None
    following = (s for s in passage.sentences_beside(span) if s.start >= span.end)
    sentence = next(following, None)
    if sentence is None or sentence.end - sentence.start > _MAX_EXCEPTION_CHARACTERS:
        return None
    between = passage.text[span.end : sentence.start]
    is_other_item = "\n" in between and is_list_item(passage, sentence)
    return None if "\n\n" in between or is_other_item else sentence


def _extend_over_antecedent(candidate: Candidate, quoted: Sequence[Candidate]) -> Candidate:
    """Add the sentences that a pronoun at the beginning points back to, unless they are quoted.

    "It can be paid in three instalments." does not say what can.
    """
    span = candidate.span
    for sentence in find_antecedents(candidate.passage, span):
        if any(_is_within(candidate._replace(span=sentence), other) for other in quoted):
            break
        span = Span(sentence.start, span.end)
    return candidate._replace(span=span)


def _is_item(candidate: Candidate) -> bool:
    return is_list_item(candidate.passage, candidate.span)


def _is_within(candidate: Candidate, other: Candidate) -> bool:
    return (
        candidate.passage == other.passage
        and other.span.start <= candidate.span.start
        and candidate.span.end <= other.span.end
    )


def _find_searched_text(query: Query, asked: AskedFor) -> str:
    """Return what a question looks for, without words such as "list all" and "summarize"."""
    if asked.kind in ("list", "summary", "files"):
        return asked.topic
    return query.text


def _compose_answer(
    query: Query,
    candidates: Sequence[Candidate],
    kind: QuestionKind = "fact",
) -> tuple[str, tuple[Sentence, ...], tuple[Citation, ...]]:
    """Compose the answer: each sentence or row on a line of its own, with its marker.

    Where quotes of several sections stand together, each has its heading.
    """
    parts: list[str] = []
    sentences: list[Sentence] = []
    citations: list[Citation] = []
    start = 0
    for marker, candidate in enumerate(candidates, start=1):
        text = f"{_render_candidate(candidate, query, kind)} [{marker}]"
        quote = Quote(candidate.passage, candidate.span, 1.0)
        citations.append(quote.citation(marker, "extractive"))
        sentences.append(
            Sentence(
                start=start,
                end=start + len(text),
                citations=(marker - 1,),
                support=1.0,
                status="supported",
            )
        )
        parts.append(text)
        start += len(text) + 1
    return "\n".join(parts), tuple(sentences), tuple(citations)


def _add_count(
    text: str, sentences: tuple[Sentence, ...], items: Sequence[Candidate]
) -> tuple[str, tuple[Sentence, ...]]:
    """Add a line with the number of items; a lead-in is none."""
    total = sum(not is_lead_in(item) for item in items)
    scope = "in the passages that were found"
    is_cut = len(items) > len(sentences)
    count = f"(the first {len(sentences)} of {total} {scope})" if is_cut else f"({total} {scope})"
    start = len(text) + 1
    last = Sentence(start=start, end=start + len(count), support=1.0, status="needs_none")
    return f"{text}\n{count}", (*sentences, last)


def _render_candidate(
    candidate: Candidate, query: Query | None = None, kind: QuestionKind = "fact"
) -> str:
    """Return a quote as it is shown: on one line, below the headings that it needs.

    The signs of quoted lines in a mail are left out.
    """
    quote = _QUOTE_SIGNS.sub(" ", candidate.passage.describe(candidate.span))
    text = show_as_notes(_collapse_white_space(quote))
    if query is not None and (headings := _list_needed_headings(candidate, text, query, kind)):
        text = f"{_collapse_white_space(', '.join(headings))}: {text}"
    source = candidate.passage.uri
    return remove_uncited_links(text, is_cited=lambda url: url == source, is_quoted=lambda _: True)


def _list_needed_headings(
    candidate: Candidate, text: str, query: Query, kind: QuestionKind
) -> list[str]:
    """Return the headings that say what a short sentence, or one without a subject, is about.

    They are those with words of the question that the sentence lacks, or else the last one.
    """
    passage = candidate.passage
    if passage.table_at(candidate.span.start) is not None:
        return []
    stands_alone = len(words(text)) > _MAX_SHORT_WORDS and not _WITHOUT_SUBJECT.match(text)
    if stands_alone and kind not in _KINDS_WITH_OWN_CHECK:
        return []
    headings = passage.headings_at(candidate.span.start)
    if text in headings:
        return []
    headings = tuple(h for h in headings if h != passage.title)
    missing_stems = set(question_stems(str(query))) - set(stems(text))
    level_count = 2 if kind in _KINDS_WITH_OWN_CHECK else 1
    needed = [h for h in headings if missing_stems & set(stems(h))] or list(headings[-level_count:])
    return needed or ([passage.title] if passage.title and stands_alone else [])


def _collapse_white_space(text: str) -> str:
    return " ".join(text.split())
