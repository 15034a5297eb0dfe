import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import Field, SecretStr, ValidationError

import rag
from connectors.parsers.auto import AutoParser
from connectors.parsers.text import TextParser
from rag import (
    AzureOpenAIChat,
    Chunker,
    CohereChat,
    Document,
    Generator,
    GroundedGenerator,
    HeadingChunker,
    HybridRetriever,
    LiteLlmChat,
    LlamaCppChat,
    OllamaChat,
    OpenAIChat,
    Pipeline,
    Retriever,
    StaticEmbedder,
    Verifier,
    component,
)
from rag.component import (
    Component,
    NotFingerprinted,
    build,
    component_class,
    register,
    registered_names,
)
from rag.embedding import (
    OllamaEmbedder,
    OnnxEmbedder,
    SentenceTransformerEmbedder,
    WordVectorEmbedder,
)
from rag.errors import ConfigError, UnknownComponent
from rag.postprocessing.cohere import CohereReranker
from rag.postprocessing.llm import LlmReranker
from rag.providers.context_length import ASSUMED_CONTEXT_TOKENS
from rag.retrieval.transforms import QueryTransform

KINDS = sorted(
    group.removeprefix("citewell.")
    for group in entry_points().groups
    if group.startswith("citewell.")
    and group not in ("citewell.adapter", "citewell.metric", "citewell.presets")
)


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


@pytest.mark.parametrize(
    ("base", "method"),
    [
        (Chunker, "split"),
        (Generator, "answer"),
        (QueryTransform, "transform"),
        (Retriever, "retrieve"),
        (Verifier, "scores"),
    ],
)
def test_part_without_the_method_of_its_kind_cannot_be_built(
    base: type[Component], method: str
) -> None:
    with pytest.raises(TypeError, match=f"abstract.*{method}"):
        type("Incomplete", (base,), {"__module__": __name__})()


@pytest.mark.parametrize("kind", KINDS)
def test_main_setting_is_a_field_and_every_model_has_one(kind: str) -> None:
    for name in registered_names(kind):
        part = component_class(kind, name)
        assert part.main_setting in {"", *part.model_fields}, name
        if "model" in part.model_fields:
            assert part.main_setting == "model", name


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


# -- strings ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("chat_model", "openai:gpt-4.1-mini", OpenAIChat(model="gpt-4.1-mini")),
        ("chat_model", "azure-openai:my-deployment", AzureOpenAIChat(model="my-deployment")),
        ("chat_model", "ollama:qwen2.5:3b", OllamaChat(model="qwen2.5:3b")),
        ("chat_model", "cohere:command-r7b-12-2024", CohereChat(model="command-r7b-12-2024")),
        (
            "chat_model",
            "litellm:anthropic/claude-sonnet-4-5",
            LiteLlmChat(model="anthropic/claude-sonnet-4-5"),
        ),
        ("chat_model", "llama-cpp:C:/model.gguf", LlamaCppChat(path=Path("C:/model.gguf"))),
        (
            "embedder",
            "sentence-transformers:BAAI/bge-small-en-v1.5",
            SentenceTransformerEmbedder(model="BAAI/bge-small-en-v1.5"),
        ),
        ("embedder", "onnx:BAAI/bge-base-en", OnnxEmbedder(model="BAAI/bge-base-en")),
        ("embedder", "ollama:nomic-embed-text", OllamaEmbedder(model="nomic-embed-text")),
        ("embedder", "word-vectors:glove.txt", WordVectorEmbedder(path=Path("glove.txt"))),
        ("postprocessor", "cohere:rerank-v3.5", CohereReranker(model="rerank-v3.5")),
        ("postprocessor", "llm:ollama:m:3b", LlmReranker(model=OllamaChat(model="m:3b"))),
        ("generator", "grounded:openai:m", GroundedGenerator(model=OpenAIChat(model="m"))),
    ],
)
def test_string_sets_the_main_setting(kind: str, text: str, expected: Component) -> None:
    part = build(kind, text)
    assert part == expected
    assert part.config() == expected.config()


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("chat_model", "scripted:hello", "the chat_model 'scripted' has no main setting"),
        ("chunker", "headings:400", "the chunker 'headings' has no main setting"),
        ("chat_model", "openai:", "give the model after the colon"),
        ("chat_model", "gpt-4.1-mini:x", "no chat model is registered as 'gpt-4.1-mini'"),
        ("chat_model", ":x", "no chat model is registered as ''"),
    ],
)
def test_invalid_string_is_a_config_error(kind: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(kind, text)
    assert message in str(caught.value)


def test_strings_work_nested_in_python_and_yaml_and_are_dumped_as_mappings() -> None:
    model = OpenAIChat(model="gpt-4.1-mini")
    expected = Pipeline(generator=GroundedGenerator(model=model), embedder=OnnxEmbedder(model="m"))
    generator = GroundedGenerator(model="openai:gpt-4.1-mini")  # type: ignore[arg-type]
    assert generator == GroundedGenerator(model=model)
    assert Pipeline(generator=generator, embedder="onnx:m") == expected  # type: ignore[arg-type]
    text = """
        embedder: onnx:m
        generator: {type: grounded, model: "openai:gpt-4.1-mini"}
    """
    assert Pipeline.from_yaml(text) == expected
    assert Pipeline.from_yaml('embedder: onnx:m\ngenerator: grounded:openai:gpt-4.1-mini') == expected  # fmt: skip
    assert generator.config()["model"] == model.config()
    assert model.config()["type"] == "openai"
    assert Pipeline.from_yaml(expected.to_yaml()) == expected


def test_generator_name_alone_still_works() -> None:
    assert Pipeline(generator="extractive") == Pipeline()  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="generator 'grounded': model: field required"):
        build("generator", "grounded")


# -- Ollama -------------------------------------------------------------------------------


def test_ollama_calls_its_own_server_without_the_key_of_openai(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://example.com/v1")
    settings = OllamaEmbedder(model="m")._client_settings
    assert (settings.url, settings.key) == ("http://localhost:11434/v1", "none")
    chat = OllamaChat(model="m")
    assert (chat._url, chat._headers) == ("http://localhost:11434", {})
    other_server = OllamaChat(model="m", base_url="https://gpu:1/v1", api_key=SecretStr("k"))
    assert other_server._url == "https://gpu:1"
    assert other_server._headers == {"Authorization": "Bearer k"}


def test_ollama_costs_nothing_and_needs_a_model() -> None:
    assert OllamaChat(model="gpt-4o").prices == (0.0, 0.0)
    own = OllamaChat(model="gpt-4o", base_url="http://127.0.0.1:1/v1")
    assert own.context_tokens == ASSUMED_CONTEXT_TOKENS  # not that of OpenAI's model
    assert OllamaEmbedder(model="m").usd_per_million_tokens == 0.0
    assert (*OllamaChat.known_models(), *OllamaEmbedder.known_models()) == ()
    for name in ("chat_model", "embedder"):
        with pytest.raises(ConfigError, match="model: field required"):
            build(name, "ollama")


# -- registration at run time -------------------------------------------------------------


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component, "_registered_classes", {})


class Translator(Component):
    """A kind that this package does not know."""

    kind: ClassVar[str] = "translator"


class Dictionary(Translator):
    name: ClassVar[str] = "dictionary"
    main_setting: ClassVar[str] = "language"

    language: str = "en"


class Bilingual(Component):
    kind: ClassVar[str] = "bilingual"
    name: ClassVar[str] = "bilingual"

    translators: tuple[Translator, ...]


def test_new_kind_of_component_can_be_registered_and_nested() -> None:
    assert registered_names("translator") == []
    assert rag.register(Dictionary) is Dictionary
    assert registered_names("translator") == ["dictionary"]
    assert build("translator", "dictionary:fr") == Dictionary(language="fr")
    nested = Bilingual.from_config({"translators": ["dictionary", {"type": "dictionary"}]})
    assert nested.translators == (Dictionary(), Dictionary())
    assert Bilingual.from_config(nested.config()) == nested
    with pytest.raises(ConfigError, match="a translator is needed here"):
        build("translator", HeadingChunker())


def test_registered_class_is_known_together_with_the_entry_points() -> None:
    assert rag.register(Part) is Part
    assert build("chunker", {"type": "part", "size": 9}) == Part(size=9)
    assert registered_names("chunker") == ["headings", "part"]
    assert component_class("chunker", "headings") is HeadingChunker
    with pytest.raises(UnknownComponent) as caught:
        build("chunker", "nonsense")
    assert caught.value.known_names == ("headings", "part")


def test_register_gives_a_class_without_its_own_name_the_name() -> None:
    class Fast(OpenAIChat):
        pass

    rag.register(Fast, "fast")
    assert Fast.name == "fast"
    assert build("chat_model", "fast:m") == Fast(model="m")
    assert build("chat_model", Fast(model="m").config()) == Fast(model="m")


def test_register_with_another_name_keeps_the_own_name() -> None:
    rag.register(Part, "alias")
    assert registered_names("chunker") == ["alias", "headings", "part"]
    assert Part.name == "part"
    assert build("chunker", build("chunker", "alias").config()) == Part()


def test_to_register_a_class_again_changes_nothing() -> None:
    for _ in range(2):
        rag.register(Part)
        rag.register(HeadingChunker)  # an entry point registers this class
    assert registered_names("chunker") == ["headings", "part"]


def test_name_that_another_class_has_is_refused() -> None:
    class Other(Part):
        name: ClassVar[str] = "part"

    class OtherHeadings(Part):
        name: ClassVar[str] = "headings"

    rag.register(Part)
    for taken, name in ((Other, "part"), (OtherHeadings, "headings")):
        with pytest.raises(ConfigError, match=f"another chunker is registered as '{name}'"):
            rag.register(taken)
    assert component_class("chunker", "part") is Part
    assert component_class("chunker", "headings") is HeadingChunker

    class Unnamed(Part):
        pass

    for name in ("part", "headings"):
        with pytest.raises(ConfigError, match="another chunker"):
            rag.register(Unnamed, name)
    rag.register(Unnamed, "unnamed")
    assert Unnamed.name == "unnamed"


def test_class_that_is_defined_again_replaces_the_earlier_one() -> None:
    cell = """class Cell(Component):
        kind: ClassVar[str] = "translator"
        name: ClassVar[str] = "cell"
    """
    classes = []
    for _ in range(2):
        namespace: dict[str, Any] = {
            "Component": Component, "ClassVar": ClassVar, "__name__": "__main__"
        }  # fmt: skip
        exec(cell, namespace)  # noqa: S102
        classes.append(rag.register(namespace["Cell"]))
    assert classes[0] is not classes[1]
    assert component_class("translator", "cell") is classes[1]


def test_class_that_a_function_defines_twice_is_another_class() -> None:
    def define_class() -> type[Part]:
        class Local(Part):
            name: ClassVar[str] = "local"

        return Local

    first_class = rag.register(define_class())
    with pytest.raises(ConfigError, match="another chunker is registered as 'local'"):
        rag.register(define_class())
    assert component_class("chunker", "local") is first_class


@pytest.mark.parametrize(
    ("cls", "name", "message"),
    [
        (dict, None, "not a component class"),
        (Part(), None, "not a component class"),
        (Component, None, "not a component class"),
        (Translator, "x", "base class of a kind"),
        (Part, "a:b", "name without ':'"),
    ],
)
def test_what_is_no_component_cannot_be_registered(cls: Any, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rag.register(cls, name)
    assert registered_names("translator") == []
    assert registered_names("chunker") == ["headings"]


def test_register_is_thread_safe() -> None:
    classes = [type(f"Part{i}", (Part,), {"name": "same"}) for i in range(20)]
    accepted: list[type[Component]] = []
    barrier = threading.Barrier(len(classes))

    def register_class(cls: type[Component]) -> None:
        barrier.wait()
        try:
            accepted.append(register(cls))
        except ConfigError:
            registered_names("chunker")

    threads = [threading.Thread(target=register_class, args=(cls,)) for cls in classes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accepted == [component_class("chunker", "same")]


class DashParser(TextParser):
    """Replaces dashes by blanks; at module level, so that a parser process can import it."""

    name: ClassVar[str] = "dashes"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"text/x-dashes": (".dashes",)}

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        return super().parse(data.replace(b"-", b" "), uri=uri, mime="text/plain")


@pytest.fixture
def pools() -> Iterator[list[Any]]:
    opened: list[Any] = []
    yield opened
    for pool in opened:
        pool.close()


@pytest.mark.parametrize("processes", [0, 1])
def test_parser_registered_at_run_time_reads_its_format(processes: int, pools: list[Any]) -> None:
    from connectors.parser_pool import ParserPool

    parser = AutoParser()
    old_fingerprint = parser.fingerprint
    assert parser.parse(b"a-b", uri="file:///a.dashes").text == "a-b"
    rag.register(DashParser)
    assert parser.parse(b"a-b", uri="file:///a.dashes").text == "a b"
    assert parser.fingerprint != old_fingerprint
    for new_parser in (parser, AutoParser()):
        pools.append(ParserPool(new_parser, processes))
        (document,) = pools[-1].parse(b"a-b", uri="file:///a.dashes", mime=None)
        assert document.text == "a b"
        assert pools[-1].processes == processes


def test_a_pickle_holds_no_key() -> None:
    model = OpenAIChat(model="gpt-4.1-mini", api_key="sk-very-secret")
    pipeline = Pipeline(generator=GroundedGenerator(model=model))
    for value in (model, pipeline.generator, pipeline, pipeline.configuration):
        data = pickle.dumps(value)
        assert b"sk-very-secret" not in data
        assert type(pickle.loads(data)) is type(value)
    assert pickle.loads(pickle.dumps(model)).api_key is None
    assert copy.deepcopy(model).api_key == model.api_key
