"""Topics, map, duplicates, outliers and similar documents of a collection."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag import Pipeline
from rag.corpus_analysis import (
    DocumentVectors,
    find_distinctive_terms,
    find_duplicates,
    find_outliers,
    find_topics,
    load_document_vectors,
)
from rag.corpus_map import draw_map, project_to_plane
from rag.errors import DocumentNotFound, QueryError
from rag.index import Index

SUBJECTS = {
    "bird": "The gull and the tern feed on fish along the coast and nest on cliffs in spring.",
    "engine": "The engine burns fuel in its cylinders, and the piston turns the crankshaft.",
    "law": "The court ruled that the contract was void and the plaintiff was owed damages.",
}
HOSTILE = '</script><script>alert(1)</script> $x^2$ "quoted" & <b>bold</b>'


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("docs")
    for subject, text in SUBJECTS.items():
        for i in range(8):
            words = text.split()
            variant = " ".join(words[i % 3 :] + words[: i % 3]) + f" Case {subject} {i}."
            (folder / f"{subject}{i}.md").write_text(f"---\ntitle: {subject} {i}\n---\n{variant}")
    (folder / "odd.md").write_text(f"---\ntitle: '{HOSTILE}'\n---\nZwölf Boxkämpfer jagen Viktor.")
    (folder / "copy.md").write_text(SUBJECTS["bird"] + " Case bird 0.")
    with Pipeline(index=tmp_path_factory.mktemp("i") / "i") as pipeline:
        pipeline.ingest(folder)
        yield pipeline.open()


def stems(uris: list[str]) -> list[str]:
    return [re.sub(r"\d+$", "", Path(uri).stem) for uri in uris]


def test_topics_group_documents_by_subject(index: Index) -> None:
    documents = load_document_vectors(index)
    assert len(documents.uris) == 26
    assert np.allclose(np.linalg.norm(documents.vectors, axis=1), 1, atol=1e-5)
    topics = find_topics(index, documents, count=4)
    assert sorted(i for topic in topics for i in topic.documents) == list(range(26))
    assert [len(topic.documents) for topic in topics] == sorted(
        (len(topic.documents) for topic in topics), reverse=True
    )
    for topic in topics[:3]:
        kinds = Counter(stems([documents.uris[i] for i in topic.documents]))
        assert len(kinds - Counter(["copy", "odd"])) == 1
    bird = next(t for t in topics if "gull" in t.terms)
    assert "the" not in bird.terms


def test_common_words_rank_last_in_any_language() -> None:
    groups = [
        [Counter({"und": 9, "katze": 1})] * 12,
        [Counter({"und": 9, "hund": 1})] * 12,
    ]
    assert [terms[0] for terms in find_distinctive_terms(groups)] == ["katze", "hund"]


def test_duplicates_are_found_with_their_share(index: Index) -> None:
    pairs = find_duplicates(index, shared=0.9)
    assert {tuple(sorted(stems([p.first_uri, p.second_uri]))) for p in pairs} >= {("bird", "copy")}
    assert all(0.9 <= pair.shared <= 1 for pair in pairs)
    assert not any("law" in p.first_uri and "bird" in p.second_uri for p in pairs)
    assert [p.shared for p in pairs] == sorted((p.shared for p in pairs), reverse=True)


def test_outliers_are_sorted_by_similarity(index: Index) -> None:
    ranking = find_outliers(load_document_vectors(index), count=3)
    assert ranking[0][0].endswith("odd.md")
    assert [similarity for _, similarity in ranking] == sorted(s for _, s in ranking)


def test_more_like_returns_one_hit_per_document(index: Index, tmp_path: Path) -> None:
    from rag.corpus_analysis import more_like

    uri = next(u for u in load_document_vectors(index).uris if u.endswith("bird0.md"))
    hits = more_like(index, uri, k=8)
    assert uri not in {hit.chunk.uri for hit in hits}
    assert len({hit.chunk.uri for hit in hits}) == 8
    assert set(stems([hit.chunk.uri for hit in hits])) == {"bird", "copy"}
    assert len(more_like(index, uri, k=1_000)) == 25
    assert len(more_like(index, uri, k=9, where={"title": "law 1"})) == 1
    with pytest.raises(DocumentNotFound):
        more_like(index, "file:///none")


def test_map_is_self_contained_and_reproducible(index: Index, tmp_path: Path) -> None:
    page, picture = tmp_path / "map.html", tmp_path / "map.png"
    corpus_map = draw_map(index, to_html=page, to_png=picture, count=3)
    assert corpus_map.positions.shape == (26, 2)
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 1  # no title closes the script
    assert "alert(1)" in text and "<script>alert" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    second_map = draw_map(index, to_html=tmp_path / "again.html", to_png=None, count=3)
    assert np.allclose(second_map.positions, corpus_map.positions)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5_001])
def test_projection_works_for_few_and_many_documents(count: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(count, 16)).astype(np.float32)
    names = tuple(str(i) for i in range(count))
    positions = project_to_plane(DocumentVectors(names, names, vectors))
    assert positions.shape == (count, 2)
    assert np.isfinite(positions).all()


def test_empty_index_has_no_topics_or_outliers(tmp_path: Path) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        (tmp_path / "none").mkdir()
        pipeline.ingest(tmp_path / "none")
        empty_index = pipeline.open()
        documents = load_document_vectors(empty_index)
        assert find_outliers(documents) == [] and find_topics(empty_index, documents) == []
        with pytest.raises(QueryError, match="no documents"):
            draw_map(empty_index, to_html=tmp_path / "m.html", to_png=None)


def test_commands_print_and_write_results(
    rag: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    (folder / "copy.txt").write_text((folder / "notes.txt").read_text(encoding="utf-8"))
    rag("ingest", folder)
    map_result = rag("map", "-o", "m.html")
    assert map_result.code == 0 and "Written to m.html and m.png" in map_result.out
    assert (tmp_path / "m.png").is_file()
    pairs = rag("duplicates", "--json").json["pairs"]
    assert [pair["shared"] for pair in pairs] == [1.0]
    assert len(rag("outliers", "-k", "2", "--json").json["documents"]) == 2
    hits = rag("similar", folder / "notes.txt", "-k", "1", "--json").json["hits"]
    assert hits[0]["chunk"]["uri"].endswith("copy.txt")
    assert rag("similar", folder / "none.txt").code == 1
    assert rag("map", "-o", "m.png").code == 2
    assert "no such folder" in rag("map", "-o", "none/m.html").err
    embedders = rag("embedders", "--json").json["embedders"]
    assert {"static", "openai", "cohere", "onnx"} <= {entry["name"] for entry in embedders}
    listing = rag("embedders").out
    assert "text-embedding-3-small" in listing
    assert "\npresets  " in listing and "\n  e5-small-v2 " in listing
    (preset,) = [p for p in rag("embedders", "--json").json["presets"] if p["name"] == "e5-base-v2"]
    assert (preset["model"], preset["dimension"]) == ("intfloat/e5-base-v2", 768)
