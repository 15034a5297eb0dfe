from __future__ import annotations

from pathlib import Path

import pytest

from rag import GroundedGenerator, Pipeline, ScriptedChat

QUESTION = "How long does a full battery last?"
REPLY = "A full battery lasts 34 minutes in calm air [1]."


@pytest.fixture
def filled_pipeline(pipeline: Pipeline, folder: Path) -> Pipeline:
    """A pipeline that has ingested the small folder."""
    pipeline.ingest(folder)
    return pipeline


def use_scripted_model(pipeline: Pipeline, *replies: str) -> Pipeline:
    """Return the pipeline with a chat model that gives these replies."""
    generator = GroundedGenerator(model=ScriptedChat(replies=replies))
    return pipeline.model_copy(update={"generator": generator})
