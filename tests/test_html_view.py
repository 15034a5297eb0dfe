"""What a notebook shows of answers, hits, reports and runs."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.questions import Question
from evals.runs import run
from rag import Answer, Citation, Pipeline
from rag.ingestion.report import Failure, IngestReport, Skip
from rag.types import Sentence
from rag.types.html_view import render_answer, render_table

VOID_TAGS = {"br"}
HOSTILE = "<script>alert(1)</script> & \"quotes\" 'x' <img src=x onerror=y>"


class Reader(HTMLParser):
    """Collects the tags and the text, and checks that every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open_tags

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag in VOID_TAGS:
            self.text += "\n"
        else:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def show(value: object) -> Reader:
    return Reader(value._repr_html_())  # type: ignore[attr-defined]


def test_an_answer_shows_its_text_its_quotes_and_where_they_are(
    pipeline: Pipeline, folder: Path
) -> None:
    pipeline.ingest(folder)
    answer = pipeline.ask("How long does a full battery last?")
    view = show(answer)
    assert answer.citations
    for citation in answer.citations:
        assert citation.quote in view.text
        assert f"[{citation.marker}]" in view.text
        assert Path(citation.uri).name in view.text or citation.title in view.text
    hit = show(answer.hits[0])
    assert answer.hits[0].chunk.text[:60] in hit.text
    assert f"{answer.hits[0].score:.3f}" in hit.text


def test_an_abstention_shows_what_comes_closest(pipeline: Pipeline, folder: Path) -> None:
    pipeline.ingest(folder)
    answer = pipeline.ask("Who won the battery prize of 1874?")
    assert answer.status == "abstained"
    view = show(answer)
    assert answer.reason in view.text
    assert all(passage.reason in view.text for passage in answer.closest)


def test_sentences_that_are_not_supported_are_marked() -> None:
    text = "One is right. Two is not."
    answer = Answer(
        text=text,
        status="answered",
        sentences=(
            Sentence(start=0, end=13, support=0.9, status="supported"),
            Sentence(start=14, end=25, support=0.1, status="contradicted"),
        ),
    )
    html = render_answer(answer)
    assert 'title="contradicted, support 0.10"' in html
    assert html.count("<span") == 1
    assert Reader(html).text == text


def test_hostile_text_is_shown_as_text() -> None:
    citation = Citation(
        marker=1, uri="javascript:alert(1)", start=0, end=3, quote=HOSTILE, title=HOSTILE
    )
    answer = Answer(text=HOSTILE, status="answered", citations=(citation,), reason=HOSTILE)
    report = IngestReport(
        failed=[Failure("file:///a", HOSTILE)], skipped=[Skip("file:///b", HOSTILE)]
    )
    for view in (show(answer), show(report)):
        assert HOSTILE in view.text
        assert not view.tags & {"script", "img"}
        assert view.links == []


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_escaped(text: str, quote: str) -> None:
    citation = Citation(marker=1, uri="https://a.example/x", start=0, end=1, quote=quote)
    view = show(Answer(text=text, status="answered", citations=(citation,)))
    assert view.links == ["https://a.example/x"]
    assert Reader(render_table(text, (quote,), [(text,)])).tags >= {"table", "td"}


def test_a_report_shows_counts_and_reasons() -> None:
    report = IngestReport(added=1_234, failed=[Failure("file:///a.pdf", "it is encrypted")])
    view = show(report)
    assert "1,234" in view.text
    assert "it is encrypted" in view.text
    assert "What an ingest would do" in show(IngestReport(dry_run=True)).text


def test_a_run_shows_its_metrics(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    pipeline.ingest(folder)
    question = Question(
        id="1", question="How long does a full battery last?", answers=("34 minutes",)
    )
    result = run(pipeline, [question], tmp_path / "run")
    view = show(result)
    for name, summary in result.summaries.items():
        assert name in view.text
        assert str(summary) in view.text


@pytest.mark.parametrize(
    "uri", ["file:///docs/M%C3%BCller.pdf", "upload:x.pdf", "data:text/html,x"]
)
def test_only_addresses_of_the_web_are_links(uri: str) -> None:
    citation = Citation(marker=1, uri=uri, start=0, end=1, quote="x")
    view = show(Answer(text="x", status="answered", citations=(citation,)))
    assert view.links == []
