"""Filters from questions, over real files."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag import F, Filter, Pipeline
from rag.llm.scripted import ScriptedChat
from rag.query import Query
from rag.retrieval import SelfQuery, StepBack
from rag.types import RetrieveStep, TransformStep

TODAY = datetime.date(2026, 5, 14)
MAILS = {
    "1.eml": ("Ruth Adeyemi <ruth@coop.example>", "Tom Berg <tom@coop.example>",
              "Tue, 11 Feb 2025 09:00:00 +0000", "The charter needs two signatures."),
    "2.eml": ("Ruth Adeyemi <ruth@coop.example>", "Ana Silva <ana@coop.example>",
              "Sat, 01 Mar 2025 09:00:00 +0000", "The charter is signed now."),
    "3.eml": ("Tom Berg <tom@coop.example>", "Ruth Adeyemi <ruth@coop.example>",
              "Thu, 20 Feb 2025 09:00:00 +0000", "I read the charter; one question is open."),
}  # fmt: skip
NOTES = {
    "report.md": ("author: Ana Silva\ncreated: 2025-01-15\ndepartment: finance\n"
                  "tags: [budget, sales]", "# Annual report 2024\n\nSales were 3 million."),
    "ticket-1.md": ("status: open\nowner: Tom Berg\nyear: 2023", "# Ticket 1\n\nThe pump leaks."),
    "ticket-2.md": ("status: in progress\nowner: Ana Silva\nyear: 2025",
                    "# Ticket 2\n\nThe valve sticks."),
}  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("self-query")
    docs = folder / "docs"
    docs.mkdir()
    for name, (sender, recipient, date, text) in MAILS.items():
        header = f"From: {sender}\nTo: {recipient}\nDate: {date}\nSubject: News\n\n"
        (docs / name).write_text(header + text + "\n")
    for name, (front_matter, text) in NOTES.items():
        (docs / name).write_text(f"---\n{front_matter}\n---\n{text}\n")
    (docs / "costs.csv").write_text("Site,Cost\nOslo,3\n")
    with Pipeline(index=folder / "index", transforms=[SelfQuery(today=TODAY)]) as opened:
        assert not opened.ingest(docs).failed
        yield opened


def transform(pipeline: Pipeline, question: str) -> Query:
    (query,) = SelfQuery(today=TODAY).transform_for_index(question, [], pipeline.open())
    return query


def select(pipeline: Pipeline, where: Filter | None) -> set[str]:
    """Return the names of the files that a filter selects."""
    index = pipeline.open()
    assert where is not None
    numbers = index.document_store.matching_documents(where)
    uris = index.document_store.uris_of_documents(list(numbers))
    return {uri.rpartition("/")[2] for uri in uris.values()}


@pytest.mark.parametrize(
    ("question", "rest", "files"),
    [
        ("mails from Ruth in February 2025 about the charter", "the charter", {"1.eml"}),
        ("Mails von Ruth im Februar 2025 über die Satzung", "die Satzung", {"1.eml"}),
        ("Ruth's mails about the charter", "the charter", {"1.eml", "2.eml"}),
        ("mails to Ruth", "mails", {"3.eml"}),
        ("mails from tom@coop.example about the charter", "the charter", {"3.eml"}),
        ("the e-mails that Ruth Adeyemi sent to Tom", "the e-mails that sent", {"1.eml"}),
        ("Which mails did Tom send last year?", "Which mails did send?", {"3.eml"}),
        ("What did Ruth write about the charter in March 2025?",
         "What did write about the charter?", {"2.eml"}),
        ("Which tickets have status open?", "Which tickets have?", {"ticket-1.md"}),
        ("tickets with status in progress", "tickets", {"ticket-2.md"}),
        ("tickets with status in progress or open about valves", "tickets with about valves",
         {"ticket-1.md", "ticket-2.md"}),
        ("reports by the finance department", "reports", {"report.md"}),
        ("documents tagged budget", "documents", {"report.md"}),
        ("documents by Ana", "documents", {"report.md", "ticket-2.md"}),
        ("files from 2024", "files", {"report.md"}),
        ("tickets from 2023 about the pump", "tickets about the pump", {"ticket-1.md"}),
        ("documents by Tom or Ana", "documents", {"report.md", "ticket-1.md", "ticket-2.md", "3.eml"}),
        ("mails from Ruth, Tom and Ana", "mails", {"1.eml", "2.eml", "3.eml"}),
        ("documents tagged budget or sales", "documents", {"report.md"}),
        ("tickets with status open or in progress", "tickets", {"ticket-1.md", "ticket-2.md"}),
        ("tickets from 2023 and 2025", "tickets", {"1.eml", "2.eml", "3.eml", "report.md",
                                                 "ticket-1.md", "ticket-2.md"}),
        ("tickets since 2025", "tickets", {"1.eml", "2.eml", "3.eml", "report.md", "ticket-2.md"}),
        ("Which spreadsheets mention Oslo?", "Which spreadsheets mention Oslo?", {"costs.csv"}),
    ],
)  # fmt: skip
def test_filters(pipeline: Pipeline, question: str, rest: str, files: set[str]) -> None:
    query = transform(pipeline, question)
    assert (query.text, select(pipeline, query.filter)) == (rest, files)
    assert query.is_filter_optional
    assert [note.partition(":")[0] for note in query.notes] == ["filter from the question"]


@pytest.mark.parametrize(
    "question",
    [
        "What were the sales in 2024?",
        "What is the e-mail address of Ruth?",
        "report on sales in 2024",
        "What happened on 3 March 2025?",
        "How do I write reports?",
        "Which invoices are from nobody?",
        "Who sent the charter to Tom?",
        "What is the status of the pump?",
        "documents not by Tom Berg",
        "Which documents did Ruth not write?",
        "documents approved by Ruth",
        "documents of the legal and finance department",
        "How do I open a document from 2024?",
        "Which documents must be signed by May?",
        "Does the charter need a mail from Ruth?",
        "Why was the mail server down in March 2025?",
        "Who got a letter from the bank in 2023?",
        "mails about the deadline in March 2025",
        "documents by Berg-Tom",
        "Wann hat Ana die Mail von Ruth beantwortet?",
        "files from the first half of 2025",
        "2024 " * 3_000 + "mails",
        "the pump",
        "?",
    ],
)
def test_other_questions_are_not_changed(pipeline: Pipeline, question: str) -> None:
    assert transform(pipeline, question) == Query(question)


def test_the_receiver_is_not_the_sender(pipeline: Pipeline) -> None:
    query = transform(pipeline, "Did Ruth get an email from Tom in February 2025?")
    assert select(pipeline, query.filter) == {"3.eml"}


def test_a_filter_that_leaves_nothing_is_relaxed(pipeline: Pipeline) -> None:
    query = transform(pipeline, "mails from Ruth in May 2025 about the charter")
    assert select(pipeline, query.filter) == {"1.eml", "2.eml"}
    (note,) = query.notes
    assert "searched without: date from 2025-05-01 to 2025-05-31" in note
    answer = pipeline.ask("mails from Ruth in May 2025 about the charter")
    (step,) = (step for step in answer.trace if isinstance(step, TransformStep))
    assert step.notes == (note,)
    assert step.filters
    assert {hit.chunk.uri.rpartition("/")[2] for hit in answer.hits} <= {"1.eml", "2.eml"}


def test_a_guessed_filter_gives_way_to_that_of_the_search(pipeline: Pipeline) -> None:
    question, where = "mails from Ruth about the charter", F("uri").contains("3.eml")
    result = pipeline.search_with_steps(question, where=where)
    assert {hit.chunk.uri.rpartition("/")[2] for hit in result.hits} == {"3.eml"}
    (step,) = (step for step in result.steps if isinstance(step, RetrieveStep))
    assert step.notes == ("the filter from the question leaves no hit and was not used",)
    for query in (Query(question, filter=where), question):
        hits = pipeline.search(query, where=F("uri").contains("4.eml"))
        assert hits == [], "a filter of the search is never relaxed"


def test_a_filter_stays_optional_after_another_transform(pipeline: Pipeline) -> None:
    model = ScriptedChat(replies=("the rules", "the rules"))
    transforms = [SelfQuery(today=TODAY), StepBack(model=model)]
    with pipeline.replace(transforms=transforms) as both:
        question, where = "mails from Ruth about the charter", F("uri").contains("3.eml")
        assert both.search(question, where=where)
        with_filter = both.search(question)
    assert {hit.chunk.uri.rpartition("/")[2] for hit in with_filter} == {"1.eml", "2.eml"}


def test_a_model_makes_the_filter(pipeline: Pipeline) -> None:
    reply = {"query": "signatures", "filter": {"from": {"$in": [MAILS["3.eml"][0]]}}}
    model = ScriptedChat(replies=(json.dumps(reply),))
    (query,) = SelfQuery(model=model).transform_for_index("Tom's mails", [], pipeline.open())
    assert (query.text, select(pipeline, query.filter)) == ("signatures", {"3.eml"})


@pytest.mark.parametrize(
    "reply",
    [
        "I cannot do that.",
        {"query": "x", "filter": {"colour": "red"}},
        {"query": "x", "filter": {"from": {"$regex": ".*"}}},
        {"query": "x", "filter": {"status": "closed"}},
    ],
)
def test_rules_replace_an_unusable_reply_of_the_model(pipeline: Pipeline, reply: object) -> None:
    text = reply if isinstance(reply, str) else json.dumps(reply)
    model = ScriptedChat(replies=(text, text))
    transform = SelfQuery(model=model, today=TODAY)
    (query,) = transform.transform_for_index("mails to Ruth", [], pipeline.open())
    assert select(pipeline, query.filter) == {"3.eml"}


def test_fields_are_read_again_after_an_edit(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("---\nstatus: open\n---\n# A\n\nThe pump leaks.\n")
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(docs)
        assert transform(pipeline, "tickets with status closed") == Query(
            "tickets with status closed"
        )
        (docs / "b.md").write_text("---\nstatus: closed\n---\n# B\n\nThe valve is new.\n")
        pipeline.ingest(docs)
        query = transform(pipeline, "tickets with status closed")
        assert select(pipeline, query.filter) == {"b.md"}


@pytest.mark.parametrize(
    ("front_matter", "question", "files"),
    [
        (
            {"a": "author: April Hill\ncreated: 2025-01-15", "b": "created: 2026-04-10"},
            "documents from April 2026",
            {"b.md"},
        ),
        (
            {
                "a": "created: 2025-03-01\nmodified: 2025-06-01",
                "b": "created: 2025-01-01\nmodified: 2025-03-05",
            },
            "documents changed in March 2025",
            {"b.md"},
        ),
        (
            {
                "a": "created: 2025-03-01\nmodified: 2025-06-01",
                "b": "created: 2025-01-01\nmodified: 2025-03-05",
            },
            "documents from March 2025",
            {"a.md"},
        ),
        (
            {"a": "modified: 2025-03-01", "b": "modified: 2025-04-01"},
            "documents from March 2025",
            {"a.md"},
        ),
    ],
    ids=["month", "changed", "created", "only changed"],
)
def test_dates_are_those_that_the_question_means(
    tmp_path: Path, front_matter: dict[str, str], question: str, files: set[str]
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, fields in front_matter.items():
        (docs / f"{name}.md").write_text(f"---\n{fields}\n---\nThe pump runs.\n")
    with Pipeline(index=tmp_path / "index") as pipeline:
        assert not pipeline.ingest(docs).failed
        assert select(pipeline, transform(pipeline, question).filter) == files
