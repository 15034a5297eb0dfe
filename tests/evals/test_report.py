"""The HTML report: its content, its escaping, and the spans that it marks."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evals.metrics import all_metrics, choose_metrics
from evals.questions import Question
from evals.report import render_html
from evals.runs import Item, RunResult, run
from evals.samples import Passage, Sample
from evals.scores import Score, Unit

ANSWER = "It flies for 34 minutes [1]. It is made of steel [2]."
CONTEXTS = (
    Passage(text="Snow. It flies for 34 minutes.", uri="file:///kite.md", start=100),
    Passage(text="It is made of nylon.", title="Kite"),
)


class PageParser(HTMLParser):
    """Collects tags, links and text; fails for an event handler attribute."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self._texts: list[str] = []
        self._open_tags: list[str] = []
        self.feed(page)

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open_tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        if self._open_tags[-1:] != ["style"]:
            self._texts.append(data)


def make_result(scores: dict[str, Score], **changes: object) -> RunResult:
    """A run with one answered question."""
    sample = Sample(id="1", question="How long?", answer=ANSWER, contexts=CONTEXTS)
    result = RunResult(
        name="first",
        settings={"backend": "lexical"},
        questions=[Question(id="1", question="How long?")],
        items={"1": Item(id="1", key="k", sample=sample)},
        scores={name: [score] for name, score in scores.items()},
        metrics=[all_metrics()[name] for name in scores],
    )
    return dataclasses.replace(result, **changes)  # type: ignore[arg-type]


def make_units() -> list[Unit]:
    return [
        Unit(
            claim="It flies for 34 minutes.",
            start=0,
            end=28,
            passage=0,
            support=0.9,
            evidence=(6, 30),
            verdict="supported",
        ),
        Unit(claim="It is made of steel.", start=29, end=53, support=0.1, note="a remark"),
    ]


def test_report_escapes_all_text_and_loads_nothing(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    question = Question(
        id=evil,
        question=f"What is {evil}?",
        answer=f"It flies for 34 minutes [1]. It has {evil} 77 golden horns from Peru.",
        contexts=(f"It flies for 34 minutes. {evil}",),
        answers=(evil,),
        gold=(evil,),
    )
    run(None, [question], tmp_path / "<b>r", metrics=choose_metrics(["all"]))
    page = (tmp_path / "<b>r" / "report.html").read_text(encoding="utf-8")
    parser = PageParser(page)
    assert not {"script", "img", "link", "iframe", "b>r"} & set(parser.tags)
    assert parser.links == []
    assert "url(" not in page and "http" not in page.replace("http-equiv", "")
    assert "alert(1)" in parser.text and "It flies for 34 minutes" in parser.text
    assert 'class="s supported"' in page and 'class="s unsupported"' in page
    assert "faithfulness" in parser.text and "0.500" in parser.text
    assert 'content="default-src' in page


def test_report_marks_claims_and_shows_their_evidence() -> None:
    score = Score.ratio(1, 2, if_undefined="", units=make_units())
    page = render_html(make_result({"faithfulness": score}))
    assert (
        '<div class="answer"><span class="s supported" title="supported, support 0.90">It flies '
        'for 34 minutes [1].</span> <span class="s unsupported" title="unsupported, support 0.10">'
        "It is made of steel [2].</span></div>"
    ) in page
    assert (
        '<span class="soft">file:///kite.md 106-130</span>\n<mark>It flies for 34 minutes.</mark>'
    ) in page
    text = PageParser(page).text
    assert "2 claims, and what supports them" in text and "a remark" in text
    assert "faithfulness 0.500 (1 of 2)" in text and "2 passages shown" in text
    assert page == render_html(make_result({"faithfulness": score}))


@pytest.mark.parametrize(
    "spans", [[(0, 28), (10, 53)], [(10, 53), (0, 28)], [(0, 28), (29, 900)], [(5, 5), (0, 28)]]
)
def test_report_shows_the_whole_answer_when_claims_overlap(spans: list[tuple[int, int]]) -> None:
    units = [Unit(claim="c", start=start, end=end, support=0.0) for start, end in spans]
    page = render_html(make_result({"faithfulness": Score.of(0.0, units=units)}))
    answer = page.partition('<div class="answer">')[2].partition("</div>")[0]
    assert PageParser(answer).text == ANSWER and answer.count("<span") == 1


def test_report_names_failed_and_missing_answers() -> None:
    failed = make_result({"faithfulness": Score.failure("the judge is <down>")})
    text = PageParser(render_html(failed)).text
    assert "faithfulness failed: the judge is <down>" in text
    assert "1 (0.000 to 1.000 with them)" in text
    for items, reason in (
        ({}, "it was not asked"),
        ({"1": Item(id="1", key="k", error="no answer")}, "no answer"),
    ):
        missing = dataclasses.replace(failed, items=items)
        text = PageParser(render_html(missing)).text
        assert reason in text and "0 answered, 0 refused, 1 without an answer" in text


def test_report_shows_citations_and_their_verification() -> None:
    statuses = (True, False, None)
    quotes = tuple(Passage(text=f"quote {s}", verified=s) for s in statuses)
    sample = Sample(id="1", question="?", answer="A [1][2][3].", contexts=quotes)
    result = make_result({}, items={"1": Item(id="1", key="k", sample=sample)})
    text = PageParser(render_html(result)).text
    assert text.count("verbatim in its source") == 1
    assert text.count("NOT found at this position") == 1 and "quote None" in text


def test_report_shows_gates_corrections_and_settings() -> None:
    result = make_result(
        {"faithfulness": Score.of(0.5)},
        stopped="the budget was spent",
        gates=[
            {"gate": "faithfulness>=0.9", "outcome": "regressed", "why": "0.5 < 0.9"},
            {"gate": "map>=0.1", "outcome": "inconclusive", "why": "few"},
        ],
        corrected={
            "faithfulness": {
                "uncorrected": 0.5,
                "value": 0.625,
                "low": 0.25,
                "high": 0.75,
                "labels": 1200,
            }
        },
        settings={"backend": "lexical", "pipeline": "top_k: 3\nmodel: <x>\n"},
    )
    page = render_html(result)
    text = PageParser(page).text
    assert "the budget was spent" in text and "gate faithfulness>=0.9: 0.5 < 0.9" in text
    assert '<span class="tag unsupported">regressed</span>' in page
    assert '<span class="tag partly">inconclusive</span>' in page
    assert "0.625" in text and "0.250 to 0.750" in text and "1,200" in text
    assert '<div class="ctx">top_k: 3\nmodel: &lt;x&gt;</div>' in page
    plain = PageParser(render_html(make_result({"faithfulness": Score.of(0.5)}))).text
    assert "Corrected" not in plain and "Pipeline" not in plain


def test_histogram_has_a_bar_for_each_used_tenth() -> None:
    scores = [Score.of(value) for value in (0.0, 0.04, 0.95, 1.0, 1.0)]
    result = make_result({"faithfulness": scores[0]})
    result.scores = {"faithfulness": scores}
    page = render_html(result)
    histogram = page.partition('aria-label="answers by value">')[2].partition("</svg>")[0]
    assert 'x="0" y="8.7" width="9" height="13.3"' in histogram  # two of three
    assert 'x="90" y="2.0" width="9" height="20.0"' in histogram
    assert histogram.count("<rect") == 3


def test_long_texts_are_shortened() -> None:
    sample = Sample(id="1", question="?", answer="A.", contexts=(Passage(text="y" * 20_001),))
    result = make_result({}, items={"1": Item(id="1", key="k", sample=sample)})
    assert f"{'y' * 20_000} ... (20,001 characters)<" in render_html(result)
