"""Fuzzing: random text for what reads the text of models, documents and users.

    SECONDS=600 python -m benchmarks.fuzzing [TARGET ...]

Each target gets random texts, put together from what its grammar looks for, for SECONDS (default
60). An exception that the target does not document is a crash, and so is a broken invariant: a
quote that is not at its place in the source, or a stream that differs from the answer. A text that
takes long is doubled twice: if each doubling takes more than GROWTH times as long, it is
super-linear. Both are printed with the seed, and the exit code is 1.
"""

from __future__ import annotations

import datetime
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from rag import (
    AnswerCompleted,
    ExtractiveGenerator,
    GroundedGenerator,
    Pipeline,
    ScriptedChat,
    TextDelta,
)
from rag.cli.arguments import parse_where
from rag.errors import QueryError
from rag.filters import Filter
from rag.generation.claims import extract_claim, find_prose, has_no_claim, is_refusal
from rag.generation.foreign_markers import normalize_markers
from rag.generation.links import remove_uncited_links
from rag.generation.markers import find_marker_numbers, show_as_notes, strip_markers
from rag.retrieval.filter_rules import apply_rules, read_fields
from rag.stores.lexical_index import BM25Query
from rag.types import Chunk, Hit

PAGE = Path(__file__).resolve().parent.parent / "rag" / "serving" / "page"
SECONDS = float(os.environ.get("SECONDS", "60"))
GROWTH = 3.2  # of the time, for twice the length; 2 is linear
SLOW_SECONDS_PER_CHARACTER = 1e-3
QUESTION = "How long does the battery of the P-7 last?"
SOURCE = (
    "# P-7\n\nThe battery lasts 34 minutes [2]. Charging takes 90 minutes.\n\n"
    "| Part | Price |\n| --- | --- |\n| Battery | 84 euros |\n| Charger | 31 euros |\n\n"
    "See [the manual](https://example.com/a?b=(c)). It was made in 2019, not in 2021.\n"
)
WORDS = "the battery lasts charging takes minutes P-7 P-9 34 90 not never 2019 euros if".split()
MARKUP = ["[1]", "[2]", "[^1]", "(1)", "¹", *"[](){}<>|*_`~#>-+=!.,;:?\"'\\/$^&@%\n\n\n \t"]
MARKUP += ["[Doc 1]", "(Source 1)", "【1†L3-L9】", "[cite: 1, 2]", "```", "~~~", "$$", "---", "| "]
MARKUP += ["![", "](", "https://", "http://a.b/", "<a href=", "</", "<!--", "-->", "\r", "\u200b"]
MARKUP += ["Passage 1 says that ", "I cannot tell you that ", "Did you know that ", "„", "“", "»"]
MARKUP += [
    "\x1b[31m",
    "\u202e",
    "\ufdfa",
    "\U000e0041",
    "\ud800",
    "ß",
    "ﬁ",
    "漢字",
    "ไทย",
    "é",
    "\0",
]
QUERY = ['"', "„", "“", "AND", "-", "*", "C++", "ERR-07", "1,234.5", "v2.0", "2024-05-03", "FY24"]
QUERY += ["mails from Ruth in ", "before 3 May", "last year", "latest", "list all ", "summarize "]


def write_text(generator: random.Random, pieces: Sequence[str], length: int) -> str:
    """Put pieces together; some are repeated many times, as an attacker would."""
    text: list[str] = []
    while length > 0:
        piece = generator.choice(pieces)
        count = generator.choice((1, 1, 1, 1, 2, 3, 50))
        unit = piece if generator.random() < 0.7 else piece + generator.choice(pieces)
        text.append(unit * min(count, length))
        if generator.random() < 0.5:
            text.append(" ")
        length -= count
    return "".join(text)


def check_markers(text: str) -> None:
    text = text.replace("\ud800", "")
    normalize_markers(text, 3)
    find_marker_numbers(show_as_notes(strip_markers(text)))


def check_links(text: str) -> None:
    once = remove_uncited_links(text, lambda url: False, lambda url: False)
    assert "](http" not in once.replace("\\", ""), f"a link is left: {once!r}"


def check_claims(text: str) -> None:
    has_no_claim(text)
    is_refusal(text, {"battery"})
    extract_claim(text)
    find_prose(text)


def check_filters(text: str) -> None:
    with suppress(QueryError):
        parse_where([text])
    for where in ({text: text}, {"and": [{text: {text: 1}}]}, {"not": {"field": {">=": text}}}):
        with suppress(QueryError):
            Filter.of(where)


class Answers:
    """Checks of whole answers, to one document in an index."""

    def __init__(self, folder: Path) -> None:
        (folder / "docs").mkdir()
        (folder / "docs" / "manual.md").write_text(SOURCE, encoding="utf-8")
        self.pipeline = Pipeline(index=folder / "index", processes=0)
        self.pipeline.ingest(folder / "docs")
        chunk = Chunk(id="a", uri="file:///manual.md", start=0, end=len(SOURCE), text=SOURCE)
        self._hits = [Hit(chunk=chunk, score=1.0)]
        self._fields = read_fields(self.pipeline.open())

    def check_draft(self, text: str) -> None:
        """Answer with `text` as the reply of a model, as a whole and in a stream."""
        for unsupported in ("flag", "drop", "repair", "abstain"):
            model = ScriptedChat(replies=(text or " ",) * 4)
            generator = GroundedGenerator.from_config(
                {"model": model, "unsupported": unsupported, "fallback": None}
            )
            self._check_answer(generator.answer(QUESTION, self._hits))
            *events, completed = generator.stream(QUESTION, self._hits)
            assert isinstance(completed, AnswerCompleted)
            self._check_answer(completed.answer)
            if not completed.answer.reason:
                streamed = "".join(e.text for e in events if isinstance(e, TextDelta))
                assert streamed == completed.answer.text, "the stream differs from the answer"

    def check_question(self, text: str) -> None:
        """Quote the passage for a question."""
        self._check_answer(ExtractiveGenerator(answerability=0).answer(text, self._hits))

    def check_query(self, text: str) -> None:
        """Search for a query, in words and in general."""
        index = self.pipeline.open()
        with suppress(QueryError):
            apply_rules(text, self._fields, datetime.date(2025, 1, 1), index)
            index.lexical.search(BM25Query(text), 5)
            self.pipeline.search(text, k=3)

    @staticmethod
    def _check_answer(answer: Any) -> None:
        for citation in answer.citations:
            assert SOURCE[citation.start : citation.end] == citation.quote, "an inexact quote"
        for sentence in answer.sentences:
            assert 0 <= sentence.start <= sentence.end <= len(answer.text)
        json.loads(answer.model_dump_json())


class PageView:
    """Draws answers as the chat page does, in Chromium; no part of the text is markup."""

    SCRIPT = """async (text) => {
        const { AnswerView } = await import("/answer_view.js");
        const view = new AnswerView();
        const words = Array.from(text);
        const middle = words.lastIndexOf(" ", words.length / 2) + 1 || words.length;
        const sentence = { start: 0, end: middle, citations: [], status: "unsupported" };
        view.complete({ text, sentences: [sentence], citations: [], status: "answered",
            hits: [], closest: [], trace: [], usage: { calls: 0 } });
        const names = [...view.textBox.querySelectorAll("*")].map((e) => e.localName);
        const urls = [...view.textBox.querySelectorAll("[href], [src], [style]")].length;
        return { names: [...new Set(names)], urls, text: view.textBox.textContent };
    }"""
    NAMES: ClassVar = {"span", "strong", "code", "pre", "div", "table", "tr", "td", "th", "button"}

    def __init__(self) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        path = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
        chromium = self._playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        self._page = chromium.new_page()
        self._page.route("**/*", self._serve)
        self._page.goto("http://127.0.0.1/empty.html")

    @staticmethod
    def _serve(route: Any) -> None:
        file = PAGE / route.request.url.split("?")[0].rsplit("/", 1)[-1]
        body = file.read_text(encoding="utf-8") if file.is_file() else ""
        kind = "text/javascript" if file.suffix == ".js" else "text/html"
        route.fulfill(body=body, content_type=kind)

    def check_answer(self, text: str) -> None:
        """Draw an answer: only known elements, no address, and each word of the text."""
        text = text.replace("\ud800", "")
        drawn = self._page.evaluate(self.SCRIPT, text)
        assert set(drawn["names"]) <= self.NAMES, f"other elements: {drawn['names']}"
        assert not drawn["urls"], "an element with an address or a style"
        lost = [w for w in re.findall(r"[a-zA-Z]{3,}", text) if w not in drawn["text"]]
        assert not lost or "```" in text or "~~~" in text, f"lost words: {lost[:5]}"

    def close(self) -> None:
        """Close the browser."""
        self._playwright.stop()


def fuzz(name: str, check: Callable[[str], None], pieces: Sequence[str], length: int) -> int:
    """Check random texts for `SECONDS`; print and count what fails."""
    end = time.monotonic() + SECONDS
    count = failure_count = 0
    seen: set[str] = set()
    while time.monotonic() < end:
        text = write_text(random.Random(f"{name}-{count}"), pieces, 1 + count % length)
        count += 1
        start = time.perf_counter()
        try:
            check(text)
        except Exception:
            error = traceback.format_exc()
            kind = error.splitlines()[-1][:120]
            if kind not in seen:
                seen.add(kind)
                failure_count += 1
                print(f"{name}, seed {count - 1}: {text[:300]!r}\n{error}")
            continue
        seconds = time.perf_counter() - start
        if seconds > SLOW_SECONDS_PER_CHARACTER * (200 + len(text)) and is_super_linear(
            check, text
        ):
            failure_count += 1
            print(f"{name}, seed {count - 1}: super-linear, {seconds:.1f} s: {text[:300]!r}")
    print(f"{name:10}{count:>10} texts{failure_count:>6} failures")
    return failure_count


def is_super_linear(check: Callable[[str], None], text: str) -> bool:
    """Whether each of two doublings of a text takes more than `GROWTH` times as long."""
    seconds = []
    for factor in (1, 2, 4):
        start = time.perf_counter()
        check(text * factor)
        seconds.append(time.perf_counter() - start)
    return seconds[1] > GROWTH * seconds[0] and seconds[2] > GROWTH * seconds[1]


def main(names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        answers = Answers(Path(folder))
        targets: dict[str, tuple[Callable[[str], None], Sequence[str], int]] = {
            "markers": (check_markers, WORDS + MARKUP, 400),
            "links": (check_links, WORDS + MARKUP, 400),
            "claims": (check_claims, WORDS + MARKUP, 200),
            "filters": (check_filters, WORDS + MARKUP + QUERY, 100),
            "drafts": (answers.check_draft, WORDS * 3 + MARKUP, 60),
            "questions": (answers.check_question, WORDS + QUERY + MARKUP, 60),
            "queries": (answers.check_query, WORDS + QUERY + MARKUP, 60),
            "page": (PageView().check_answer, WORDS + MARKUP, 200),
        }
        failure_count = 0
        for name in names or targets:
            failure_count += fuzz(name, *targets[name])
        answers.pipeline.close()
    sys.exit(1 if failure_count else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
