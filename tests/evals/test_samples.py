"""Sentences, what they cite, and whether an answer is one."""

from __future__ import annotations

import pytest

from evals.samples import Sample, passages
from rag import Pipeline

CONTEXTS = passages(["one", "two", "three", "four", "five"])


def sample(answer: str, **more: object) -> Sample:
    return Sample(id="1", question="Why?", answer=answer, contexts=CONTEXTS, **more)  # type: ignore[arg-type]


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
def test_what_a_sentence_cites(answer: str, cited: tuple[int, ...], invalid: int) -> None:
    (statement,) = sample(answer).statements
    assert (statement.cited, statement.invalid) == (cited, invalid)
    assert statement.claim.rstrip(".") == "It flies"


def test_a_marker_behind_the_stop_belongs_to_the_sentence_before() -> None:
    one, two = sample("It flies. [1] It lands [2].").statements
    assert (one.cited, two.cited) == ((0,), (1,))


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
def test_courtesies_claim_nothing(courtesy: str) -> None:
    (statement,) = sample(courtesy).statements
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
def test_what_only_looks_like_one_is_a_claim(claim: str) -> None:
    (statement,) = sample(claim).statements
    assert statement.needs_citation


@pytest.mark.parametrize(
    ("answer", "refused"),
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
def test_refusals(answer: str, refused: bool) -> None:
    assert sample(answer).refused is refused
    assert sample(answer, abstained=True).refused


def test_the_sample_of_an_answer_keeps_its_exact_quotes(pipeline: Pipeline, folder: object) -> None:
    pipeline.ingest(folder)  # type: ignore[arg-type]
    answer = pipeline.ask("How long does the battery last?")
    found = Sample.of("1", "How long does the battery last?", answer)
    assert not found.refused and found.quotes and all(quote.verified for quote in found.quotes)
    for statement in found.statements:
        assert found.answer[statement.start : statement.end]
        assert all(found.citable[i].text in answer.text for i in statement.cited)
    assert Sample.model_validate_json(found.model_dump_json()) == found
    refused = pipeline.ask("What is the capital of Mongolia?")
    assert Sample.of("2", "x", refused).refused


def test_a_yes_claims_what_was_asked() -> None:
    found = sample("Does it fly at night? Yes, it does. It is red.").statements
    assert [s.claim for s in found if s.needs_citation] == [
        "Does it fly at night? Yes, it does.",
        "It is red.",
    ]
    assert [(s.start, s.end) for s in found][1] == (22, 35)


@pytest.mark.parametrize(
    ("answer", "claim", "cited"),
    [
        ("The score lies in [0, 10] [1].", "The score lies in [0, 10].", (0,)),
        ("Use sys.argv[2] for that [1].", "Use sys.argv[2] for that.", (0,)),
        ("In [1984] Orwell wrote it [1].", "In [1984] Orwell wrote it.", (0,)),
        ("Call `x[1]` first [2].", "Call `x[1]` first.", (1,)),
    ],
)
def test_brackets_that_cite_nothing(answer: str, claim: str, cited: tuple[int, ...]) -> None:
    (found,) = sample(answer).statements
    assert (found.claim, found.cited, found.invalid) == (claim, cited, 0)


def test_a_bare_yes_claims_the_question() -> None:
    found = Sample(id="1", question="Is the tower 300 m high?", answer="Yes.", contexts=CONTEXTS)
    assert [s.claim for s in found.statements] == ["Is the tower 300 m high? Yes."]


def test_code_is_no_claim() -> None:
    statements = sample("Run this:\n\n```sh\nrm -rf build\n```\n\nIt cleans up [1].").statements
    assert [s.claim for s in statements if s.needs_citation] == ["It cleans up."]
