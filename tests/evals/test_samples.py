"""Samples: sentences of an answer, their citations, and refusals."""

from __future__ import annotations

import pytest

from evals.samples import Sample, passages
from rag import Pipeline

CONTEXTS = passages(["one", "two", "three", "four", "five"])


def make_sample(answer: str, **fields: object) -> Sample:
    return Sample(id="1", question="Why?", answer=answer, contexts=CONTEXTS, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "cited", "invalid"),
    [
        ("It flies [1].", (0,), 0),
        ("It flies [1, 2].", (0, 1), 0),
        ("It flies [1,2].", (0, 1), 0),
        ("It flies [3-5].", (2, 3, 4), 0),
        ("It flies [3\u20135].", (2, 3, 4), 0),
        ("It flies [1][1].", (0,), 0),
        ("It flies [2][1].", (1, 0), 0),
        ("It flies. [1]", (0,), 0),
        ("It flies.[2]", (1,), 0),
        ("It flies [9].", (), 1),
        ("It flies [0].", (), 1),
        ("It flies [1][7][7].", (0,), 1),
        ("It flies [4-8].", (3, 4), 3),
        ("It flies 【2†source】.", (1,), 0),
        ("It flies [^3].", (2,), 0),
        ("It flies.", (), 0),
    ],
)
def test_markers_are_parsed_into_citations(
    answer: str, cited: tuple[int, ...], invalid: int
) -> None:
    (statement,) = make_sample(answer).statements
    assert (statement.cited, statement.invalid) == (cited, invalid)
    assert statement.claim.rstrip(".") == "It flies"


def test_marker_after_the_full_stop_belongs_to_the_preceding_sentence() -> None:
    first, second = make_sample("It flies. [1] It lands [2].").statements
    assert (first.cited, second.cited) == ((0,), (1,))


@pytest.mark.parametrize(
    "courtesy",
    [
        "I hope this helps!",
        "Let me know if you have any other questions.",
        "Thank you for asking.",
        "Here is a summary of the answer:",
        "## Battery",
        "Is there anything else?",
        "This answer is based on the provided passages.",
        "In summary,",
        "Great question!",
    ],
)
def test_courtesies_and_headings_need_no_citation(courtesy: str) -> None:
    (statement,) = make_sample(courtesy).statements
    assert not statement.needs_citation


@pytest.mark.parametrize(
    "claim",
    [
        "Thanks to Fleming, penicillin was discovered in 1928.",
        "If you need more than 3 users, you must buy the Pro plan at $20 a month.",
        "Please let us know within 14 days of delivery or you lose the right to a refund.",
        "# The tower is 900 m high and stands in Paris.",
        "The tower is 900 m high, they say?",
    ],
)
def test_claims_that_resemble_courtesies_need_a_citation(claim: str) -> None:
    (statement,) = make_sample(claim).statements
    assert statement.needs_citation


@pytest.mark.parametrize(
    ("answer", "is_refusal"),
    [
        ("", True),
        ("I don't know.", True),
        ("The passages do not say.", True),
        ("Sorry, I cannot answer that. Let me know if there is anything else.", True),
        ("There is no information about that in the passages.", True),
        ("There is not enough information in the passages to answer the question.", True),
        ("I'm sorry, but I cannot find this in the sources.", True),
        ("Based on the provided passages, I cannot answer that.", True),
        ("Unfortunately, the provided documents do not contain this information.", True),
        ("This information is not available in the provided documents.", True),
        ("It is not mentioned in the passages.", True),
        ("None of the passages mention the price.", True),
        ("The question cannot be answered from the given context.", True),
        ("Insufficient information.", True),
        ("Unknown.", True),
        ("We cannot provide refunds after 30 days.", False),
        ("No information is lost during the transfer.", False),
        ("No answer is required within 30 days.", False),
        ("We can't help customers outside the EU.", False),
        ("The document does not include the $50 fee in its total of $300.", False),
        ("The passages do not say why; it began in 1960.", False),
        ("The passages do not mention the year, which was 1960.", False),
        ("I could not find an answer to that in the sources. But the tower is 900 m high.", False),
        ("The passages do not say why, but it began in 1960 [1].", False),
        ("I don't know who built it. It was built in 1960 [1].", False),
        ("It flies.", False),
    ],
)
def test_refusals_are_recognised(answer: str, is_refusal: bool) -> None:
    assert make_sample(answer).is_refusal is is_refusal
    assert make_sample(answer, abstained=True).is_refusal


def test_sample_of_a_pipeline_answer_keeps_its_exact_quotes(
    pipeline: Pipeline, folder: object
) -> None:
    pipeline.ingest(folder)  # type: ignore[arg-type]
    answer = pipeline.ask("How long does the battery last?")
    sample = Sample.of("1", "How long does the battery last?", answer)
    assert not sample.is_refusal and sample.quotes
    assert all(quote.verified for quote in sample.quotes)
    for statement in sample.statements:
        assert sample.answer[statement.start : statement.end]
        assert all(sample.citable_passages[i].text in answer.text for i in statement.cited)
    assert Sample.model_validate_json(sample.model_dump_json()) == sample
    refusal = pipeline.ask("What is the capital of Mongolia?")
    assert Sample.of("2", "x", refusal).is_refusal


def test_yes_after_a_question_claims_the_question() -> None:
    statements = make_sample("Does it fly at night? Yes, it does. It is red.").statements
    assert [s.claim for s in statements if s.needs_citation] == [
        "Does it fly at night? Yes, it does.",
        "It is red.",
    ]
    assert [(s.start, s.end) for s in statements][1] == (22, 35)


@pytest.mark.parametrize(
    ("answer", "claim", "cited"),
    [
        ("The score lies in [0, 10] [1].", "The score lies in [0, 10].", (0,)),
        ("Use sys.argv[2] for that [1].", "Use sys.argv[2] for that.", (0,)),
        ("In [1984] Orwell wrote it [1].", "In [1984] Orwell wrote it.", (0,)),
        ("Call `x[1]` first [2].", "Call `x[1]` first.", (1,)),
    ],
)
def test_brackets_that_are_not_markers_stay_in_the_claim(
    answer: str, claim: str, cited: tuple[int, ...]
) -> None:
    (statement,) = make_sample(answer).statements
    assert (statement.claim, statement.cited, statement.invalid) == (claim, cited, 0)


def test_answer_that_is_only_yes_claims_the_question() -> None:
    sample = Sample(id="1", question="Is the tower 300 m high?", answer="Yes.", contexts=CONTEXTS)
    assert [s.claim for s in sample.statements] == ["Is the tower 300 m high? Yes."]


def test_code_blocks_are_not_claims() -> None:
    statements = make_sample(
        "Run this:\n\n```sh\nrm -rf build\n```\n\nIt cleans up [1]."
    ).statements
    assert [s.claim for s in statements if s.needs_citation] == ["It cleans up."]
