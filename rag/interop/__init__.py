"""citewell in its ecosystem: parts of LangChain and LlamaIndex in ours, and ours in theirs.

Their objects can be given wherever a part is wanted; the classes here are what they become:

    Pipeline(embedder=HuggingFaceEmbeddings(...), retriever=their_vector_store)
"""
