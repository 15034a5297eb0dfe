"""Adapters and exports: LangChain's and LlamaIndex's objects as our parts, and ours as theirs.

An object of either framework can be given wherever a part is expected; it is wrapped in an
adapter:

    Pipeline(embedder=HuggingFaceEmbeddings(...), retriever=their_vector_store)
"""
