"""Our other parts keep their contracts, and the suites need neither pytest nor `evals` to import."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

import rag.testing
from evals.metrics import Metric, all_metrics
from rag import (
    ChatModel,
    Chunker,
    DenseRetriever,
    Embedder,
    ExtractiveGenerator,
    Generator,
    GroundedGenerator,
    HeadingChunker,
    HybridRetriever,
    LexicalRetriever,
    LexicalVerifier,
    LlmVerifier,
    Message,
    Postprocessor,
    Retriever,
    StaticEmbedder,
    Usage,
    Verifier,
)
from rag.chunking.base import TokenCounter
from rag.embedding import OnnxEmbedder, WordVectorEmbedder
from rag.llm import Completion
from rag.postprocessing import (
    MMR,
    Deduplicate,
    ExpandContext,
    LlmReranker,
    LostInTheMiddle,
    OnnxReranker,
    Recency,
    ScoreThreshold,
)
from rag.retrieval import (
    CarryOver,
    Decompose,
    HyDE,
    LateInteractionRetriever,
    MultiQuery,
    QueryTransform,
    Rewrite,
    SelfQuery,
    StepBack,
)
from rag.testing import (
    ChatModelContract,
    ChunkerContract,
    EmbedderContract,
    GeneratorContract,
    MetricContract,
    PostprocessorContract,
    RetrieverContract,
    ScriptedChat,
    TransformContract,
    VerifierContract,
)
from rag.verification import OnnxNliVerifier
from tests.embedding import model_fixtures


class GradingChat(ChatModel):
    """Says that a claim is supported if it is in the prompt twice, and gives good grades."""

    name: ClassVar[str] = "grading"

    def _complete(self, messages: Sequence[Message], **_: Any) -> Completion:
        passage, _, claim = messages[-1].content.rpartition("Claim: ")
        verdict = "supported" if claim.strip() and claim.strip() in passage else "unsupported"
        text = f'{{"verdict": "{verdict}", "reason": "It reads well.", "grade": 4}}'
        return Completion(text, Usage(input_tokens=9, output_tokens=9))


def make_chat(reply: str) -> ScriptedChat:
    return ScriptedChat(replies=(reply,) * 1_000)


class TestChunkers(ChunkerContract):
    @pytest.fixture(
        autouse=True,
        params=[
            HeadingChunker(),
            HeadingChunker(size=64, overlap=16),
            HeadingChunker(with_context=False, overlap=0),
        ],
        ids=["default", "small", "without context"],
    )
    def _choose_chunker(self, request: pytest.FixtureRequest) -> None:
        self.chunker: Chunker = request.param

    def make_part(self) -> Chunker:
        return self.chunker


class TestChunkerWithARealTokenizer(ChunkerContract):
    def make_part(self) -> Chunker:
        return HeadingChunker()

    def make_token_counter(self, max_tokens: int) -> TokenCounter:
        class LimitedCounter:
            def __init__(self) -> None:
                self.max_tokens = max_tokens

            def count_tokens(self, texts: Sequence[str]) -> list[int]:
                return StaticEmbedder().count_tokens(texts)

        return LimitedCounter()


class TestStaticEmbedder(EmbedderContract):
    @pytest.fixture(autouse=True, params=[None, 64], ids=["all dimensions", "64 dimensions"])
    def _choose_dimensions(self, request: pytest.FixtureRequest) -> None:
        self.dimensions: int | None = request.param

    def make_part(self) -> Embedder:
        return StaticEmbedder(dimensions=self.dimensions)


class TestOnnxEmbedder(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _make_model(self, tmp_path: Path) -> None:
        self.folder = model_fixtures.bi_encoder(tmp_path / "model")

    def make_part(self) -> Embedder:
        return OnnxEmbedder(model=str(self.folder), batch=3)

    def related_texts(self) -> tuple[str, str, str]:
        return "a c d", "b c d", "m n o p"


class TestWordVectorEmbedder(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _write_vectors(self, tmp_path: Path) -> None:
        self.path = tmp_path / "vectors.txt"
        rows = ["battery 1 0 0", "minutes .9 .1 0", "pump .1 1 0", "cake 0 0 1", "flour .1 0 1"]
        self.path.write_text("\n".join(rows) + "\n")

    def make_part(self) -> Embedder:
        return WordVectorEmbedder(path=self.path)


class TestScriptedChat(ChatModelContract):
    gives_json = True

    @pytest.fixture(autouse=True, params=['{"colour": "green"}', "12"], ids=["words", "one word"])
    def _choose_reply(self, request: pytest.FixtureRequest) -> None:
        self.reply: str = request.param

    def make_part(self) -> ChatModel:
        return make_chat(self.reply)


class TestGradingChat(ChatModelContract):
    gives_json = True

    def make_part(self) -> ChatModel:
        return GradingChat()


class TestVerifiers(VerifierContract):
    @pytest.fixture(
        autouse=True,
        params=[LexicalVerifier(), LlmVerifier(model=GradingChat())],
        ids=["lexical", "llm"],
    )
    def _choose_verifier(self, request: pytest.FixtureRequest) -> None:
        self.verifier: Verifier = request.param

    def make_part(self) -> Verifier:
        return self.verifier


class TestOnnxNliVerifier(VerifierContract):
    @pytest.fixture(autouse=True)
    def _make_model(self, tmp_path: Path) -> None:
        self.folder = model_fixtures.nli(tmp_path / "model")

    def make_part(self) -> Verifier:
        return OnnxNliVerifier(model=str(self.folder), threads=1, batch=2)

    def supported_pair(self) -> tuple[str, str]:
        return "The dog is asleep.", "The dog is asleep in the kitchen."

    def unsupported_pair(self) -> tuple[str, str]:
        return "The dog is not asleep.", "The dog is asleep in the kitchen."


TRANSFORMS: list[tuple[type[QueryTransform], str]] = [
    (CarryOver, ""),
    (SelfQuery, ""),
    (Rewrite, "How long does it take to charge the battery?"),
    (MultiQuery, "1. battery charging time\n2. 'time to charge'\n\n- charge"),
    (HyDE, "Charging the battery takes an hour."),
    (StepBack, "How are batteries charged?"),
    (Decompose, "What is charged?\nHow long does it take?"),
]


class TestTransforms(TransformContract):
    @pytest.fixture(
        autouse=True, params=TRANSFORMS, ids=[transform.name for transform, _ in TRANSFORMS]
    )
    def _choose_transform(self, request: pytest.FixtureRequest) -> None:
        self.transform_class, self.reply = request.param

    def make_part(self) -> QueryTransform:
        settings = {"model": make_chat(self.reply)} if self.reply else {}
        transform: QueryTransform = self.transform_class(**settings)
        return transform


RETRIEVERS: list[Retriever] = [
    DenseRetriever(),
    LexicalRetriever(),
    LexicalRetriever(expand=10),
    HybridRetriever(),
    HybridRetriever(fusion="rrf", feedback=2),
    HybridRetriever(weight=1.0),
    LateInteractionRetriever(depth=3),
]


class TestRetrievers(RetrieverContract):
    @pytest.fixture(autouse=True, params=RETRIEVERS, ids=lambda retriever: retriever.name)
    def _choose_retriever(self, request: pytest.FixtureRequest) -> None:
        self.retriever: Retriever = request.param

    def make_part(self) -> Retriever:
        return self.retriever


POSTPROCESSORS: list[Postprocessor] = [
    MMR(),
    Deduplicate(),
    ExpandContext(),
    ExpandContext(around="section", characters=200),
    Recency(field="year", today=datetime.date(2024, 5, 1)),
    LostInTheMiddle(),
    ScoreThreshold(share=0.5),
    LlmReranker(model=make_chat("3 > 1 > 2")),
    LlmReranker(model=make_chat("7/10"), mode="pointwise"),
]


class TestPostprocessors(PostprocessorContract):
    @pytest.fixture(autouse=True, params=POSTPROCESSORS, ids=lambda part: part.name)
    def _choose_postprocessor(self, request: pytest.FixtureRequest) -> None:
        self.postprocessor: Postprocessor = request.param

    def make_part(self) -> Postprocessor:
        return type(self.postprocessor).from_config(self.postprocessor.config())


class TestOnnxReranker(PostprocessorContract):
    @pytest.fixture(autouse=True)
    def _make_model(self, tmp_path: Path) -> None:
        self.folder = model_fixtures.cross_encoder(tmp_path / "model")

    def make_part(self) -> Postprocessor:
        return OnnxReranker(model=str(self.folder))


class TestExtractiveGenerator(GeneratorContract):
    @pytest.fixture(autouse=True, params=[0.85, 0.0], ids=["default", "never abstains"])
    def _choose_threshold(self, request: pytest.FixtureRequest) -> None:
        self.threshold: float = request.param

    def make_part(self) -> Generator:
        return ExtractiveGenerator(threshold=self.threshold)


POLICIES = ("flag", "drop", "repair")
REPLIES = (
    "A full battery lasts 34 minutes in calm air [1]. Charging it takes 90 minutes [1].",
    "A full battery lasts 34 minutes [1]. Llamas from Peru invented it [2].",
    "A full battery lasts 34 minutes [99]. Charging takes 90 minutes.",
)


class TestGroundedGenerator(GeneratorContract):
    @pytest.fixture(autouse=True, params=list(zip(POLICIES, REPLIES, strict=True)), ids=POLICIES)
    def _choose_policy(self, request: pytest.FixtureRequest) -> None:
        self.policy: Any
        self.policy, self.reply = request.param

    def make_part(self) -> Generator:
        return GroundedGenerator(model=make_chat(self.reply), unsupported=self.policy)


class TestMetrics(MetricContract):
    @pytest.fixture(autouse=True, params=list(all_metrics()))
    def _choose_metric(self, request: pytest.FixtureRequest) -> None:
        self.metric = all_metrics()[request.param]

    def make_part(self) -> Metric:
        return self.metric

    def make_judge_model(self) -> ChatModel | None:
        return GradingChat() if "judge" in self.metric.needs else None


def test_import_loads_neither_pytest_nor_evals() -> None:
    code = (
        "import sys, rag.testing\n"
        "packages = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(packages & {'evals', 'pytest', '_pytest', 'chromadb'}))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.strip() == "[]", process.stdout + process.stderr


def test_public_names_exist() -> None:
    assert len(set(rag.testing.__all__)) == len(rag.testing.__all__)
    for name in rag.testing.__all__:
        assert hasattr(rag.testing, name), name
