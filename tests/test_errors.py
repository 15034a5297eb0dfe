"""The error classes: their documented hierarchy, and errors that cross process boundaries."""

import copy
import inspect
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr

import rag
from connectors import Connector, FailedPart, Source, connect
from connectors.parser_pool import ParserPool
from connectors.parsers.auto import AutoParser
from rag import (
    ConfigError,
    DocumentNotFound,
    EmbedderMismatch,
    EmbeddingError,
    HeadingChunker,
    IndexDamaged,
    IndexLocked,
    IndexNotFound,
    IndexUnreachable,
    MissingExtra,
    MissingKey,
    ModelError,
    ModelRateLimited,
    NoText,
    OpenAIChat,
    ParserNotInstalled,
    Pipeline,
    RagError,
    RagIndexError,
    ScriptedChat,
    ShadowedPackage,
    SourceError,
    SourceNotFound,
    SourceUnreadable,
    UnknownComponent,
    errors,
)
from rag.component import build
from rag.embedding.openai import OpenAIEmbedder
from rag.import_guard import require_own_packages
from tests.conftest import API_KEY, Script

ERROR_CLASSES = [
    error_class
    for _, error_class in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error_class, RagError)
]
LEVEL_WIDTH = 4  # columns of one level in the drawing


def read_drawing() -> dict[str, str]:
    """Return the base class of each class in the drawing at the top of `rag.errors`."""
    bases: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        branch = re.match(r" {4}((?:[│ ] {3}|[├└]── )*)([A-Z]\w+)", line)
        if branch is None:
            continue
        level = len(branch[1]) // LEVEL_WIDTH
        path[level:] = [branch[2]]
        if level:
            assert branch[2] not in bases, f"{branch[2]} is drawn twice"
            bases[branch[2]] = path[level - 1]
    return bases


def test_drawn_error_tree_equals_the_class_hierarchy() -> None:
    bases = {
        name: error_class.__bases__[0].__name__
        for error_class in ERROR_CLASSES
        if (name := error_class.__name__) != "RagError"
    }
    assert read_drawing() == bases


def test_every_error_class_has_one_base() -> None:
    for error_class in ERROR_CLASSES:
        assert len(error_class.__bases__) == 1
        assert error_class.__doc__


@pytest.mark.parametrize("error_class", ERROR_CLASSES)
def test_every_error_is_exported(error_class: type[RagError]) -> None:
    assert getattr(rag, error_class.__name__) is error_class
    assert error_class.__name__ in rag.__all__


# -- attributes ---------------------------------------------------------------------------

EXAMPLES: dict[str, Any] = {
    "built": "static",
    "count": 12,
    "total": 20,
    "component_kind": "chunker",
    "component_name": "nonsense",
    "extra": "ocr",
    "known_names": ("headings",),
    "model": "gpt",
    "namespace": "team",
    "opened": "openai",
    "package": "prompts",
    "path": Path("/index"),
    "retry_after": 7.5,
    "setting": "size",
    "status": 429,
    "uri": "file:///a.txt",
    "url": "http://host:8000",
    "variables": ("KEY", "SECRET"),
}


def list_attributes(error_class: type[RagError]) -> list[str]:
    """Return the names of the keyword arguments of the constructor."""
    if error_class.__init__ is Exception.__init__:
        return []
    _, *parameters = inspect.signature(error_class).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters)
    return [parameter.name for parameter in parameters]


@pytest.mark.parametrize("error_class", ERROR_CLASSES)
@pytest.mark.parametrize("copy_error", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_pickled_error_keeps_its_message_and_attributes(
    error_class: type[RagError], copy_error: Callable[[RagError], RagError]
) -> None:
    attributes = {name: EXAMPLES[name] for name in list_attributes(error_class)}
    error = copy_error(error_class("what happened", **attributes))
    assert type(error) is error_class
    assert str(error) == "what happened"
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert {"setting": None, **vars(error)} == {"setting": None, **attributes}


@pytest.mark.parametrize("error_class", ERROR_CLASSES)
def test_message_alone_is_enough(error_class: type[RagError]) -> None:
    error = error_class("what happened")
    assert str(error) == "what happened"
    assert {getattr(error, name) for name in list_attributes(error_class)} <= {None, (), ""}


def test_most_errors_have_attributes() -> None:
    classes_without = {c.__name__ for c in ERROR_CLASSES if not list_attributes(c)}
    stopped = {"CallStopped", "CallCancelled", "DeadlineExceeded"}  # they are about no thing
    assert classes_without <= {"RagError", "QueryError"} | stopped


@pytest.mark.parametrize(
    ("error", "attributes"),
    [
        (
            UnknownComponent.of("chunker", "x", ["b", "a"]),
            {"component_kind": "chunker", "component_name": "x", "known_names": ("a", "b")},
        ),
        (MissingExtra.of("ocr", "x"), {"extra": "ocr"}),
        (MissingKey.of("KEY", "x"), {"variables": ("KEY",)}),
        (MissingKey.of(["KEY", "SECRET"], "x"), {"variables": ("KEY", "SECRET")}),
        (ShadowedPackage.of("prompts", "/p.py"), {"package": "prompts", "path": Path("/p.py")}),
        (ShadowedPackage.of("prompts", None), {"package": "prompts", "path": None}),
        (ParserNotInstalled.of("ocr", "x"), {"uri": None, "extra": "ocr"}),
        (RagIndexError.disk_full("/i"), {"path": Path("/i")}),
        (IndexNotFound.at_path(Path("/i")), {"path": Path("/i"), "namespace": ""}),
        (IndexNotFound.at_path("/i", "team"), {"path": Path("/i"), "namespace": "team"}),
        (IndexDamaged.document_store(Path("/i/s"), "empty"), {"path": Path("/i/s")}),
        (IndexDamaged.from_store_error(ValueError("x"), "s", "/i"), {"path": Path("/i")}),
        (IndexDamaged.from_store_error(OSError("disk is full"), "s", "/i"), {"path": Path("/i")}),
        (
            EmbedderMismatch.of(Path("/i"), "static", "onnx"),
            {"path": Path("/i"), "built": "static", "opened": "onnx"},
        ),
        (
            ModelError.from_load_error("bge", ValueError("x")),
            {"status": None, "retry_after": None, "model": "bge"},
        ),
    ],
)
def test_named_constructors_set_the_attributes(
    error: RagError, attributes: dict[str, object]
) -> None:
    assert {"setting": None, **vars(error)} == {"setting": None, **attributes}


def test_messages_name_what_the_attributes_hold() -> None:
    assert "pip install 'citewell[ocr]'" in str(MissingExtra.of("ocr", "x"))
    missing = MissingKey.of(["KEY", "SECRET"], "the model m")
    assert str(missing).startswith("the model m needs an API key: set KEY and SECRET in")
    assert (missing.variable, MissingKey("x").variable) == ("KEY", None)
    assert str(ShadowedPackage.of("prompts", None)).startswith("a folder 'prompts' hides")


# -- where they are raised ----------------------------------------------------------------


def catch(function: Callable[[], object]) -> Any:
    with pytest.raises(RagError) as caught:
        function()
    return caught.value


def test_configuration_errors_name_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def build_chunker(**settings: object) -> Callable[[], object]:
        return lambda: build("chunker", {"type": "headings", **settings})

    assert catch(build_chunker(size="big")).setting == "size"
    assert catch(build_chunker(sise=3)).setting == "sise"
    assert catch(build_chunker(**{"1": 2})).setting == "1"
    assert catch(build_chunker(size=100, overlap=80)).setting is None  # both together
    assert catch(lambda: HeadingChunker.from_config({1: 2})).setting == "1"  # type: ignore[dict-item]
    assert catch(lambda: build("chat_model", "openai:")).setting == "model"
    monkeypatch.setenv("OPENAI_BASE_URL", "nonsense")
    chat = OpenAIChat(model="m")
    assert catch(lambda: chat.complete([])).setting == "OPENAI_BASE_URL"


def test_missing_components_extras_and_keys_are_attributes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unknown: UnknownComponent = catch(lambda: build("chunker", "nonsense"))
    assert (unknown.component_kind, unknown.component_name) == ("chunker", "nonsense")
    assert "headings" in unknown.known_names
    missing_key = catch(lambda: OpenAIChat(model="m").complete([]))
    assert missing_key.variable == "OPENAI_API_KEY"
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    missing_extra = catch(lambda: OpenAIChat(model="m", base_url="http://127.0.0.1:9").complete([]))
    assert missing_extra.extra == "openai"


def test_shadowed_package_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_prompts.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    shadowed = catch(lambda: require_own_packages("own_prompts"))
    assert (shadowed.package, shadowed.path) == ("own_prompts", tmp_path / "own_prompts.py")


@pytest.mark.parametrize(
    ("status", "retry_after"), [(401, None), (404, 1.5), (422, None), (429, 7.0), (503, 3.0)]
)
def test_model_errors_have_status_delay_and_model(
    scripted_server: Script, status: int, retry_after: float | None
) -> None:
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    reply = (status, {"Content-Type": "application/json", **headers}, b"{}")
    scripted_server.replies = [reply] * 9  # without a reason, parameters are left out in turn
    key = SecretStr(API_KEY)
    chat = OpenAIChat(model="gpt", base_url=scripted_server.url, api_key=key, retries=0)
    error = catch(lambda: chat.complete([]))
    assert (error.status, error.retry_after, error.model) == (status, retry_after, "gpt")


def test_model_errors_without_a_response_have_no_status(scripted_server: Script) -> None:
    chat = OpenAIChat(model="gpt", base_url="http://127.0.0.1:9", retries=0)
    error = catch(lambda: chat.complete([]))
    assert (error.status, error.retry_after, error.model) == (None, None, "gpt")
    scripted_server.replies = [(422, {"Content-Type": "application/json"}, b"{}")] * 9
    embedder = OpenAIEmbedder(model="e", base_url=scripted_server.url, dimensions=2, retries=0)
    error = catch(lambda: embedder.embed_query("x"))
    assert isinstance(error, EmbeddingError) and error.model == "e"


def test_reply_that_cannot_be_used_names_the_model() -> None:
    from rag.postprocessing.llm import LlmReranker

    reranker = LlmReranker(model=ScriptedChat(replies=("no order",)))
    assert catch(lambda: reranker.score("q", ["a", "b"])).model == "scripted"


def test_index_errors_have_path_namespace_and_uri(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "none") as missing:
        error: IndexNotFound = catch(missing.stats)
    assert (error.path, error.namespace) == (tmp_path / "none", "")
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(folder)
        from rag.corpus_analysis import more_like

        unknown: DocumentNotFound = catch(lambda: more_like(pipeline.open(), "file:///none"))
        assert (unknown.uri, unknown.path) == ("file:///none", tmp_path / "index")


def test_unreachable_index_has_the_url_of_its_server(tmp_path: Path) -> None:
    from rag.stores import Chroma, StoreLocation

    location = StoreLocation(tmp_path, "unreachable")
    with closing(Chroma(url="http://127.0.0.1:9", attempts=1).open(location)) as store:
        error: IndexUnreachable = catch(store.count)
    assert (error.url, error.path) == ("http://127.0.0.1:9", None)


class Broken(Connector):
    """Lists one source, which cannot be read."""

    name: ClassVar[str] = "broken"

    @property
    def scope(self) -> str:
        return "broken:"

    def sources(self) -> Iterator[Source]:
        def read() -> bytes:
            raise SourceUnreadable("not now")

        yield Source(uri="broken:1", version="", read=read)


def test_source_that_cannot_be_read_has_its_uri() -> None:
    (source,) = Broken().sources()
    assert catch(source.read).uri == "broken:1"


def test_pages_of_a_site_without_robots_txt_have_errors_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from connectors.http import Fetcher

    monkeypatch.setattr(Fetcher, "_load_robots", lambda *_: SourceUnreadable("no robots.txt"))
    fetcher = Fetcher(0.0, True, False, 1.0, 1_000)
    for uri in ("https://example.com/a", "https://example.com/b"):
        source = Source(uri=uri, version="", read=lambda url=uri: fetcher.get(url).body)  # type: ignore[misc]
        error = catch(source.read)
        assert (type(error), str(error), error.uri) == (SourceUnreadable, "no robots.txt", uri)


@pytest.mark.parametrize(
    ("source", "uri"),
    [
        ("nothing/here.txt", None),
        ("file:///nothing/here.txt", "file:///nothing/here.txt"),
        ("sqlite:///x.db?query=SELECT", "sqlite:///x.db?query=SELECT"),
        ("git+https://user:secret@host", "git+https://host"),
        ("none://user:secret@host/x", "none://host/x"),
        ("ftp://host/x", "ftp://host/x"),
    ],
)
def test_source_that_does_not_exist_has_its_uri(source: str, uri: str | None) -> None:
    error: SourceNotFound = catch(lambda: connect(source))
    assert isinstance(error, SourceNotFound)
    assert error.uri == (uri or Path(source).absolute().as_uri())


@pytest.mark.parametrize("processes", [0, 1])
def test_parse_error_has_the_uri_of_its_source_in_every_process(processes: int) -> None:
    pool = ParserPool(AutoParser(), processes)
    try:
        error = catch(lambda: pool.parse(b" ", uri="file:///a.txt", mime=None))
        assert isinstance(error, NoText)
        assert error.uri == "file:///a.txt"
    finally:
        pool.close()


def test_parse_error_without_a_process_has_the_uri_of_its_source() -> None:
    parser = AutoParser()
    assert catch(lambda: parser.parse(b" ", uri="u:a.txt")).uri == "u:a.txt"
    assert catch(lambda: list(parser.documents(b" ", uri="u:a.txt"))).uri == "u:a.txt"


def test_failed_part_of_an_archive_has_its_own_uri(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("empty.txt", "")
        archive.writestr("full.txt", "text")
    data = (tmp_path / "a.zip").read_bytes()
    parts = list(AutoParser().documents(data, uri="file:///a.zip"))
    (failed_part,) = [part for part in parts if isinstance(part, FailedPart)]
    assert failed_part.error.uri == failed_part.uri == "file:///a.zip!/empty.txt"
    assert FailedPart("u:1", SourceError("x")).error.uri == "u:1"
    assert FailedPart("u:1", SourceError("x", uri="u:2")).error.uri == "u:2"


def test_error_of_another_framework_keeps_its_http_status() -> None:
    from rag.interop.base import translate_error

    class RateLimitError(Exception):
        status_code = 429

    error = translate_error("the model", RateLimitError("slow down"))
    assert isinstance(error, ModelRateLimited)
    assert error.status == 429
    assert isinstance(translate_error("x", ConfigError("y")), ConfigError)


def test_errors_of_the_index_have_its_folder_and_the_document(
    pipeline: Pipeline, folder: Path, tmp_path: Path
) -> None:
    pipeline.ingest(folder)
    with pytest.raises(DocumentNotFound) as missing:
        pipeline.document("file:///nowhere")
    assert missing.value.uri == "file:///nowhere"
    with pipeline.open().open_writer(), pytest.raises(IndexLocked) as locked:
        pipeline.ingest(folder)
    assert locked.value.path == pipeline.index
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.txt").touch()
    with pytest.raises(RagIndexError) as occupied, Pipeline(index=tmp_path / "other") as other:
        other.ingest(folder)
    assert occupied.value.path == tmp_path / "other"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/no/such/folder", "cannot load /no/such/folder: there is no such folder"),
        ("./models/none", "cannot load ./models/none: there is no such folder"),
        ("org/model", "cannot load org/model (a folder, or a model that can be reached): x"),
        ("/", "cannot load / (a folder, or a model that can be reached): x"),
    ],
)
def test_a_missing_folder_is_no_repository_of_a_hub(name: str, expected: str) -> None:
    assert str(ModelError.from_load_error(name, ValueError("x"))) == expected
