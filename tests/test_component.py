from typing import Annotated, ClassVar

import pytest
from pydantic import Field, SecretStr

from rag import HeadingChunker, HybridRetriever, OpenAIChat, Pipeline, StaticEmbedder
from rag.component import KINDS, Component, Tuning, build, component_class, known
from rag.errors import ConfigError, UnknownComponent


class Part(Component):
    kind: ClassVar[str] = "chunker"
    name: ClassVar[str] = "part"

    size: int = Field(3, ge=1)
    batch: Annotated[int, Tuning] = 10
    key: SecretStr | None = None


def test_fingerprint_follows_the_meaning_and_nothing_else() -> None:
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


def test_fingerprint_is_not_kept_in_a_changed_copy() -> None:
    part = Part()
    before = part.fingerprint
    assert part.model_copy(update={"size": 4}).fingerprint == Part(size=4).fingerprint != before


def test_fingerprint_is_stable_across_versions_of_the_code() -> None:
    # If this fails, every index in the world is built anew: raise `revision` if you mean it.
    assert StaticEmbedder().fingerprint == "0441312009ec282f"


def test_tuning_nests() -> None:
    def pipeline(timeout: float) -> Pipeline:
        chat = OpenAIChat(model="m", timeout=timeout)
        return Pipeline(generator={"type": "grounded", "model": chat})  # type: ignore[arg-type]

    assert pipeline(1).fingerprint == pipeline(2).fingerprint


def test_secrets_are_in_no_dump() -> None:
    chat = OpenAIChat(model="m", api_key=SecretStr("sk-very-secret"))
    pipeline = Pipeline(generator={"type": "grounded", "model": chat})  # type: ignore[arg-type]
    for shown in (repr(chat), str(chat.config()), pipeline.to_yaml(), repr(pipeline)):
        assert "very-secret" not in shown


@pytest.mark.parametrize("kind", KINDS)
def test_every_registered_part_loads_and_knows_its_name(kind: str) -> None:
    for name in known(kind):
        part = component_class(kind, name)
        assert (part.kind, part.name) == (kind, name)
        assert part.__doc__


def test_build_takes_a_name_a_mapping_or_an_instance() -> None:
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
def test_wrong_configuration_names_the_fault(config: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build("chunker", config)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_unknown_component_is_its_own_error() -> None:
    with pytest.raises(UnknownComponent):
        build("retriever", "nonsense")


def test_equal_configurations_are_equal_parts() -> None:
    assert HybridRetriever() == HybridRetriever(weight=0.45)
    assert HybridRetriever() != HybridRetriever(weight=0.4)
    assert len({HybridRetriever(), HybridRetriever(weight=0.45)}) == 1
