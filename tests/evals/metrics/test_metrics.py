"""Each metric by cases worked out by hand, and what none of them may do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from evals.judges import Judgement, SupportJudge
from evals.metrics import Case, all_metrics, chosen
from evals.samples import Passage, Sample, passages
from evals.scores import Score
from rag.errors import ConfigError


class Letters(SupportJudge):
    """A claim is supported that has no letter which the passages do not have; in part, by half."""

    name, threshold, partial = "letters", 1.0, 0.5
    fingerprint = "letters"
    description = "letters"

    def judge(
        self, claims: Sequence[str], passages: Sequence[str], *, apart: bool = False
    ) -> list[Judgement]:
        def share(claim: str, text: str) -> float | None:
            if "!" in claim:
                return None
            wanted = {c for c in claim if c.isupper()}
            return len(wanted & set(text)) / len(wanted) if wanted else 0.0

        return [
            Judgement(share(c, "".join(passages)), tuple(share(c, p) for p in passages), note="no")
            for c in claims
        ]


def score(name: str, answer: str, contexts: Sequence[str] = (), **more: object) -> Score:
    sample = Sample(id="1", question="Why?", answer=answer, contexts=passages(contexts), **more)  # type: ignore[arg-type]
    return all_metrics()[name].score(Case(sample, Letters()))


def value(name: str, answer: str, contexts: Sequence[str] = (), **more: object) -> float | None:
    return score(name, answer, contexts, **more).value


def test_faithfulness_counts_claims() -> None:
    assert value("faithfulness", "A bee. C dee.", ["A"]) == 0.5
    assert value("faithfulness", "A and B.", ["A", "B"]) == 1.0  # together
    assert value("faithfulness", "A and B.", ["A"]) == 0.0  # in part is not
    assert value("faithfulness", "A bee. A bee. C dee.", ["A"]) == 0.5  # the same once
    found = score("faithfulness", "A bee. C dee.", ["xx A yy"])
    assert [u.verdict for u in found.units] == ["supported", "unsupported"]
    assert (found.numerator, found.denominator) == (1, 2)
    assert [("A bee. C dee.")[u.start : u.end] for u in found.units] == ["A bee.", "C dee."]


def test_no_claims_is_not_1_nor_0() -> None:
    for answer in ("I don't know.", "", "Here is the list:", "I hope this helps!"):
        found = score("faithfulness", answer, ["A"])
        assert (found.status, found.value) == ("not_applicable", None), answer


def test_a_claim_that_could_not_be_judged_fails_the_answer() -> None:
    found = score("faithfulness", "A bee. C!", ["A"])
    assert (found.status, found.value) == ("failed", None)
    assert "1 of 2" in found.reason and [u.verdict for u in found.units][1] == "failed"
    for name in ("hallucination", "answer_correctness", "citation_recall_alce", "context_recall"):
        failing = score(name, "C!x [1].", ["A"], references=("Oh B!",))
        assert failing.status in ("failed", "not_applicable") and failing.value is None, name


def test_a_reference_that_could_not_be_judged_says_nothing_of_the_passages() -> None:
    for name in ("noise_sensitivity_relevant", "noise_sensitivity_irrelevant"):
        failing = score(name, "A bee.", ["A"], references=("Oh! B!",))
        assert failing.status == "failed", name


def test_citation_recall_and_precision() -> None:
    contexts = ["A", "B", "C", "AB"]
    assert value("citation_recall", "A x [1]. B y.", contexts) == 0.5
    assert value("citation_precision", "A x [1]. B y.", contexts) == 1.0
    assert value("citation_recall", "A and B [1][2].", contexts) == 1.0
    assert value("citation_precision", "A and B [1][2].", contexts) == 1.0  # each is needed
    assert value("citation_precision", "A x [1][3].", contexts) == 0.5
    assert value("citation_precision", "A x [1, 9].", contexts) == 0.5  # invalid is wrong
    assert value("citation_precision", "A x [9].", contexts) == 0.0
    assert value("citation_recall", "A x [9].", contexts) == 0.0
    assert value("citation_precision", "A x [1][1].", contexts) == 1.0  # twice is once
    assert value("citation_precision", "A x.", contexts) is None
    assert value("citation_recall", "A x.", contexts) == 0.0
    assert value("citation_f1", "A x.", contexts) == 0.0
    assert value("citation_f1", "A x [1]. B y.", contexts) == pytest.approx(2 / 3)


def test_support_in_part_counts_where_nothing_supports_fully() -> None:
    contexts = ["A", "AB"]
    assert value("citation_precision", "A and B and C and D [2].", contexts) == 1.0  # half of it
    assert value("citation_recall", "A and B and C and D [2].", contexts) == 0.0
    assert value("citation_precision", "A and B [1][2].", contexts) == 0.5  # the second does fully


def test_a_heading_and_a_question_need_no_citation() -> None:
    contexts = ["A"]
    assert value("citation_recall", "Here it is:\n\nA x [1].\n\nAnything else?", contexts) == 1.0
    assert value("citation_recall", "I don't know.", contexts) is None


def test_quotes_are_what_is_cited_where_there_are_some() -> None:
    quotes = (Passage(text="A", verified=True), Passage(text="B", verified=False))
    sample = Sample(id="1", question="?", answer="x", quotes=quotes)
    found = all_metrics()["quote_accuracy"].score(Case(sample, Letters()))
    assert found.value == 0.5
    unread = sample.model_copy(update={"quotes": (Passage(text="A"),)})
    assert all_metrics()["quote_accuracy"].score(Case(unread, Letters())).status == "failed"


REFERENCE = {"references": ("A is. B is.",)}


def test_ragchecker() -> None:
    # A: right and held; C: wrong, in a relevant passage; D: wrong and irrelevant; E: nowhere;
    # B: right, and in no passage
    answer, contexts = "A aa. C cc. D dd. E ee. B bb.", ["AC", "D"]
    found = {
        name: value(name, answer, contexts, **REFERENCE)
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
    assert found == pytest.approx(
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
    held_and_right = 1 - sum(found[name] or 0 for name in shares)
    assert held_and_right == pytest.approx(1 / 5)


def test_refusing_what_can_be_answered_is_wrong() -> None:
    for name in ("answer_correctness", "completeness", "token_f1", "exact_match", "holds_answer"):
        assert value(name, "I don't know.", ["A"], **REFERENCE) == 0, name


def test_gold_documents() -> None:
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
    case = Case(sample, Letters())
    got = {n: all_metrics()[n].score(case).value for n in ("passage_precision", "passage_recall")}
    assert got == pytest.approx({"passage_precision": 2 / 3, "passage_recall": 2 / 3})
    assert all_metrics()["mrr@10"].score(case).value == 0.5
    assert all_metrics()["recall@10"].score(case).value == pytest.approx(2 / 3)
    assert all_metrics()["precision@10"].score(case).value == pytest.approx(0.2)
    assert all_metrics()["map"].score(case).value == pytest.approx((1 / 2 + 2 / 3) / 3)


def test_refusals_have_metrics_of_their_own() -> None:
    answers = [("A.", True), ("I don't know.", True), ("I don't know.", False), ("A.", False)]
    metrics = {n: all_metrics()[n] for n in ("refusal_precision", "refusal_recall", "refusal_f1")}
    summaries = {
        name: metric.summarise([score(name, text, answerable=can) for text, can in answers])
        for name, metric in metrics.items()
    }
    values = {n: s.estimate.value for n, s in summaries.items() if s.estimate}
    assert values == pytest.approx(
        {"refusal_precision": 0.5, "refusal_recall": 0.5, "refusal_f1": 0.5}
    )
    assert summaries["refusal_recall"].scored == 2


def test_what_only_a_judge_can_say_is_not_made_up() -> None:
    for name in ("fluency", "utility", "relevance"):
        found = score(name, "A.")
        assert found.status == "not_applicable" and not all_metrics()[name].gate


def test_what_is_not_known_is_not_applicable() -> None:
    unknown = Sample(id="1", question="?", answer="A bee.", contexts_known=False, gold=("a",))
    for name in ("faithfulness", "ndcg@10", "passage_recall"):
        assert all_metrics()[name].score(Case(unknown, Letters())).status == "not_applicable", name
    assert value("faithfulness", "A bee.", []) == 0.0  # nothing was retrieved, and it claims


def test_claims_that_differ_in_a_sign_are_two() -> None:
    for answer in ("It is -40 at A now. It is 40 at A now.", "C++ has it. C has it."):
        assert score("faithfulness", answer, ["A"]).denominator == 2, answer


def test_a_metric_that_is_wrong_fails_and_does_not_end_the_run() -> None:
    from evals.metrics.base import Metric

    case = Case(Sample(id="1", question="?", answer="A."), Letters())
    for wrong in (lambda case: 1 / 0, lambda case: 3.7):
        found = Metric(name="m", group="text", function=wrong).score(case)  # type: ignore[arg-type]
        assert found.status == "failed" and found.reason


def test_every_metric_takes_anything() -> None:
    for answer in ("", " ", "[1]", "\ud800 \x00", "?" * 5000, "```\ncode", "1. [9][9]\n\n| a |"):
        for name, metric in all_metrics().items():
            for contexts in ([], [""], ["A", "  "]):
                found = score(name, answer, contexts, references=("", "A"), answerable=True)
                assert found.status in ("scored", "not_applicable", "failed"), (metric, answer)
                assert found.value is None or 0 <= found.value <= 1, (name, answer)


def test_every_metric_says_what_it_is() -> None:
    for name, metric in all_metrics().items():
        assert len(metric.summary) > 20 and metric.description.startswith(metric.summary), name


def test_metrics_are_chosen_by_name_or_group() -> None:
    assert [m.name for m in chosen(["faithfulness,map", "faithfulness"])] == ["faithfulness", "map"]
    assert {m.group for m in chosen(["retrieval"])} == {"retrieval"}
    assert "faithfulness" in [m.name for m in chosen()]
    assert len(chosen(["all"])) == len(all_metrics())
    with pytest.raises(ConfigError, match="did you mean faithfulness"):
        chosen(["faithfullness"])
