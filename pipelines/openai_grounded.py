"""Answers written by a chat model with an OpenAI-compatible API; every sentence is verified.

    export OPENAI_API_KEY=...                              # or your own server:
    export OPENAI_BASE_URL=http://127.0.0.1:8080/v1
    rag ingest your/folder
    rag ask "..." -p pipelines.openai_grounded:pipeline

Requires the extra ``openai``. The variable ``RAG_MODEL`` names the model.
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
