"""The contracts of chunkers, embedders, verifiers and chat models find broken parts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ConfigDict, Field, PrivateAttr

from rag import Chunk, Chunker, Document, HeadingChunker, LexicalVerifier, Message, StaticEmbedder
from rag.chunking.base import TokenCounter
from rag.component import Component
from rag.llm import Completion, Delta
from rag.testing import (
    ChatModelContract,
    ChunkerContract,
    EmbedderContract,
    ScriptedChat,
    VerifierContract,
    run_contract,
)

# Each broken part is in the list under the test that must fail, and derives from a good part.
BROKEN_PARTS: list[tuple[type, str, Callable[[], Component]]] = []


def breaks(contract: type, test: str, **settings: Any) -> Callable[[type], type]:
    """Note that parts of the decorated class must fail this test of the contract."""

    def note(part_class: type) -> type:
        BROKEN_PARTS.append((contract, test, lambda: part_class(**settings)))
        return part_class

    return note


# -- every component, shown with chunkers ------------------------------------------------------


@breaks(ChunkerContract, "test_settings_cannot_be_changed")
class ChangeableChunker(HeadingChunker):
    model_config = ConfigDict(frozen=False)


@breaks(ChunkerContract, "test_unknown_setting_is_refused")
class LenientChunker(HeadingChunker):
    model_config = ConfigDict(extra="ignore")


@breaks(ChunkerContract, "test_part_has_a_kind_a_name_and_a_revision")
class NamelessChunker(HeadingChunker):
    name: ClassVar[str] = "two words"


@breaks(ChunkerContract, "test_part_has_a_kind_a_name_and_a_revision")
class ChunkerWithoutItsMainSetting(HeadingChunker):
    main_setting: ClassVar[str] = "no_such_setting"


@breaks(ChunkerContract, "test_equal_settings_make_equal_parts")
class RandomChunker(HeadingChunker):
    seed: float = Field(default_factory=random.random)


@breaks(ChunkerContract, "test_json_configuration_restores_the_part", size=99)
@breaks(ChunkerContract, "test_yaml_configuration_restores_the_part", size=99)
class ForgetfulChunker(HeadingChunker):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "size": settings.get("size", 100) + 1})


@breaks(ChunkerContract, "test_fingerprint_is_the_same_in_another_process")
class ProcessDependentChunker(HeadingChunker):
    @property
    def fingerprint(self) -> str:
        return f"{hash('size')}"


@breaks(ChunkerContract, "test_pickle_restores_the_part")
@breaks(ChunkerContract, "test_deep_copy_is_equal")
class LockedChunker(HeadingChunker):
    _lock: Any = PrivateAttr(default_factory=Lock)


@breaks(ChunkerContract, "test_configuration_has_no_secret", api_key="x")
class LeakingChunker(HeadingChunker):
    api_key: str


# -- chunkers --------------------------------------------------------------------------------


class _EditedChunker(HeadingChunker):
    """Changes the chunks of the good chunker."""

    def split(self, document: Document, tokens: TokenCounter) -> list[Chunk]:
        return self.edit(super().split(document, tokens), document)

    def edit(self, chunks: list[Chunk], document: Document) -> list[Chunk]:
        raise NotImplementedError


def _with_ids(chunks: Sequence[Chunk], make_id: Callable[[int, Chunk], object]) -> list[Chunk]:
    return [c.model_copy(update={"id": str(make_id(i, c))}) for i, c in enumerate(chunks)]


@breaks(ChunkerContract, "test_offsets_are_exact")
class CollapsingChunker(_EditedChunker):
    def edit(self, chunks: list[Chunk], document: Document) -> list[Chunk]:
        return [c.model_copy(update={"text": " ".join(c.text.split())}) for c in chunks]


@breaks(ChunkerContract, "test_every_character_is_in_a_chunk")
class LossyChunker(_EditedChunker):
    def edit(self, chunks: list[Chunk], document: Document) -> list[Chunk]:
        return chunks[:-1]


@breaks(ChunkerContract, "test_chunks_are_in_the_order_of_the_text")
class ReversingChunker(_EditedChunker):
    def edit(self, chunks: list[Chunk], document: Document) -> list[Chunk]:
        return chunks[::-1]


@breaks(ChunkerContract, "test_blank_document_has_no_chunks")
@breaks(ChunkerContract, "test_chunks_fit_the_embedder")
class WholeChunker(_EditedChunker):
    def edit(self, chunks: list[Chunk], document: Document) -> list[Chunk]:
        end = len(document.text)
        return [Chunk(id="x", uri=document.uri, start=0, end=end, text=document.text)]


@breaks(ChunkerContract, "test_ids_are_unique")
class CountingChunker(_EditedChunker):
    def edit(self, chunks: list[Chunk], document: Document) -> list[Chunk]:
        return _with_ids(chunks, lambda i, _: f"{document.uri} {i}")


@breaks(ChunkerContract, "test_location_is_that_of_the_first_character")
class PagelessChunker(_EditedChunker):
    def edit(self, chunks: list[Chunk], document: Document) -> list[Chunk]:
        return [c.model_copy(update={"location": {}}) for c in chunks]


@breaks(ChunkerContract, "test_chunks_are_the_same_in_every_run")
class RandomIdChunker(_EditedChunker):
    def edit(self, chunks: list[Chunk], document: Document) -> list[Chunk]:
        return _with_ids(chunks, lambda *_: random.random())


@breaks(ChunkerContract, "test_chunks_are_the_same_in_another_process")
class HashIdChunker(_EditedChunker):
    def edit(self, chunks: list[Chunk], document: Document) -> list[Chunk]:
        return _with_ids(chunks, lambda _, c: hash((c.uri, c.text)))


# -- embedders -------------------------------------------------------------------------------


class _EditedEmbedder(StaticEmbedder):
    """Changes the vectors of the good embedder."""

    def embed_documents(self, texts: Sequence[str]) -> Any:
        return self.edit(super().embed_documents(texts), texts)

    def edit(self, vectors: Any, texts: Sequence[str]) -> Any:
        raise NotImplementedError


@breaks(EmbedderContract, "test_document_vectors_have_the_right_shape_and_type")
class DoubleEmbedder(_EditedEmbedder):
    def edit(self, vectors: Any, texts: Sequence[str]) -> Any:
        return vectors.astype(np.float64)


@breaks(EmbedderContract, "test_document_vectors_have_the_right_shape_and_type")
class EmbedderWithoutShape(_EditedEmbedder):
    def edit(self, vectors: Any, texts: Sequence[str]) -> Any:
        return vectors if texts else np.zeros(0, dtype=np.float32)


@breaks(EmbedderContract, "test_query_vector_has_the_right_shape_and_type")
class RowEmbedder(StaticEmbedder):
    def embed_query(self, text: str) -> Any:
        return self.embed_documents([text])


@breaks(EmbedderContract, "test_vectors_are_normalized")
class LongVectorEmbedder(_EditedEmbedder):
    def edit(self, vectors: Any, texts: Sequence[str]) -> Any:
        return vectors * 2


@breaks(EmbedderContract, "test_blank_text_gives_zeros")
class FillingEmbedder(_EditedEmbedder):
    def edit(self, vectors: Any, texts: Sequence[str]) -> Any:
        vectors[[not text.strip() for text in texts], 0] = 1
        return vectors


@breaks(EmbedderContract, "test_vector_does_not_depend_on_the_batch")
class CenteringEmbedder(_EditedEmbedder):
    def edit(self, vectors: Any, texts: Sequence[str]) -> Any:
        return vectors - vectors.mean(axis=0, keepdims=True)


@breaks(EmbedderContract, "test_vectors_are_the_same_in_every_run")
class NoisyEmbedder(_EditedEmbedder):
    def edit(self, vectors: Any, texts: Sequence[str]) -> Any:
        return vectors * np.float32(random.random())


@breaks(EmbedderContract, "test_vectors_are_the_same_in_another_process")
class HashEmbedder(_EditedEmbedder):
    def edit(self, vectors: Any, texts: Sequence[str]) -> Any:
        return np.roll(vectors, hash("seed") % 255 + 1, axis=1)


@breaks(EmbedderContract, "test_question_is_nearest_to_the_passage_that_answers_it")
class OppositeEmbedder(StaticEmbedder):
    def embed_query(self, text: str) -> Any:
        return -super().embed_query(text)


@breaks(EmbedderContract, "test_text_longer_than_the_limit_is_embedded_or_refused")
class ShortEmbedder(StaticEmbedder):
    def embed_documents(self, texts: Sequence[str]) -> Any:
        if any(len(text) > 100_000 for text in texts):
            raise ValueError("too long")
        return super().embed_documents(texts)


@breaks(EmbedderContract, "test_tokens_are_counted")
class PaddingEmbedder(StaticEmbedder):
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        counts = super().count_tokens(texts)
        return [max(counts)] * len(counts) if counts else []


@breaks(EmbedderContract, "test_properties_are_in_range")
class HeavyEmbedder(StaticEmbedder):
    def dense_weight(self, query: str) -> float:
        return 1.5


@breaks(EmbedderContract, "test_token_vectors_are_normalized_or_refused")
class LongTokenEmbedder(StaticEmbedder):
    def embed_tokens(self, texts: Sequence[str], side: Any) -> Any:
        return [2 * matrix for matrix in super().embed_tokens(texts, side)]


# -- verifiers -------------------------------------------------------------------------------


class _EditedVerifier(LexicalVerifier):
    """Changes the scores of the good verifier."""

    def scores(self, pairs: Sequence[tuple[str, str]]) -> Any:
        return self.edit(super().scores(pairs), pairs)

    def edit(self, scores: Any, pairs: Sequence[tuple[str, str]]) -> Any:
        raise NotImplementedError


@breaks(VerifierContract, "test_scores_have_the_right_shape_type_and_range")
class PercentVerifier(_EditedVerifier):
    def edit(self, scores: Any, pairs: Sequence[tuple[str, str]]) -> Any:
        return scores * 100


@breaks(VerifierContract, "test_no_pairs_have_no_scores")
class VerifierOfSomething(_EditedVerifier):
    def edit(self, scores: Any, pairs: Sequence[tuple[str, str]]) -> Any:
        return scores if pairs else np.zeros(1, dtype=np.float32)


@breaks(VerifierContract, "test_blank_texts_have_a_score")
class TrustingVerifier(_EditedVerifier):
    def edit(self, scores: Any, pairs: Sequence[tuple[str, str]]) -> Any:
        scores[[not passage.strip() for _, passage in pairs]] = 1
        return scores


@breaks(VerifierContract, "test_score_does_not_depend_on_other_pairs")
class RelativeVerifier(_EditedVerifier):
    def edit(self, scores: Any, pairs: Sequence[tuple[str, str]]) -> Any:
        return scores / max(1e-6, float(scores.max(initial=0)))


@breaks(VerifierContract, "test_scores_are_the_same_in_every_run")
class MoodyVerifier(_EditedVerifier):
    def edit(self, scores: Any, pairs: Sequence[tuple[str, str]]) -> Any:
        return scores * np.float32(random.random())


@breaks(VerifierContract, "test_scores_are_the_same_in_another_process")
class HashVerifier(_EditedVerifier):
    def edit(self, scores: Any, pairs: Sequence[tuple[str, str]]) -> Any:
        return np.full_like(scores, hash("seed") % 1_000 / 1_000)


@breaks(VerifierContract, "test_supported_claim_scores_higher")
@breaks(VerifierContract, "test_support_has_a_row_for_each_claim")
class IndifferentVerifier(_EditedVerifier):
    def edit(self, scores: Any, pairs: Sequence[tuple[str, str]]) -> Any:
        return np.full_like(scores, 0.9)

    def support(self, claims: Sequence[str], passages: Sequence[str]) -> Any:
        return super().support(claims, passages).T


@breaks(VerifierContract, "test_status_follows_the_thresholds", threshold=0.2, partial=0.8)
class SwappedVerifier(LexicalVerifier): ...


# -- chat models -----------------------------------------------------------------------------

REPLIES = ("Grass is green.",) * 50


@breaks(ChatModelContract, "test_complete_returns_a_completion", replies=REPLIES)
class WordlessChat(ScriptedChat):
    def complete(self, messages: Any, **options: Any) -> Completion:
        return super().complete(messages, **options)._replace(finish_reason="")


@breaks(ChatModelContract, "test_complete_and_stream_agree", replies=REPLIES)
class LoudChat(ScriptedChat):
    def _stream(self, messages: Any, **options: Any) -> Iterator[Delta]:
        completion = self._complete(messages, **options)
        loud = completion._replace(text=completion.text.upper())
        yield Delta(loud.text)
        yield Delta("", loud)


@breaks(ChatModelContract, "test_stream_ends_with_the_completion", replies=REPLIES)
@breaks(ChatModelContract, "test_async_methods_give_the_same_reply", replies=REPLIES)
class ForgetfulChat(ScriptedChat):
    def _stream(self, messages: Any, **options: Any) -> Iterator[Delta]:
        yield from list(super()._stream(messages, **options))[1:]


@breaks(ChatModelContract, "test_usage_is_recorded", replies=REPLIES)
@breaks(ChatModelContract, "test_cache_returns_the_reply_again", replies=REPLIES)
@breaks(ChatModelContract, "test_prices_give_the_cost", replies=REPLIES)
class UncountedChat(ScriptedChat):
    def complete(self, messages: Any, **options: Any) -> Completion:
        return self._complete(messages, schema=None, sources=())


@breaks(ChatModelContract, "test_hostile_messages_have_a_reply", replies=REPLIES)
class AsciiChat(ScriptedChat):
    def _complete(self, messages: Sequence[Message], **options: Any) -> Completion:
        messages[-1].content.encode("ascii")
        return super()._complete(messages, **options)


@breaks(ChatModelContract, "test_reply_is_the_same_in_every_call", replies=tuple("abcdefgh"))
class ChangingChat(ScriptedChat): ...


@breaks(ChatModelContract, "test_tokens_are_counted", replies=REPLIES)
@breaks(ChatModelContract, "test_properties_are_in_range", replies=REPLIES)
class CarelessChat(ScriptedChat):
    def count_tokens(self, text: str) -> int:
        return 1

    @property
    def context_tokens(self) -> int:
        return 100


class JsonContract(ChatModelContract):
    gives_json: ClassVar[bool] = True


@breaks(JsonContract, "test_reply_with_a_schema_is_json", replies=REPLIES)
class ProseChat(ScriptedChat): ...


def check_that_test_fails(
    contract: type, test: str, make_part: Callable[[], Any], **members: Any
) -> None:
    members = {"make_part": lambda self: make_part(), **members}
    errors = run_contract(type("Contract", (contract,), members), test)
    assert errors, f"{contract.__name__}.{test} accepts {type(make_part()).__name__}"


@pytest.mark.parametrize(
    ("contract", "test", "make_part"),
    BROKEN_PARTS,
    ids=[f"{type(make_part()).__name__}-{test}" for _, test, make_part in BROKEN_PARTS],
)
def test_broken_part_fails(contract: type, test: str, make_part: Callable[[], Component]) -> None:
    check_that_test_fails(contract, test, make_part)


def test_good_part_has_no_errors() -> None:
    class Contract(ChunkerContract):
        def make_part(self) -> Chunker:
            return HeadingChunker()

    assert run_contract(Contract) == {}
