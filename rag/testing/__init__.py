"""Contract suites: one class of tests for every kind of part, for your parts and for ours.

    from rag import Chunker, HeadingChunker
    from rag.testing import ChunkerContract

    class TestMyChunker(ChunkerContract):
        def make_part(self) -> Chunker:
            return HeadingChunker(size=200)

pytest collects the inherited tests. `run_contract` runs them without pytest. The package imports
neither pytest nor `evals` until a test needs them. Call
``pytest.register_assert_rewrite("rag.testing")`` in ``conftest.py`` for more details of failures.
"""

from rag.llm.scripted import ScriptedChat
from rag.testing.base import PartContract, run_contract
from rag.testing.calls import call_from_threads, call_in_other_process
from rag.testing.chat_model import ChatModelContract
from rag.testing.chunker import ChunkerContract
from rag.testing.connector import ConnectorContract, DigestParser
from rag.testing.document_store import DocumentStoreContract
from rag.testing.embedder import EmbedderContract
from rag.testing.generator import GeneratorContract
from rag.testing.index import IndexContract
from rag.testing.metric import MetricContract, make_sample_answers
from rag.testing.model_server import SHAPES, ModelServer, Shape
from rag.testing.parser import ParserContract
from rag.testing.postprocessor import PostprocessorContract
from rag.testing.retriever import RetrieverContract
from rag.testing.samples import (
    BLANK_TEXTS,
    HOSTILE_TEXTS,
    InMemoryConnector,
    WordPieceCounter,
    make_hostile_documents,
    make_sample_documents,
    open_sample_index,
)
from rag.testing.stores import LexicalIndexContract, VectorStoreContract
from rag.testing.transform import TransformContract
from rag.testing.verifier import VerifierContract

__all__ = [
    "BLANK_TEXTS",
    "HOSTILE_TEXTS",
    "SHAPES",
    "ChatModelContract",
    "ChunkerContract",
    "ConnectorContract",
    "DigestParser",
    "DocumentStoreContract",
    "EmbedderContract",
    "GeneratorContract",
    "InMemoryConnector",
    "IndexContract",
    "LexicalIndexContract",
    "MetricContract",
    "ModelServer",
    "ParserContract",
    "PartContract",
    "PostprocessorContract",
    "RetrieverContract",
    "ScriptedChat",
    "Shape",
    "TransformContract",
    "VectorStoreContract",
    "VerifierContract",
    "WordPieceCounter",
    "call_from_threads",
    "call_in_other_process",
    "make_hostile_documents",
    "make_sample_answers",
    "make_sample_documents",
    "open_sample_index",
    "run_contract",
]
