"""Contradictions: other numbers, negations, quantifiers, directions; and what a claim leaves out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import LexicalVerifier
from rag.generation.citations import cite
from rag.verification.contradictions import find_contradiction
from tests.generation.samples import PASSAGES

PAIRS = [
    # kind, sentence, false claim, true claim
    ("quantifier", "Some of the valves leak.", "All of the valves leak.", "Some valves leak."),
    ("quantifier", "Most guests arrive by train.", "Every guest arrives by train.",
     "Most of the guests arrive by train."),
    ("negation", "None of the rooms is heated.", "All rooms are heated.",
     "None of the rooms is heated."),
    ("negation", "The glue is not resistant to oil.", "The glue is resistant to oil.",
     "The glue is not resistant to oil."),
    ("negation", "The pool never reopened.", "The pool reopened.", "The pool never reopened."),
    ("negation", "The roof is watertight.", "It is false that the roof is watertight.",
     "The roof is watertight."),
    ("negation", "The roof is watertight.", "The roof is anything but watertight.",
     "The roof is watertight."),
    ("negation", "The lift isn't working.", "The lift is working.", "The lift isn't working."),
    ("direction", "Rents rose in May.", "Rents fell in May.", "Rents rose in May."),
    ("direction", "The oak is older than the elm.", "The elm is older than the oak.",
     "The elm is younger than the oak."),
    ("direction", "Pay within a week after delivery.", "Pay within a week before delivery.",
     "Pay within a week after delivery."),
    ("direction", "The board approved the plan.", "The board rejected the plan.",
     "The board approved the plan."),
    ("number", "The belt is changed every 300 hours.", "The belt is changed every 200 hours.",
     "The belt is changed every 300 hours."),
    ("number", "The turbine gives 5 MW.", "The turbine gives 5 mW.", "The turbine gives 5 MW."),
    ("number", "The dose is 20 mg.", "The dose is 20 g.", "The dose is 20 mg."),
    ("number", "The entry costs 8 €.", "The entry costs 8 $.", "The entry costs 8 euros."),
    ("number", "The store is kept at −18 °C.", "The store is kept at 18 °C.",
     "The store is kept at -18 °C."),
    ("number", "The gate opens at 6 a.m.", "The gate opens at 6 p.m.", "The gate opens at 6 am."),
    ("number", "Sales were 6.8 million euros.", "Sales were 6.8 billion euros.",
     "Sales were 6.8 million euros."),
    ("order", "The baker taught the miller.", "The miller taught the baker.",
     "The miller was taught by the baker."),
    ("modality", "The bridge may be closed in June.", "The bridge will be closed in June.",
     "The bridge might be closed in June."),
    ("modality", "Guests can bring a dog.", "Guests must bring a dog.", "Guests may bring a dog."),
    ("condition", "The alarm rings if the door is open.", "The alarm rings.",
     "If the door is open, the alarm rings."),
    ("speaker", "Critics say the dam harms the fish.", "The dam harms the fish.",
     "Critics say that the dam harms the fish."),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "sentence", "false", "true"), PAIRS)
def test_a_contradiction_has_a_kind(kind: str, sentence: str, false: str, true: str) -> None:
    assert find_contradiction(false, sentence, [sentence]) == kind
    assert find_contradiction(true, sentence, [sentence]) is None


@pytest.mark.parametrize(("kind", "sentence", "false", "true"), PAIRS)
def test_the_verifier_supports_the_true_claim_only(
    kind: str, sentence: str, false: str, true: str
) -> None:
    verifier = LexicalVerifier()
    passage = f"{sentence} Nothing else is known about the matter."
    scores = verifier.scores([(false, passage), (true, passage)])
    assert scores[0] < verifier.threshold <= scores[1]
    assert verifier.contradicts(false, passage) == (
        kind not in {"modality", "condition", "speaker"}
    )
    assert not verifier.contradicts(true, passage)


def test_a_number_of_another_sentence_is_no_contradiction() -> None:
    sentences = ["The warranty lasts 24 months.", "Batteries are covered for 6 months."]
    claim = "The warranty lasts 24 months, and batteries are covered for 6 months."
    assert find_contradiction(claim, sentences[0], sentences) is None
    assert find_contradiction("The warranty lasts 6 months.", sentences[0], sentences) == "number"


def test_a_sentence_that_a_passage_denies_is_contradicted() -> None:
    draft = "The battery does not last 34 minutes [1]. The drone was built in Sweden."
    result = cite(draft, PASSAGES, LexicalVerifier())
    assert [sentence.status for sentence in result.sentences] == ["contradicted", "unsupported"]
    assert result.sentences[0].is_rejected
    assert result.citations == ()
    dropped = cite(draft, PASSAGES, LexicalVerifier(), drop=True)
    assert dropped.text == ""
    assert len(dropped.dropped) == 2


@given(st.text(max_size=120), st.text(max_size=120))
def test_any_texts_can_be_compared(claim: str, sentence: str) -> None:
    find_contradiction(claim, sentence, [sentence])
    assert find_contradiction(sentence, sentence, [sentence]) is None


CASES = Path(os.environ.get("CITEWELL_CASES", Path(__file__).parents[3] / "shared" / "cases"))


@pytest.mark.skipif(not (CASES / "verify_pairs.jsonl").exists(), reason="no shared cases here")
def test_pairs_of_other_claims() -> None:
    lines = (CASES / "verify_pairs.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [json.loads(line) for line in lines]
    verifier = LexicalVerifier()
    scores = verifier.scores([(pair["claim"], pair["passage"]) for pair in pairs])
    supported = [
        (pair, score >= verifier.threshold) for pair, score in zip(pairs, scores, strict=True)
    ]
    false = [is_supported for pair, is_supported in supported if not pair["label"]]
    near = [is_supported for pair, is_supported in supported if pair["style"] == "near"]
    assert sum(false) <= 0.3 * len(false)
    assert near.count(False) <= 0.08 * len(near)
