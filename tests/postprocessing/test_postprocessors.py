"""Postprocessors: what comes out is exact, in order, and of what went in."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag import Chunk, HeadingChunker, Hit, Pipeline
from rag.component import build, registered_names
from rag.errors import ConfigError
from rag.index import Index
from rag.postprocessing import (
    MMR,
    Deduplicate,
    ExpandContext,
    LostInTheMiddle,
    Postprocessor,
    Recency,
    ScoreThreshold,
)
from rag.retrieval import LateInteractionRetriever

GUIDE = "\n\n".join(
    f"# Part {part}\n\n"
    + " ".join(f"Sentence {i} of part {part} is about valves and pumps." for i in range(30))
    for part in range(4)
)
TEXTS = {
    "guide.md": GUIDE,
    "copy.md": GUIDE.replace("valves", "taps", 1),
    "battery.md": "The battery of the drone lasts 34 minutes in still air.",
    "camera.md": "The camera of the drone records video at sixty frames.",
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("docs")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    chunker = HeadingChunker(size=64, overlap=16, stretch=1)
    with Pipeline(index=tmp_path_factory.mktemp("i") / "i", chunker=chunker) as opened:
        opened.ingest(folder)
        yield opened


@pytest.fixture(scope="module")
def index(pipeline: Pipeline) -> Index:
    return pipeline.open()


@pytest.fixture(scope="module")
def hits(pipeline: Pipeline) -> list[Hit]:
    return pipeline.search("valves and pumps of the drone", k=30)


def make_hit(score: float, name: str = "x", **metadata: object) -> Hit:
    chunk = Chunk.model_validate(
        {"id": name, "uri": name, "start": 0, "end": 1, "text": "t", "metadata": metadata}
    )
    return Hit(chunk=chunk, score=score)


REFINERS = [
    MMR(),
    Deduplicate(),
    ExpandContext(),
    ExpandContext(around="section"),
    Recency(),
    LostInTheMiddle(),
    ScoreThreshold(share=0.5),
]


@pytest.mark.parametrize("postprocessor", REFINERS, ids=lambda r: f"{r.name}")
def test_what_holds_of_every_refiner(
    postprocessor: Postprocessor, hits: list[Hit], index: Index, pipeline: Pipeline
) -> None:
    assert postprocessor.process("q", [], index=index) == []
    once = postprocessor.process("valves", hits, index=index)
    assert once == postprocessor.process("valves", hits, index=index)
    assert len({hit.chunk.id for hit in once}) == len(once) <= len(hits)
    assert once[0].chunk.uri == hits[0].chunk.uri
    for hit in once:
        text = pipeline.document(hit.chunk.uri).text
        assert text[hit.chunk.start : hit.chunk.end] == hit.chunk.text
    assert build("postprocessor", postprocessor.config()) == postprocessor


def test_every_refiner_is_registered() -> None:
    assert {postprocessor.name for postprocessor in REFINERS} < set(
        registered_names("postprocessor")
    )


def nearness(hits: list[Hit], index: Index) -> float:
    vectors = index.vectors_of_chunks([hit.chunk for hit in hits])
    return float((vectors @ vectors.T).mean())


def test_diversity_puts_what_is_new_forward(pipeline: Pipeline, index: Index) -> None:
    hits = pipeline.search("valves and pumps", k=30)
    assert MMR(relevance=1).process("q", hits, index=index) == hits
    spread = MMR(relevance=0.3).process("q", hits, index=index)
    assert spread[0] == hits[0]
    assert nearness(spread[:4], index) < nearness(hits[:4], index)


def test_duplicates_are_dropped(hits: list[Hit], index: Index) -> None:
    distinct_hits = Deduplicate(threshold=0.9).process("q", hits, index=index)
    sections = {(hit.chunk.headings, hit.chunk.start // 2_000) for hit in hits}
    assert sections
    texts = [hit.chunk.text.replace("taps", "valves") for hit in distinct_hits]
    assert len(set(texts)) == len(texts) < len(hits)


def test_a_section_is_widened_to_all_of_it(hits: list[Hit], index: Index) -> None:
    first = [hit for hit in hits if hit.chunk.uri.endswith("guide.md")][:1]
    wide = (
        ExpandContext(around="section", characters=100_000)
        .process("q", first, index=index)[0]
        .chunk
    )
    assert wide.text.count("Sentence") == 30
    assert wide.headings == first[0].chunk.headings
    assert first[0].chunk.text in wide.text
    bounded = (
        ExpandContext(around="section", characters=600).process("q", first, index=index)[0].chunk
    )
    assert len(first[0].chunk.text) < len(bounded.text) <= 600


def test_hits_that_meet_become_one(hits: list[Hit], index: Index) -> None:
    wide = ExpandContext(neighbours=3, characters=100_000).process("q", hits, index=index)
    assert len(wide) < len(hits)
    spans = sorted((h.chunk.uri, h.chunk.start, h.chunk.end) for h in wide)
    for (uri, _, end), (next_uri, start, _) in zip(spans, spans[1:], strict=False):
        assert uri != next_uri or end < start
    assert [h.score for h in wide] == sorted((h.score for h in wide), reverse=True)


def test_what_was_deleted_meanwhile_is_left_as_it_is_or_out(index: Index) -> None:
    assert ExpandContext().process("q", [make_hit(1.0, "gone")], index=index) == [
        make_hit(1.0, "gone")
    ]


def test_newer_counts_more(index: Index) -> None:
    today = datetime.date(2026, 1, 1)
    recency = Recency(half_life=365, share=1, today=today)
    ranked = recency.process(
        "q",
        [
            make_hit(1.0, "old", date="2024-01-02"),
            make_hit(0.9, "new", date="2026-01-01T08:00:00Z"),
            make_hit(0.8, "none"),
            make_hit(0.8, "odd", date="yesterday"),
            make_hit(0.7, "ahead", date="2027-01-01"),
            make_hit(0.1, "year", date=2025),
        ],
        index=index,
    )
    assert [hit.chunk.uri for hit in ranked] == ["new", "ahead", "none", "odd", "old", "year"]
    assert ranked[0].score == pytest.approx(0.9)
    assert ranked[4].score == pytest.approx(0.25, abs=0.001)
    assert ranked[0].stage_scores["recency"].rank == 1


def test_newer_counts_more_below_zero_too(index: Index) -> None:
    recency = Recency(share=0.5, today=datetime.date(2026, 1, 1))
    hits = [make_hit(-2.0, "new", date="2025-12-31"), make_hit(-2.5, "old", date="2010-01")]
    assert [hit.chunk.uri for hit in recency.process("q", hits, index=index)] == ["new", "old"]


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 6)).map(
            lambda t: (t[0] * 30, t[0] * 30 + t[1] * 30)
        ),
        max_size=8,
    ),
    st.integers(1, 400),
)
def test_stretches_that_meet_are_joined(spans: list[tuple[int, int]], most: int) -> None:
    wide: list[tuple[Hit, int, int]] = []
    for start, end in spans:
        ExpandContext(characters=most)._merge_span(wide, make_hit(1.0), start, end)
    for i, (_, a, b) in enumerate(wide):
        for _, c, d in wide[i + 1 :]:
            if a <= d and c <= b:
                assert max(b, d) - min(a, c) > most
                assert not (a <= c and d <= b) and not (c <= a and b <= d)
    covered = {x for a, b in spans for x in range(a, b)}
    assert {x for _, a, b in wide for x in range(a, b)} == covered


def test_texts_of_signs_alone_are_told_apart(index: Index) -> None:
    hits = [
        make_hit(1.0, name).model_copy(
            update={"chunk": make_hit(1.0, name).chunk.model_copy(update={"text": text})}
        )
        for name, text in (("a", "!!!"), ("b", "∑ ≤ ∞"), ("c", "!!!"))
    ]
    assert len(Deduplicate().process("q", hits, index=index)) == 2


@given(st.lists(st.floats(-5, 5), max_size=9))
@settings(max_examples=50)
def test_the_best_are_at_the_edges(scores: list[float]) -> None:
    hits = [make_hit(s, str(i)) for i, s in enumerate(sorted(scores, reverse=True))]
    order = LostInTheMiddle().process("q", hits, index=None)  # type: ignore[arg-type]
    assert sorted(h.chunk.id for h in order) == sorted(h.chunk.id for h in hits)
    if len(hits) > 2:
        assert (order[0], order[-1]) == (hits[0], hits[1])


def test_thresholds(index: Index) -> None:
    hits = [make_hit(2.0, "a"), make_hit(1.0, "b"), make_hit(-1.0, "c")]
    assert len(ScoreThreshold(least=0).process("q", hits, index=index)) == 2
    assert len(ScoreThreshold(share=0.6).process("q", hits, index=index)) == 1
    with pytest.raises(ConfigError, match="needs `least` or `share`"):
        build("postprocessor", "score-threshold")
    below = [make_hit(-1.0, "a"), make_hit(-2.0, "b")]
    assert ScoreThreshold(share=0.5).process("q", below, index=index) == below[:1]


def test_refiners_that_want_more_get_more(pipeline: Pipeline) -> None:
    with pytest.raises(ConfigError, match="lost-in-the-middle must be the last"):
        Pipeline.from_yaml("postprocessors: [lost-in-the-middle, deduplicate]")
    assert Pipeline.from_yaml("postprocessors: {type: deduplicate}").postprocessors == (
        Deduplicate(),
    )
    with pipeline.model_copy(
        update={"postprocessors": (Deduplicate(), LostInTheMiddle())}
    ) as changed:
        hits = changed.search("valves and pumps", k=5)
        assert len(hits) == 5
        texts = {hit.chunk.text.replace("taps", "valves") for hit in hits}
        assert len(texts) == 5


def test_late_interaction(pipeline: Pipeline, index: Index) -> None:
    retriever = LateInteractionRetriever(weight=1)
    hits = retriever.retrieve("drone battery minutes", k=3, index=index)
    assert hits[0].chunk.uri.endswith("battery.md")
    assert hits[0].score == 1.0
    assert hits[0].stage_scores.keys() >= {"late-interaction"}
    assert retriever.retrieve("?!", k=3, index=index) == []
    assert build("retriever", retriever.config()) == retriever
