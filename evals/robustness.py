"""Robustness of answers to noise, missing evidence and false passages: the protocol of RGB.

Source: Chen et al., "Benchmarking Large Language Models in Retrieval-Augmented Generation" (2023).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evals.metrics.correctness import normalise_answer
from evals.questions import Question, is_gold
from evals.samples import Sample
from evals.scores import Score, Summary, summarise_scores
from rag import Pipeline
from rag.errors import ModelError, QueryError
from rag.generation import Generator
from rag.generation.markers import strip_markers
from rag.types import Chunk, Hit

NOISE = (0.0, 0.2, 0.4, 0.6, 0.8)
"""The shares of irrelevant passages that RGB uses."""
_CANDIDATES = 50  # retrieved chunks to choose passages and noise from


@dataclass(frozen=True, slots=True)
class RobustnessItem:
    """A question, passages that answer it, passages that do not, and a wrong answer."""

    question: Question
    positive: tuple[Chunk, ...]
    negative: tuple[Chunk, ...]
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class RobustnessResult:
    """The measurements of RGB.

    ``noise`` is the accuracy (the answer contains a reference) by the share of noise.
    ``rejection`` is the share of questions that are refused if every passage is irrelevant. The
    other two use false passages, where a wrong answer replaces the right one: ``repeated`` is the
    share of answers that repeat it (lower is better), ``right`` the share that are still right.
    """

    noise: tuple[tuple[float, Summary], ...]
    rejection: Summary
    repeated: Summary
    right: Summary

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {
            "noise": [{"share": share, **summary.as_json()} for share, summary in self.noise],
            "rejection": self.rejection.as_json(),
            "counterfactual_repeated": self.repeated.as_json(),
            "counterfactual_right": self.right.as_json(),
        }


def collect_robustness_items(
    pipeline: Pipeline, questions: Sequence[Question]
) -> list[RobustnessItem]:
    """Retrieve passages of gold documents that contain an answer, and passages that do not.

    A question is left out if it has no reference, or if no retrieved passage of a gold document
    contains its answer. The wrong answer is taken from another question of the same kind (with or
    without a digit). Raises `QueryError` if no question is left.
    """
    items: list[RobustnessItem] = []
    answerable_questions = [
        q for q in questions if q.answers and q.gold and q.answerable is not False
    ]
    for position, question in enumerate(answerable_questions):
        hits = pipeline.search(question.question, k=_CANDIDATES)
        gold = [h.chunk for h in hits if any(is_gold(h.chunk.uri, name) for name in question.gold)]
        positive = tuple(chunk for chunk in gold if _contains_answer(chunk.text, question.answers))
        gold_uris = {chunk.uri for chunk in gold}
        negative = tuple(
            hit.chunk
            for hit in hits
            if hit.chunk.uri not in gold_uris
            and not _contains_answer(hit.chunk.text, question.answers)
        )
        if positive:
            wrong = next(_other_answers(answerable_questions, position), "")
            items.append(RobustnessItem(question, positive, negative, wrong))
    if not items:
        raise QueryError(
            "no question has a reference that stands in a passage of its gold documents"
        )
    return items


def robustness(
    generator: Generator,
    items: Sequence[RobustnessItem],
    *,
    passages: int = 5,
    noise: Sequence[float] = NOISE,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> RobustnessResult:
    """Ask each question with increasing noise, with noise only, and with false passages.

    Each question has up to `passages` passages, in an order drawn by `seed`. A failed call is a
    failure and not a wrong answer. A question without suitable passages is not applicable. Raises
    `QueryError` if there are no items.
    """
    if not items:
        raise QueryError("there is no question whose passages are known")
    if passages < 1 or any(not 0 <= share < 1 for share in noise):
        raise QueryError("noise is a share of at least one passage, from 0 to below 1")
    # leave out shares that this number of passages cannot have
    noise = list({round(share * passages): share for share in reversed(noise)}.values())[::-1]
    noise = [share for share in noise if round(share * passages) < passages]
    ask_with_passages = _PassageAsker(generator, seed, len(items) * (len(noise) + 2), progress)
    curve = tuple(
        (
            share,
            summarise_scores(
                f"accuracy at {share:.0%} noise",
                [
                    _score_sample(
                        ask_with_passages(i, _mix_passages(i, share, passages)), _is_correct(i)
                    )
                    for i in items
                ],
            ),
        )
        for share in noise
    )
    rejected = [
        _score_sample(ask_with_passages(i, i.negative[:passages]), lambda s: s.is_refusal)
        for i in items
    ]
    misled_samples = [(i, ask_with_passages(i, _make_false_passages(i)[:passages])) for i in items]
    return RobustnessResult(
        noise=curve,
        rejection=summarise_scores("negative rejection", rejected),
        repeated=summarise_scores(
            "lies repeated",
            [_score_sample(s, _make_answer_check((i.wrong,))) for i, s in misled_samples],
        ),
        right=summarise_scores(
            "right in spite of a lie", [_score_sample(s, _is_correct(i)) for i, s in misled_samples]
        ),
    )


class _PassageAsker:
    """Asks a generator with given passages, and counts the questions for the progress."""

    def __init__(
        self,
        generator: Generator,
        seed: int,
        total: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._generator, self._seed, self._total = generator, seed, total
        self._progress = progress
        self._question_count = 0

    def __call__(self, item: RobustnessItem, passages: Sequence[Chunk]) -> Sample | Score:
        """Return the answer as a sample, or a score that says why there is none."""
        self._question_count += 1
        if self._progress:
            self._progress(self._question_count, self._total)
        if not passages:
            return Score.not_applicable("the question has no such passages")
        chunks = list(passages)
        random.Random(f"{self._seed}:{item.question.id}").shuffle(chunks)
        hits = [Hit(chunk=chunk, score=1.0 / rank) for rank, chunk in enumerate(chunks, start=1)]
        try:
            answer = self._generator.answer(item.question.question, hits)
        except ModelError as error:
            return Score.failure(" ".join(str(error).split())[:200])
        return Sample.of(item.question.id, item.question.question, answer)


def _score_sample(sample: Sample | Score, check: Callable[[Sample], bool]) -> Score:
    return sample if isinstance(sample, Score) else Score.of(float(check(sample)))


def _is_correct(item: RobustnessItem) -> Callable[[Sample], bool]:
    return _make_answer_check(item.question.answers)


def _make_answer_check(wanted: Sequence[str]) -> Callable[[Sample], bool]:
    return lambda sample: (
        not sample.is_refusal and _contains_answer(strip_markers(sample.answer), wanted)
    )


def _contains_answer(text: str, answers: Sequence[str]) -> bool:
    normalized_text = f" {normalise_answer(text)} "
    return any(
        (normalized_answer := normalise_answer(answer))
        and f" {normalized_answer} " in normalized_text
        for answer in answers
    )


def _mix_passages(item: RobustnessItem, share: float, passages: int) -> list[Chunk]:
    """Return passages with a `share` of noise; an empty list if there is too little noise."""
    noise = round(share * passages)
    if len(item.negative) < noise:
        return []
    return [*item.positive[: max(1, passages - noise)], *item.negative[:noise]]


def _make_false_passages(item: RobustnessItem) -> list[Chunk]:
    """Return the passages that answer, with the right answer replaced by the wrong one."""
    if not item.wrong:
        return []
    answer_pattern = "|".join(
        re.escape(answer) for answer in sorted(item.question.answers, key=len)[::-1]
    )
    pattern = re.compile(rf"(?<!\w)(?:{answer_pattern})(?!\w)", re.IGNORECASE)
    passages = []
    for chunk in item.positive:
        text = pattern.sub(lambda _: item.wrong, chunk.text)
        if text != chunk.text:
            update = {"text": text, "end": chunk.start + len(text)}
            passages.append(chunk.model_copy(update=update))
    return passages


def _other_answers(questions: Sequence[Question], place: int) -> Iterator[str]:
    """Yield answers of the same kind from other questions, starting with the next question."""
    own_answers = questions[place].answers
    for other_question in [*questions[place + 1 :], *questions[:place]]:
        answer = other_question.answers[0]
        alike = bool(re.search(r"\d", answer)) == bool(re.search(r"\d", own_answers[0]))
        if (
            alike
            and not _contains_answer(answer, own_answers)
            and not any(_contains_answer(r, (answer,)) for r in own_answers)
        ):
            yield answer
