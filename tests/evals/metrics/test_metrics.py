"""Every metric on cases computed by hand, and the contract of all metrics."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from evals.judges import Judgement, SupportJudge
from evals.metrics import Case, Metric, all_metrics, choose_metrics
from evals.samples import Passage, Sample, passages
from evals.scores import Score
from rag.errors import ConfigError


class LetterJudge(SupportJudge):
    """The support is the share of the claim's capital letters in the passages; "!" fails."""

    name, threshold, partial = "letters", 1.0, 0.5
    fingerprint = "letters"
    description = "letters"

    def judge(
        self, claims: Sequence[str], passages: Sequence[str], *, per_passage: bool = False
    ) -> list[Judgement]:
        def compute_support(claim: str, text: str) -> float | None:
            if "!" in claim:
                return None
            letters = {character for character in claim if character.isupper()}
            return len(letters & set(text)) / len(letters) if letters else 0.0

        return [
            Judgement(
                compute_support(claim, "".join(passages)),
                tuple(compute_support(claim, passage) for passage in passages),
                note="no",
            )
            for claim in claims
        ]


def score_answer(name: str, answer: str, contexts: Sequence[str] = (), **fields: object) -> Score:
    sample = Sample(id="1", question="Why?", answer=answer, contexts=passages(contexts), **fields)  # type: ignore[arg-type]
    return all_metrics()[name].score(Case(sample, LetterJudge()))


def compute_value(
    name: str, answer: str, contexts: Sequence[str] = (), **fields: object
) -> float | None:
    return score_answer(name, answer, contexts, **fields).value


def test_faithfulness_is_the_share_of_supported_claims() -> None:
    assert compute_value("faithfulness", "A bee. C dee.", ["A"]) == 0.5
    assert compute_value("faithfulness", "A and B.", ["A", "B"]) == 1.0  # both passages together
    assert compute_value("faithfulness", "A and B.", ["A"]) == 0.0  # partial support does not count
    assert (
        compute_value("faithfulness", "A bee. A bee. C dee.", ["A"]) == 0.5
    )  # a repeated claim counts once
    score = score_answer("faithfulness", "A bee. C dee.", ["xx A yy"])
    assert [unit.verdict for unit in score.units] == ["supported", "unsupported"]
    assert (score.numerator, score.denominator) == (1, 2)
    assert ["A bee. C dee."[unit.start : unit.end] for unit in score.units] == ["A bee.", "C dee."]


def test_answer_without_claims_is_not_applicable() -> None:
    for answer in ("I don't know.", "", "Here is the list:", "I hope this helps!"):
        score = score_answer("faithfulness", answer, ["A"])
        assert (score.status, score.value) == ("not_applicable", None), answer


def test_claim_that_cannot_be_judged_fails_the_score() -> None:
    score = score_answer("faithfulness", "A bee. C!", ["A"])
    assert (score.status, score.value) == ("failed", None)
    assert "1 of 2" in score.reason and score.units[1].verdict == "failed"
    for name in ("hallucination", "answer_correctness", "citation_recall_alce", "context_recall"):
        score = score_answer(name, "C!x [1].", ["A"], references=("Oh B!",))
        assert score.status in ("failed", "not_applicable") and score.value is None, name


def test_reference_that_cannot_be_judged_fails_noise_sensitivity() -> None:
    for name in ("noise_sensitivity_relevant", "noise_sensitivity_irrelevant"):
        score = score_answer(name, "A bee.", ["A"], references=("Oh! B!",))
        assert score.status == "failed", name


def test_citation_recall_and_precision_count_citations() -> None:
    contexts = ["A", "B", "C", "AB"]
    assert compute_value("citation_recall", "A x [1]. B y.", contexts) == 0.5
    assert compute_value("citation_precision", "A x [1]. B y.", contexts) == 1.0
    assert compute_value("citation_recall", "A and B [1][2].", contexts) == 1.0
    assert (
        compute_value("citation_precision", "A and B [1][2].", contexts) == 1.0
    )  # both are needed
    assert compute_value("citation_precision", "A x [1][3].", contexts) == 0.5
    assert (
        compute_value("citation_precision", "A x [1, 9].", contexts) == 0.5
    )  # a marker without a passage is wrong
    assert compute_value("citation_precision", "A x [9].", contexts) == 0.0
    assert compute_value("citation_recall", "A x [9].", contexts) == 0.0
    assert (
        compute_value("citation_precision", "A x [1][1].", contexts) == 1.0
    )  # a repeated citation counts once
    assert compute_value("citation_precision", "A x.", contexts) is None
    assert compute_value("citation_recall", "A x.", contexts) == 0.0
    assert compute_value("citation_f1", "A x.", contexts) == 0.0
    assert compute_value("citation_f1", "A x [1]. B y.", contexts) == pytest.approx(2 / 3)


def test_partial_support_counts_if_no_citation_supports_fully() -> None:
    contexts = ["A", "AB"]
    assert (
        compute_value("citation_precision", "A and B and C and D [2].", contexts) == 1.0
    )  # it supports half of the claim
    assert compute_value("citation_recall", "A and B and C and D [2].", contexts) == 0.0
    assert (
        compute_value("citation_precision", "A and B [1][2].", contexts) == 0.5
    )  # the second supports it fully


def test_headings_and_questions_need_no_citation() -> None:
    contexts = ["A"]
    assert (
        compute_value("citation_recall", "Here it is:\n\nA x [1].\n\nAnything else?", contexts)
        == 1.0
    )
    assert compute_value("citation_recall", "I don't know.", contexts) is None


def test_quote_accuracy_is_the_share_of_verified_quotes() -> None:
    quotes = (Passage(text="A", verified=True), Passage(text="B", verified=False))
    sample = Sample(id="1", question="?", answer="x", quotes=quotes)
    score = all_metrics()["quote_accuracy"].score(Case(sample, LetterJudge()))
    assert score.value == 0.5
    unverified = sample.model_copy(update={"quotes": (Passage(text="A"),)})
    assert all_metrics()["quote_accuracy"].score(Case(unverified, LetterJudge())).status == "failed"


REFERENCE = {"references": ("A is. B is.",)}


def test_ragchecker_metrics_of_one_answer() -> None:
    # A: correct, in a passage; B: correct, in no passage; C: wrong, in a relevant passage;
    # D: wrong, in an irrelevant passage; E: wrong, in no passage
    answer, contexts = "A aa. C cc. D dd. E ee. B bb.", ["AC", "D"]
    values = {
        name: compute_value(name, answer, contexts, **REFERENCE)
        for name in (
            "hallucination",
            "self_knowledge",
            "noise_sensitivity",
            "noise_sensitivity_relevant",
            "noise_sensitivity_irrelevant",
            "context_precision",
            "context_recall",
            "context_utilisation",
            "completeness",
            "answer_correctness",
        )
    }
    assert values == pytest.approx(
        {
            "hallucination": 1 / 5,
            "self_knowledge": 1 / 5,
            "noise_sensitivity": 2 / 5,
            "noise_sensitivity_relevant": 1 / 5,
            "noise_sensitivity_irrelevant": 1 / 5,
            "context_precision": 1 / 2,
            "context_recall": 1 / 2,
            "context_utilisation": 1.0,
            "completeness": 1.0,
            "answer_correctness": 2 * 0.4 * 1 / 1.4,
        }
    )
    shares = ("hallucination", "self_knowledge", "noise_sensitivity")
    correct_and_supported = 1 - sum(values[name] or 0 for name in shares)
    assert correct_and_supported == pytest.approx(1 / 5)


def test_refusal_of_an_answerable_question_scores_zero() -> None:
    for name in ("answer_correctness", "completeness", "token_f1", "exact_match", "holds_answer"):
        assert compute_value(name, "I don't know.", ["A"], **REFERENCE) == 0, name


def test_retrieval_metrics_by_gold_documents() -> None:
    sample = Sample(
        id="1",
        question="?",
        answer="A",
        contexts=(
            Passage(text="x", uri="file:///d/a.md"),
            Passage(text="y", uri="file:///d/corpus.jsonl!/b%20c"),
            Passage(text="z", uri="file:///d/other.md"),
        ),
        retrieved=("file:///d/other.md", "file:///d/a.md", "file:///d/corpus.jsonl!/b%20c"),
        gold=("a.md", "b c", "gone.md"),
    )
    case = Case(sample, LetterJudge())
    names = ("passage_precision", "passage_recall")
    values = {name: all_metrics()[name].score(case).value for name in names}
    assert values == pytest.approx({"passage_precision": 2 / 3, "passage_recall": 2 / 3})
    assert all_metrics()["mrr@10"].score(case).value == 0.5
    assert all_metrics()["recall@10"].score(case).value == pytest.approx(2 / 3)
    assert all_metrics()["precision@10"].score(case).value == pytest.approx(0.2)
    assert all_metrics()["map"].score(case).value == pytest.approx((1 / 2 + 2 / 3) / 3)


def test_refusal_metrics_over_several_answers() -> None:
    answers = [("A.", True), ("I don't know.", True), ("I don't know.", False), ("A.", False)]
    metrics = {n: all_metrics()[n] for n in ("refusal_precision", "refusal_recall", "refusal_f1")}
    summaries = {
        name: metric.summarise([score_answer(name, text, answerable=can) for text, can in answers])
        for name, metric in metrics.items()
    }
    values = {n: s.estimate.value for n, s in summaries.items() if s.estimate}
    assert values == pytest.approx(
        {"refusal_precision": 0.5, "refusal_recall": 0.5, "refusal_f1": 0.5}
    )
    assert summaries["refusal_recall"].scored == 2


def test_graded_metrics_need_a_judge_and_allow_no_gate() -> None:
    for name in ("fluency", "utility", "relevance"):
        score = score_answer(name, "A.")
        assert score.status == "not_applicable" and not all_metrics()[name].gate


def test_metrics_that_need_unknown_fields_are_not_applicable() -> None:
    unknown = Sample(id="1", question="?", answer="A bee.", contexts_known=False, gold=("a",))
    for name in ("faithfulness", "ndcg@10", "passage_recall"):
        assert all_metrics()[name].score(Case(unknown, LetterJudge())).status == "not_applicable", (
            name
        )
    assert (
        compute_value("faithfulness", "A bee.", []) == 0.0
    )  # nothing was retrieved, so no claim is supported


def test_claims_that_differ_in_a_sign_are_different() -> None:
    for answer in ("It is -40 at A now. It is 40 at A now.", "C++ has it. C has it."):
        assert score_answer("faithfulness", answer, ["A"]).denominator == 2, answer


def test_metric_with_a_bug_fails_without_an_exception() -> None:
    case = Case(Sample(id="1", question="?", answer="A."), LetterJudge())
    for function, reason in (
        (lambda case: 1 / 0, "unexpected ZeroDivisionError"),
        (lambda case: 3.7, "returned 3.7 instead of a Score"),
    ):
        score = Metric(name="m", group="text", function=function).score(case)  # type: ignore[arg-type]
        assert score.status == "failed" and reason in score.reason


def test_metric_that_returns_none_is_not_applicable() -> None:
    def score_long_answers(case: Case) -> Score | None:
        return Score.of(1.0) if len(case.sample.answer) > 3 else None

    metric = Metric(name="m", group="text", function=score_long_answers)
    samples = [Sample(id=str(i), question="?", answer="A." * i) for i in range(1, 4)]
    scores = [metric.score(Case(sample, LetterJudge())) for sample in samples]
    assert [score.status for score in scores] == ["not_applicable", "scored", "scored"]
    assert scores[0].value is None and "does not apply" in scores[0].reason
    summary = metric.summarise(scores)
    assert (summary.scored, summary.not_applicable, summary.failed) == (2, 1, 0)
    assert summary.estimate is not None and summary.estimate.value == 1.0
    assert summary.low_bound == summary.high_bound == 1.0


def test_every_metric_accepts_any_answer() -> None:
    for answer in ("", " ", "[1]", "\ud800 \x00", "?" * 5000, "```\ncode", "1. [9][9]\n\n| a |"):
        for name, metric in all_metrics().items():
            for contexts in ([], [""], ["A", "  "]):
                score = score_answer(name, answer, contexts, references=("", "A"), answerable=True)
                assert score.status in ("scored", "not_applicable", "failed"), (metric, answer)
                assert score.value is None or 0 <= score.value <= 1, (name, answer)


def test_every_metric_has_a_summary() -> None:
    for name, metric in all_metrics().items():
        assert len(metric.summary) > 20 and metric.description.startswith(metric.summary), name


def test_choose_metrics_by_name_or_group() -> None:
    assert [m.name for m in choose_metrics(["faithfulness,map", "faithfulness"])] == [
        "faithfulness",
        "map",
    ]
    assert {m.group for m in choose_metrics(["retrieval"])} == {"retrieval"}
    assert "faithfulness" in [m.name for m in choose_metrics()]
    assert len(choose_metrics(["all"])) == len(all_metrics())
    with pytest.raises(ConfigError, match="did you mean faithfulness"):
        choose_metrics(["faithfullness"])
