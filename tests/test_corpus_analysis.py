"""A pile of documents: topics, map, doubles, what stands apart, what is alike."""

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
    draw,
    duplicates,
    outliers,
    pile,
    places,
    telling_terms,
    topics,
)
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
            varied = " ".join(words[i % 3 :] + words[: i % 3]) + f" Case {subject} {i}."
            (folder / f"{subject}{i}.md").write_text(f"---\ntitle: {subject} {i}\n---\n{varied}")
    (folder / "odd.md").write_text(f"---\ntitle: '{HOSTILE}'\n---\nZwölf Boxkämpfer jagen Viktor.")
    (folder / "copy.md").write_text(SUBJECTS["bird"] + " Case bird 0.")
    with Pipeline(index=tmp_path_factory.mktemp("i") / "i") as pipeline:
        pipeline.ingest(folder)
        yield pipeline.open()


def stems(uris: list[str]) -> list[str]:
    return [re.sub(r"\d+$", "", Path(uri).stem) for uri in uris]


def test_topics_are_what_the_documents_are_about(index: Index) -> None:
    documents = pile(index)
    assert len(documents.uris) == 26
    assert np.allclose(np.linalg.norm(documents.vectors, axis=1), 1, atol=1e-5)
    found = topics(index, documents, count=4)
    assert sorted(i for topic in found for i in topic.documents) == list(range(26))
    assert [len(topic.documents) for topic in found] == sorted(
        (len(topic.documents) for topic in found), reverse=True
    )
    for topic in found[:3]:
        kinds = Counter(stems([documents.uris[i] for i in topic.documents]))
        assert len(kinds - Counter(["copy", "odd"])) == 1
    bird = next(t for t in found if "gull" in t.terms)
    assert "the" not in bird.terms


def test_common_words_tell_nothing_in_any_language() -> None:
    groups = [
        [Counter({"und": 9, "katze": 1})] * 12,
        [Counter({"und": 9, "hund": 1})] * 12,
    ]
    assert [terms[0] for terms in telling_terms(groups)] == ["katze", "hund"]


def test_duplicates(index: Index) -> None:
    pairs = duplicates(index, shared=0.9)
    assert {tuple(sorted(stems([p.one, p.other]))) for p in pairs} >= {("bird", "copy")}
    assert all(0.9 <= pair.shared <= 1 for pair in pairs)
    assert not any("law" in p.one and "bird" in p.other for p in pairs)
    assert [p.shared for p in pairs] == sorted((p.shared for p in pairs), reverse=True)


def test_outliers(index: Index) -> None:
    found = outliers(pile(index), count=3)
    assert found[0][0].endswith("odd.md")
    assert [near for _, near in found] == sorted(near for _, near in found)


def test_more_like_this(index: Index, tmp_path: Path) -> None:
    from rag.corpus_analysis import more_like

    uri = next(u for u in pile(index).uris if u.endswith("bird0.md"))
    hits = more_like(index, uri, k=8)
    assert uri not in {hit.chunk.uri for hit in hits}
    assert len({hit.chunk.uri for hit in hits}) == 8
    assert set(stems([hit.chunk.uri for hit in hits])) == {"bird", "copy"}
    assert len(more_like(index, uri, k=1_000)) == 25
    assert len(more_like(index, uri, k=9, where={"title": "law 1"})) == 1
    with pytest.raises(DocumentNotFound):
        more_like(index, "file:///none")


def test_the_map(index: Index, tmp_path: Path) -> None:
    page, picture = tmp_path / "map.html", tmp_path / "map.png"
    drawn = draw(index, to_html=page, to_png=picture, count=3)
    assert drawn.spots.shape == (26, 2)
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 1  # no title ends ours
    assert "alert(1)" in text and "<script>alert" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    again = draw(index, to_html=tmp_path / "again.html", to_png=None, count=3)
    assert np.allclose(again.spots, drawn.spots)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5_001])
def test_places_of_few_and_many(count: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(count, 16)).astype(np.float32)
    names = tuple(str(i) for i in range(count))
    spots = places(DocumentVectors(names, names, vectors))
    assert spots.shape == (count, 2)
    assert np.isfinite(spots).all()


def test_an_empty_index(tmp_path: Path) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        (tmp_path / "none").mkdir()
        pipeline.ingest(tmp_path / "none")
        found = pipeline.open()
        assert outliers(pile(found)) == [] and topics(found, pile(found)) == []
        with pytest.raises(QueryError, match="no documents"):
            draw(found, to_html=tmp_path / "m.html", to_png=None)


def test_the_commands(rag: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    (folder / "copy.txt").write_text((folder / "notes.txt").read_text(encoding="utf-8"))
    rag("ingest", folder)
    mapped = rag("map", "-o", "m.html")
    assert mapped.code == 0 and "written to m.html and m.png" in mapped.out
    assert (tmp_path / "m.png").is_file()
    pairs = rag("duplicates", "--json").json["pairs"]
    assert [pair["shared"] for pair in pairs] == [1.0]
    assert len(rag("outliers", "-k", "2", "--json").json["documents"]) == 2
    hits = rag("similar", folder / "notes.txt", "-k", "1", "--json").json["hits"]
    assert hits[0]["chunk"]["uri"].endswith("copy.txt")
    assert rag("similar", folder / "none.txt").code == 1
    assert rag("map", "-o", "m.png").code == 2
    assert "no such folder" in rag("map", "-o", "none/m.html").err
    listed = rag("embedders", "--json").json["embedders"]
    assert {"static", "openai", "cohere", "onnx"} <= {each["name"] for each in listed}
    assert "text-embedding-3-small" in rag("embedders").out
