import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from pydantic import Field, SecretStr, ValidationError

from rag import HeadingChunker, HybridRetriever, OpenAIChat, Pipeline, StaticEmbedder
from rag.component import (
    KINDS,
    Component,
    NotFingerprinted,
    build,
    component_class,
    registered_names,
)
from rag.errors import ConfigError, UnknownComponent


class Part(Component):
    kind: ClassVar[str] = "chunker"
    name: ClassVar[str] = "part"

    size: int = Field(3, ge=1)
    batch: Annotated[int, NotFingerprinted] = 10
    key: SecretStr | None = None


class WithSet(Component):
    kind: ClassVar[str] = "chunker"
    name: ClassVar[str] = "with-set"

    tags: frozenset[str]


def test_fingerprint_depends_only_on_fields_that_change_the_output() -> None:
    part = Part()
    assert part.fingerprint == Part(size=3).fingerprint
    assert part.fingerprint != Part(size=4).fingerprint
    assert part.fingerprint == Part(batch=99).fingerprint
    assert part.fingerprint == Part(key=SecretStr("secret")).fingerprint


def test_fingerprint_changes_with_the_revision() -> None:
    class Newer(Part):
        name: ClassVar[str] = "part"
        revision: ClassVar[int] = 2

    assert Newer().fingerprint != Part().fingerprint


def test_fingerprint_of_a_changed_copy_is_computed_again() -> None:
    part = Part()
    before = part.fingerprint
    assert part.model_copy(update={"size": 4}).fingerprint == Part(size=4).fingerprint != before


def test_fingerprint_is_stable_across_versions_of_the_code() -> None:
    # If this fails, every existing index is rebuilt: raise `revision` if that is intended.
    assert StaticEmbedder().fingerprint == "8391092afe805838"


def test_not_fingerprinted_fields_of_nested_components_are_ignored() -> None:
    def pipeline(timeout: float) -> Pipeline:
        chat = OpenAIChat(model="m", timeout=timeout)
        return Pipeline(generator={"type": "grounded", "model": chat})  # type: ignore[arg-type]

    assert pipeline(1).fingerprint == pipeline(2).fingerprint


def test_fingerprint_of_a_set_does_not_depend_on_the_hash_seed() -> None:
    code = "from tests.test_component import WithSet; print(WithSet(tags=frozenset('abcdefgh')).fingerprint)"
    root = Path(__file__).parent.parent
    prints = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=root,
            check=True,
            capture_output=True,
        ).stdout
        for seed in "123"
    }
    assert len(prints) == 1


def test_validation_errors_do_not_contain_the_values() -> None:
    with pytest.raises(ValidationError) as caught:
        OpenAIChat(model="m", apikey="sk-secret")  # type: ignore[call-arg]
    assert "sk-secret" not in str(caught.value)


def test_a_pipeline_can_be_copied_and_pickled(tmp_path: Path) -> None:
    import copy
    import pickle

    pipeline = Pipeline(index=tmp_path / "a", k=3)
    (tmp_path / "x.txt").write_text("x y z")
    pipeline.ingest(tmp_path / "x.txt")
    for copied_pipeline in (copy.deepcopy(pipeline), pickle.loads(pickle.dumps(pipeline))):
        assert copied_pipeline == pipeline
        assert copied_pipeline.stats().documents == 1
        copied_pipeline.close()
    moved = pipeline.model_copy(update={"index": tmp_path / "b"})
    moved.ingest(tmp_path / "x.txt")
    assert (tmp_path / "b" / "library.sqlite").exists()
    moved.close()
    pipeline.close()


@pytest.mark.parametrize(
    "text",
    [
        "1: 2",
        "chunker: {type: headings, 1: 2}",
        "index: !!bool foo",
        "index: 2024-02-30",
        "[" * 3000,
        "k: " + "1" * 5000,
        "index: !!int ''",
        "a: " * 500,
    ],
)
def test_hostile_yaml_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        Pipeline.from_yaml(text)


def test_yaml_round_trip_keeps_unusual_paths() -> None:
    pipeline = Pipeline(index=Path("a\x85b: #'é"))
    assert Pipeline.from_yaml(pipeline.to_yaml()).index == pipeline.index


def test_secrets_are_not_dumped() -> None:
    chat = OpenAIChat(model="m", api_key=SecretStr("sk-very-secret"))
    pipeline = Pipeline(generator={"type": "grounded", "model": chat})  # type: ignore[arg-type]
    for dump in (repr(chat), str(chat.config()), pipeline.to_yaml(), repr(pipeline)):
        assert "very-secret" not in dump


@pytest.mark.parametrize("kind", KINDS)
def test_every_registered_component_loads_and_has_its_registered_name(kind: str) -> None:
    for name in registered_names(kind):
        part = component_class(kind, name)
        assert (part.kind, part.name) == (kind, name)
        assert part.__doc__


def test_build_accepts_a_name_a_mapping_or_an_instance() -> None:
    assert build("chunker", "headings") == HeadingChunker()
    assert build("chunker", {"type": "headings", "size": 99}) == HeadingChunker(size=99)
    part = HeadingChunker(size=98)
    assert build("chunker", part) is part


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("nonsense", "no chunker is registered as 'nonsense'; known: headings"),
        ({"type": "os.system"}, "no chunker is registered as 'os.system'"),
        ({"size": 3}, "with a `type`"),
        ({"type": "headings", "sise": 3}, "chunker 'headings': sise: no such setting"),
        ({"type": "headings", "size": "big"}, "size: input should be a valid integer"),
        ({"type": "headings", "size": 100, "overlap": 80}, "more than half of size"),
        (StaticEmbedder(), "'static' is a embedder, and a chunker is needed here"),
    ],
)
def test_error_for_an_invalid_configuration_names_the_problem(config: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build("chunker", config)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_unknown_name_raises_unknown_component() -> None:
    with pytest.raises(UnknownComponent):
        build("retriever", "nonsense")


def test_components_with_equal_configuration_are_equal() -> None:
    assert HybridRetriever() == HybridRetriever(feedback=0.6)
    assert HybridRetriever() != HybridRetriever(weight=0.5)
    assert len({HybridRetriever(), HybridRetriever(feedback=0.6)}) == 1
