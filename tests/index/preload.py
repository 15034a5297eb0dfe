"""Imported by the process that the children of `test_crashes` are forked from: what takes long."""

import chromadb  # noqa: F401
import tantivy  # noqa: F401

from rag import StaticEmbedder
from tests.index import test_crashes  # noqa: F401

StaticEmbedder().embed_query("Reads the vectors; starts no thread.")
