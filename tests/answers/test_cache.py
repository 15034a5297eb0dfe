"""The answer cache: it saves calls of the model, and never gives what the sources no longer say."""

from __future__ import annotations

import logging
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag import (
    AnswerCache,
    AnswerCompleted,
    CacheStep,
    ChatModel,
    F,
    GroundedGenerator,
    Message,
    Pipeline,
    TextDelta,
)
from rag.answers import cache as cache_module
from rag.index.paths import ANSWER_CACHE_FILE
from rag.llm import Completion
from rag.stores import Exact
from rag.stores.memory_lexical import InMemoryLexical
from rag.types import Answer
from tests.index.test_crashes import kill_at

PRICE_QUESTION = "What does the heater cost?"
SAME_QUESTION = "Please tell me the price of the heater."


class QuotingChat(ChatModel):
    """Says the price in the prompt, and counts its calls."""

    name: ClassVar[str] = "quoting"
    calls: ClassVar[list[str]] = []

    def _complete(self, messages: Sequence[Message], **_: Any) -> Completion:
        prompt = messages[-1].content
        self.calls.append(prompt)
        match = re.search(r"The heater costs (\d+) euros", prompt)
        if match is None or "founded" in prompt:
            return Completion("I do not know.")
        return Completion(f"The heater costs {match[1]} euros [1].")


@pytest.fixture(autouse=True)
def _count_from_zero() -> None:
    QuotingChat.calls.clear()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    write_price(folder, 450)
    (folder / "office.md").write_text("# Office\n\nThe office in Oslo opens at 8 a.m.\n")
    return folder


@pytest.fixture
def cached(tmp_path: Path, docs: Path) -> Iterator[Pipeline]:
    with make_pipeline(tmp_path / "index") as pipeline:
        pipeline.ingest(docs)
        yield pipeline


def make_pipeline(index: Path, **changes: Any) -> Pipeline:
    generator = GroundedGenerator(model=QuotingChat(), fallback=None)
    options: dict[str, Any] = {"generator": generator, "answer_cache": True, **changes}
    return Pipeline(index=index, vector_store=Exact(), lexical_index=InMemoryLexical(), **options)


def write_price(folder: Path, price: int) -> None:
    (folder / "heater.md").write_text(f"# Heater\n\nThe heater costs {price} euros.\n")


def is_cached(answer: Answer) -> bool:
    return any(isinstance(step, CacheStep) for step in answer.trace)


def test_the_same_question_in_other_words_costs_no_call(cached: Pipeline) -> None:
    first = cached.ask(PRICE_QUESTION)
    again = cached.ask(SAME_QUESTION)
    assert len(QuotingChat.calls) == 1
    assert not is_cached(first) and is_cached(again)
    assert again.text == first.text == "The heater costs 450 euros [1]."
    assert again.citations == first.citations and again.citations[0].verified
    assert again.usage.calls == 0 and again.hits
    step = next(step for step in again.trace if isinstance(step, CacheStep))
    assert step.question == PRICE_QUESTION


def test_a_stream_gives_the_cached_answer_in_events(cached: Pipeline) -> None:
    streamed = list(cached.stream(PRICE_QUESTION))
    again = list(cached.stream(PRICE_QUESTION))
    assert len(QuotingChat.calls) == 1
    for events in (streamed, again):
        text = "".join(event.text for event in events if isinstance(event, TextDelta))
        assert text == "The heater costs 450 euros [1]."
        assert isinstance(events[-1], AnswerCompleted)


def test_an_edit_of_the_cited_document_forgets_the_answer(cached: Pipeline, docs: Path) -> None:
    cached.ask(PRICE_QUESTION)
    write_price(docs, 480)
    assert is_cached(cached.ask(PRICE_QUESTION)), "the index still has the old version"
    cached.ingest(docs)
    assert cached.ask(PRICE_QUESTION).text == "The heater costs 480 euros [1]."
    write_price(docs, 450)
    cached.ingest(docs)
    assert cached.ask(PRICE_QUESTION).text == "The heater costs 450 euros [1]."


def test_a_new_document_among_the_hits_forgets_the_answer(cached: Pipeline, docs: Path) -> None:
    cached.ask(PRICE_QUESTION)
    (docs / "news.md").write_text("# News\n\nFrom May on the heater has another price.\n")
    cached.ingest(docs)
    assert not is_cached(cached.ask(PRICE_QUESTION))
    assert is_cached(cached.ask(PRICE_QUESTION))


def test_a_deleted_document_takes_its_answers_with_it(cached: Pipeline, docs: Path) -> None:
    cached.ask(PRICE_QUESTION)
    (docs / "heater.md").unlink()
    cached.ingest(docs)
    assert cached.ask(PRICE_QUESTION).status == "abstained"


def test_what_else_must_be_equal(cached: Pipeline, docs: Path, tmp_path: Path) -> None:
    cached.ask(PRICE_QUESTION)
    assert not is_cached(cached.ask(PRICE_QUESTION, k=1))
    assert not is_cached(cached.ask(PRICE_QUESTION, where=F("title") == "Heater"))
    assert is_cached(cached.ask(PRICE_QUESTION, where=F("title") == "Heater"))
    concise = GroundedGenerator(model=QuotingChat(), prompt="concise", fallback=None)
    with cached.replace(generator=concise) as concise_pipeline:
        assert not is_cached(concise_pipeline.ask(PRICE_QUESTION))
    with cached.with_namespace("other") as namesake:
        namesake.ingest(docs)
        assert not is_cached(namesake.ask(PRICE_QUESTION))


def test_an_edited_prompt_template_forgets_the_answer(
    cached: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached.ask(PRICE_QUESTION)
    folder = tmp_path / "prompts"
    folder.mkdir()
    monkeypatch.setenv("RAG_PROMPTS", str(folder))
    assert is_cached(cached.ask(PRICE_QUESTION))
    (folder / "mine.md").write_text(
        "---\nversion: 1\ninputs: [question]\n---\n## user\n{{ question }}\n"
    )
    assert not is_cached(cached.ask(PRICE_QUESTION))


def test_abstentions_follow_ups_and_answers_of_today_are_not_cached(
    cached: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cached.ask("Who founded the company?").status == "abstained"
    assert not is_cached(cached.ask("Who founded the company?"))
    history = [Message(role="user", content="heater"), Message(role="assistant", content="yes")]
    cached.ask(PRICE_QUESTION)
    assert not is_cached(cached.ask(PRICE_QUESTION, history=history))
    question = "What does the heater cost today?"
    cached.ask(question)
    assert is_cached(cached.ask(question))

    class Tomorrow(cache_module.datetime.date):
        @classmethod
        def today(cls) -> Tomorrow:
            return cls(2100, 1, 1)

    monkeypatch.setattr(cache_module.datetime, "date", Tomorrow)
    assert not is_cached(cached.ask(question))
    assert is_cached(cached.ask(PRICE_QUESTION))


def test_the_oldest_answers_leave_a_full_cache(tmp_path: Path, docs: Path) -> None:
    with make_pipeline(tmp_path / "index", answer_cache=AnswerCache(answers=2)) as pipeline:
        pipeline.ingest(docs)
        questions = [f"What does the heater cost, line {i}?" for i in range(3)]
        for question in questions:
            pipeline.ask(question)
        assert [is_cached(pipeline.ask(question)) for question in questions[1:]] == [True, True]
        assert not is_cached(pipeline.ask(questions[0]))


def test_old_answers_expire(tmp_path: Path, docs: Path) -> None:
    with make_pipeline(tmp_path / "index", answer_cache=AnswerCache(days=1e-9)) as pipeline:
        pipeline.ingest(docs)
        pipeline.ask(PRICE_QUESTION)
        assert not is_cached(pipeline.ask(PRICE_QUESTION))


def test_a_damaged_cache_is_reported_and_begins_anew(
    cached: Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "index" / ANSWER_CACHE_FILE).write_bytes(b"no database" * 100)
    with caplog.at_level(logging.WARNING):
        assert cached.ask(PRICE_QUESTION).text == "The heater costs 450 euros [1]."
    assert "answer cache" in caplog.text
    cached.ask(PRICE_QUESTION)
    assert is_cached(cached.ask(PRICE_QUESTION)), "it begins anew"


def test_only_the_owner_can_read_the_cache(cached: Pipeline, tmp_path: Path) -> None:
    cached.ask(PRICE_QUESTION)
    mode = (tmp_path / "index" / ANSWER_CACHE_FILE).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_yaml_file_turns_the_cache_on(tmp_path: Path) -> None:
    assert Pipeline.from_yaml("answer_cache: true").answer_cache == AnswerCache()
    assert Pipeline.from_yaml("answer_cache: {days: 7}").answer_cache == AnswerCache(days=7)
    assert Pipeline.from_yaml("answer_cache: false").answer_cache is None
    assert Pipeline().answer_cache is None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(100, 104)),
        st.tuples(st.just("delete"), st.just(0)),
        st.tuples(st.just("sync"), st.just(0)),
        st.tuples(st.just("reopen"), st.just(0)),
        st.tuples(st.just("ask"), st.sampled_from([0, 1])),
    ),
    max_size=14,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_no_answer_is_of_a_version_that_is_gone(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    docs = folder / "docs"
    docs.mkdir()
    (docs / "office.md").write_text("# Office\n\nThe office opens at 8.\n")
    pipeline = make_pipeline(folder / "index")
    pipeline.ingest(docs)
    indexed_price: int | None = None
    price: int | None = None
    for action, value in steps:
        if action == "write":
            write_price(docs, price := value)
        elif action == "delete":
            (docs / "heater.md").unlink(missing_ok=True)
            price = None
        elif action == "sync":
            pipeline.ingest(docs)
            indexed_price = price
        elif action == "reopen":  # as after a crash: the old one is not closed
            pipeline = make_pipeline(folder / "index")
        else:
            answer = pipeline.ask((PRICE_QUESTION, SAME_QUESTION)[value])
            if indexed_price is None:
                assert answer.status == "abstained"
            else:
                assert answer.text == f"The heater costs {indexed_price} euros [1]."
                assert all(citation.verified for citation in answer.citations)
    pipeline.close()


def ingest(index: Path, docs: Path) -> None:
    with make_pipeline(index, processes=0) as pipeline:
        pipeline.ingest(docs)


@pytest.mark.slow
def test_a_killed_sync_leaves_no_answer_of_a_version_that_is_gone(
    tmp_path: Path, docs: Path
) -> None:
    index = tmp_path / "index"
    ingest(index, docs)
    for step in range(1, 90, 3):
        with make_pipeline(index) as pipeline:
            pipeline.ask(PRICE_QUESTION)
        write_price(docs, 500 + step)
        died = kill_at(step, ingest, index, docs)
        with make_pipeline(index) as pipeline:
            stored = pipeline.document(docs / "heater.md").text
            answer = pipeline.ask(PRICE_QUESTION)
            assert answer.text.removesuffix(" [1].") in stored
            pipeline.ingest(docs)
            assert pipeline.ask(PRICE_QUESTION).text == f"The heater costs {500 + step} euros [1]."
        if not died:
            break
    else:
        raise AssertionError("the sync has more steps than were tried")
