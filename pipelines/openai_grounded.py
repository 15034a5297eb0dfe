"""Answers written by a chat model behind OpenAI's API, every sentence checked.

    export OPENAI_API_KEY=...                              # or a server of your own:
    export OPENAI_BASE_URL=http://127.0.0.1:8080/v1
    rag ingest your/folder
    rag ask "..." -p pipelines.openai_grounded:pipeline

Needs the extra ``openai``. The model is named by ``RAG_MODEL``.
"""

from __future__ import annotations

import os

from rag import GroundedGenerator, LexicalVerifier, OpenAIChat, Pipeline

pipeline = Pipeline(
    generator=GroundedGenerator(
        model=OpenAIChat(model=os.environ.get("RAG_MODEL", "gpt-4.1-mini")),
        verifier=LexicalVerifier(),
        budget=3_000,
    ),
)
