"""Presets: names of models with their prompts."""

from pathlib import Path

import pytest

from rag.component import build
from rag.embedding import Embedder
from rag.embedding.openai import OllamaEmbedder
from rag.embedding.presets import PRESETS
from rag.embedding.sentence_transformers import SentenceTransformerEmbedder
from rag.errors import UnknownComponent

DOCS = Path(__file__).parents[2] / "docs" / "retrieval.md"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_valid_embedder(name: str) -> None:
    embedder = build("embedder", name)
    assert isinstance(embedder, Embedder)
    assert embedder.name == PRESETS[name].embedder
    assert build("embedder", embedder.config()) == embedder


def test_a_preset_has_the_prompts_and_takes_settings() -> None:
    embedder = build("embedder", {"type": "E5-small-v2", "device": "cpu"})
    assert isinstance(embedder, SentenceTransformerEmbedder)
    assert (embedder.query_prompt, embedder.document_prompt) == ("query: ", "passage: ")
    assert (embedder.model, embedder.device) == ("intfloat/e5-small-v2", "cpu")
    other = build("embedder", {"type": "e5-small-v2", "query_prompt": "q: "})
    assert isinstance(other, SentenceTransformerEmbedder)
    assert (other.query_prompt, other.document_prompt) == ("q: ", "passage: ")
    ollama = build("embedder", "nomic-embed-text")
    assert isinstance(ollama, OllamaEmbedder)
    assert (ollama.limit, ollama.document_prompt) == (2048, "search_document: ")


def test_an_unknown_name_is_no_preset() -> None:
    with pytest.raises(UnknownComponent, match=r"e5-smal-v2.* presets that `rag embedders` lists"):
        build("embedder", "e5-smal-v2")


def test_the_table_in_the_docs_lists_all_presets() -> None:
    rows = [line.split("|")[1:4] for line in DOCS.read_text().splitlines() if line[:3] == "| `"]
    listed = {cells[0].strip(" `"): cells[2].strip() for cells in rows}
    for name, preset in PRESETS.items():
        published = f"{preset.ndcg:g}" if preset.ndcg else "–"
        assert listed[name] == published, name
