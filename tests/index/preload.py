"""Slow imports, for the fork server of the child processes of `test_crashes`."""

import chromadb  # noqa: F401
import tantivy  # noqa: F401

from rag import StaticEmbedder
from tests.index import test_crashes  # noqa: F401

StaticEmbedder().embed_query("Loads the vectors; starts no thread.")
