"""Connectors of git, SQL, object stores, mail and data sets, tested with local servers."""

from __future__ import annotations

import imaplib
import json
import mailbox
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from dulwich import porcelain
from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain
from pydantic import SecretStr

from connectors import Connector, connect, connectors
from connectors.base import Source
from connectors.dataset import Dataset
from connectors.git import GitRepository
from connectors.mailboxes import Mailbox
from connectors.object_store import ObjectStore
from connectors.parsers.records import Fields
from connectors.sql import SqlQuery
from rag import Pipeline
from rag.errors import MissingExtra, SourceError, SourceNotFound, SourceUnreadable
from tests.connectors import file_fixtures


def list_sources(connector: Connector) -> dict[str, Source]:
    return {source.uri.removeprefix(connector.scope): source for source in connector.sources()}


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(index=tmp_path / "index", processes=0) as pipeline:
        yield pipeline


def count_outcomes(report: Any) -> tuple[int, ...]:
    return (report.added, report.updated, report.unchanged, report.deleted, len(report.failed))


# -- git -----------------------------------------------------------------------------------


def commit_files(path: Path, files: dict[str, bytes | None], message: str = "change") -> str:
    for name, body in files.items():
        file = path / name
        if body is None:
            file.unlink()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(body)
    porcelain.add(path, [str(path / name) for name, body in files.items() if body is not None])
    deleted_paths = [str(path / name) for name, body in files.items() if body is None]
    if deleted_paths:
        porcelain.remove(path, deleted_paths)
    commit_id = porcelain.commit(path, message.encode(), author=b"A <a@x>", committer=b"A <a@x>")
    return commit_id.decode()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    Repo.init(path, mkdir=True).close()
    commit_files(
        path,
        {
            "README.md": b"# Read me\n",
            "docs/a b.md": b"# A\n",
            "docs/deep/c.txt": b"C",
            ".hidden/x.md": b"no",
            "lfs.bin": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        },
    )
    return path


def test_repository_files_are_read_at_the_current_commit(
    repository: Path, pipeline: Pipeline
) -> None:
    connector = connect(f"git+{repository.as_uri()}")
    assert set(list_sources(connector)) == {
        "README.md",
        "docs/a%20b.md",
        "docs/deep/c.txt",
        "lfs.bin",
    }
    report = pipeline.ingest(connector)
    assert count_outcomes(report) == (3, 0, 0, 0, 1)
    assert "Git LFS" in report.failed[0].error
    document = pipeline.document(f"git+{repository.as_uri()}!/README.md")
    assert len(str(document.metadata["commit"])) == 40
    (repository / "README.md").write_text("# Not committed\n")
    assert count_outcomes(pipeline.ingest(connector)) == (0, 0, 3, 0, 1)
    commit_files(repository, {"README.md": b"# Read it\n", "docs/deep/c.txt": None})
    assert count_outcomes(pipeline.ingest(connector)) == (0, 1, 1, 1, 1)
    assert pipeline.document(document.uri).text == "# Read it\n"


def test_ref_and_folder_select_files(repository: Path) -> None:
    porcelain.tag_create(repository, b"v1")
    commit_files(repository, {"docs/new.md": b"# New\n"})
    uri = f"git+{repository.as_uri()}"
    assert set(list_sources(connect(f"{uri}@v1#docs"))) == {"a%20b.md", "deep/c.txt"}
    assert set(list_sources(connect(f"{uri}#docs"))) == {"a%20b.md", "deep/c.txt", "new.md"}
    assert connect(f"{uri}#docs").owns(f"{uri}!/docs/gone.md")
    assert not connect(f"{uri}#docs").owns(f"{uri}!/README.md")
    with pytest.raises(SourceNotFound, match="no branch, tag or commit 'nothing'"):
        list_sources(connect(f"{uri}@nothing"))
    with pytest.raises(SourceNotFound, match="no git repository"):
        list_sources(GitRepository(url=str(repository.parent)))


def test_repository_path_with_an_at_sign(repository: Path) -> None:
    new_path = repository.parent / "a@b"
    repository.rename(new_path)
    porcelain.branch_create(new_path, b"feature/x")
    assert "README.md" in list_sources(connect(f"git+{new_path.as_uri().replace('%40', '@')}"))
    assert "README.md" in list_sources(connect(f"git+file://{new_path}@feature/x"))


def test_refs_with_an_at_sign() -> None:
    connector = connect("git+https://example.org/o/r@react-router@6.4.0#docs")
    assert (connector.url, connector.ref, connector.folder) == (
        "https://example.org/o/r",
        "react-router@6.4.0",
        "docs",
    )


def test_mailbox_and_database_addresses_with_an_at_sign() -> None:
    for url in ("maildir:///mail/user@example.com/Mail", "imaps://host/Shared/user@x"):
        assert Mailbox(url=SecretStr(url)).scope
    scopes = {
        SqlQuery(url=SecretStr(u), query="SELECT 1", fields=Fields(key="id")).scope
        for u in ("postgresql://h1/my@db", "postgresql://h2/x@db")
    }
    assert len(scopes) == 2


def test_symbolic_links_of_a_repository_are_skipped(repository: Path) -> None:
    (repository / "link").symlink_to("/etc/passwd")
    porcelain.add(repository, [str(repository / "link")])
    commit_files(repository, {"z.txt": b"z"})
    assert "link" not in list_sources(GitRepository(url=str(repository)))


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_a_remote_repository_is_fetched_incrementally(
    repository: Path, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    served_repository = Repo(str(repository))
    application = make_wsgi_chain(DictBackend({"/r": served_repository}))
    server = make_server("127.0.0.1", 0, application, handler_class=_SilentHandler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        uri = f"git+http://127.0.0.1:{server.server_port}/r"
        assert count_outcomes(pipeline.ingest(uri)) == (3, 0, 0, 0, 1)
        commit_files(repository, {"new.md": b"# New\n"})
        assert count_outcomes(pipeline.ingest(uri)) == (1, 0, 3, 0, 1)
        (copy,) = [p for p in (tmp_path / "cache" / "citewell" / "git").iterdir() if p.is_dir()]
        shutil.rmtree(copy / "objects")  # a broken copy is fetched again, in this run or the next
        try:
            report = pipeline.ingest(uri)
        except SourceNotFound:
            report = pipeline.ingest(uri)
        assert count_outcomes(report) == (0, 0, 4, 0, 1)
        with pytest.raises(SourceNotFound, match="no branch or tag 'nothing'"):
            list_sources(connect(f"{uri}@nothing"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        served_repository.close()
    with pytest.raises(SourceNotFound, match="cannot be fetched"):
        list_sources(connect(f"git+http://user:secret@127.0.0.1:{server.server_port}/r"))


def test_password_of_a_repository_stays_secret(tmp_path: Path) -> None:
    connector = connect("git+https://user:secret@example.org/r@v1")
    assert connector.scope == "git+https://example.org/r@v1!/"
    assert "secret" not in f"{connector!r} {connector.config()} {connector.model_dump()}"


def test_two_refs_of_a_repository_have_separate_documents(
    repository: Path, pipeline: Pipeline
) -> None:
    porcelain.tag_create(repository, b"v1")
    commit_files(repository, {"README.md": b"# Read it\n"})
    uri = f"git+{repository.as_uri()}"
    assert pipeline.ingest(uri, f"{uri}@v1").added == 6
    assert pipeline.document(f"{uri}!/README.md").text == "# Read it\n"
    assert pipeline.document(f"{uri}@v1!/README.md").text == "# Read me\n"
    with pytest.raises(SourceNotFound, match="no such folder"):
        list_sources(connect(f"{uri}#nothing"))


# -- SQL -----------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (id, title, body, changed, topic)")
        connection.executemany(
            "INSERT INTO notes VALUES (?, ?, ?, ?, ?)",
            [(1, "Tea", "It is hot.", 1, "drinks"), (2, "Ice", "It is cold.", 1, None)],
        )
        connection.commit()
    return path


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_query_rows_are_updated_and_deleted(database: Path, pipeline: Pipeline) -> None:
    uri = (
        f"sqlite:///{database}?query=SELECT * FROM notes ORDER BY id&key=id&title=title"
        "&text={title}: {body}&metadata=topic&version=changed&label=notes"
    )
    assert count_outcomes(pipeline.ingest(uri)) == (2, 0, 0, 0, 0)
    uri_of_tea = f"sqlite://{database}!/notes/1"
    document = pipeline.document(uri_of_tea)
    assert (document.text, document.title) == ("Tea: It is hot.", "Tea")
    assert document.metadata == {"topic": "drinks"}
    assert count_outcomes(pipeline.ingest(uri)) == (0, 0, 2, 0, 0)
    execute(database, "UPDATE notes SET body = 'Unseen' WHERE id = 1")
    assert count_outcomes(pipeline.ingest(uri)) == (
        0,
        0,
        2,
        0,
        0,
    )  # the version column did not change
    execute(database, "UPDATE notes SET changed = 2 WHERE id = 1")
    execute(database, "DELETE FROM notes WHERE id = 2")
    assert count_outcomes(pipeline.ingest(uri)) == (0, 1, 0, 1, 0)
    assert pipeline.document(uri_of_tea).text == "Tea: Unseen"


def test_a_metadata_change_updates_the_document(database: Path, pipeline: Pipeline) -> None:
    query = SqlQuery(
        url=SecretStr(f"sqlite:///{database}"),
        query="SELECT id, body, topic FROM notes",
        fields=Fields(key="id", text="{body}"),
    )
    pipeline.ingest(query)
    execute(database, "UPDATE notes SET topic = 'cold' WHERE id = 2")
    assert count_outcomes(pipeline.ingest(query)) == (0, 1, 1, 0, 0)
    assert pipeline.search("cold", where={"topic": "cold"})


def test_a_query_cannot_change_the_database(database: Path) -> None:
    for query in (
        "DELETE FROM notes",
        "DROP TABLE notes",
        "SELEC nonsense",
        "SELECT * FROM nothing",
    ):
        with pytest.raises(SourceNotFound):
            list_sources(connect(f"sqlite:///{database}?query={query}&key=id"))
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (2,)


@pytest.mark.parametrize(
    ("uri_suffix", "message"),
    [
        ("", "needs a query and a key"),
        ("?query=SELECT 1", "needs a query and a key"),
        ("?query=SELECT 1&key=id&text={}", "a field of the template has no name"),
    ],
)
def test_a_database_needs_a_query_and_a_key(database: Path, uri_suffix: str, message: str) -> None:
    with pytest.raises(SourceNotFound, match=message):
        connect(f"sqlite:///{database}{uri_suffix}")


def test_rows_without_a_usable_key_fail_alone(database: Path, pipeline: Pipeline) -> None:
    report = pipeline.ingest(f"sqlite:///{database}?query=SELECT * FROM notes&key=topic&label=x")
    assert count_outcomes(report) == (1, 0, 0, 0, 1)
    assert "has no value for the key 'topic'" in report.failed[0].error
    with pytest.raises(SourceNotFound, match="no column 'nothing'; the columns are 'id', 'title'"):
        pipeline.ingest(f"sqlite:///{database}?query=SELECT * FROM notes&key=nothing&label=x")
    assert pipeline.stats().documents == 1
    report = pipeline.ingest(
        f"sqlite:///{database}?query=SELECT 1 AS id, 'a' AS x UNION ALL SELECT 1, 'b'&key=id"
    )
    assert count_outcomes(report) == (1, 0, 0, 0, 1)
    assert "an earlier row has the same key" in report.failed[0].error


def test_a_missing_database_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no database at"):
        list_sources(connect(f"sqlite:///{tmp_path}/nothing.db?query=SELECT 1&key=id"))
    assert not (tmp_path / "nothing.db").exists()


def test_unescaped_passwords_stay_secret() -> None:
    query = SqlQuery(
        url=SecretStr("postgresql://bob:s3c/r#et@localhost:1/x"),
        query="SELECT 1",
        fields=Fields(key="id"),
    )
    assert query.scope.startswith("postgresql://localhost:1/x!/")
    with pytest.raises(SourceNotFound, match="%2F") as caught:
        connect("imaps://bob:s3c/ret@example.org/INBOX")
    assert "s3c" not in str(caught.value)


def test_password_of_a_database_stays_secret() -> None:
    url = "postgresql+psycopg://user:secret@localhost:1/db"
    query = SqlQuery(url=SecretStr(url), query="SELECT 1 AS id", fields=Fields(key="id"))
    assert "secret" not in f"{query!r} {query.scope} {query.config()}"
    assert query.scope.startswith("postgresql+psycopg://localhost:1/db!/")
    with pytest.raises(SourceNotFound) as caught:
        list_sources(query)
    assert "secret" not in str(caught.value)


# -- object stores -------------------------------------------------------------------------


def test_objects_of_the_memory_store(pipeline: Pipeline) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe({"/box/a.md": b"# One\n", "/box/b/c d.txt": b"Two", "/other/x.txt": b"no"})
    connector = connect("memory://box")
    assert [s.uri for s in connector.sources()] == ["memory://box/a.md", "memory://box/b/c%20d.txt"]
    assert count_outcomes(pipeline.ingest(connector)) == (2, 0, 0, 0, 0)
    store.pipe("/box/a.md", b"# One, again\n")
    store.rm("/box/b/c d.txt")
    assert count_outcomes(pipeline.ingest(connector)) == (0, 1, 0, 1, 0)
    assert connector.owns("memory://box/x") and not connector.owns("memory://other/x")
    with pytest.raises(SourceNotFound, match="nothing at memory://nowhere"):
        list_sources(ObjectStore(url="memory://nowhere"))
    store.rm("/box", recursive=True)
    store.rm("/other", recursive=True)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server that speaks S3's protocol."""
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # boto and moto emit warnings
def test_objects_of_an_s3_store(
    s3: str, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    filesystem = s3fs.S3FileSystem(skip_instance_cache=True)
    filesystem.mkdir("bucket")
    filesystem.pipe(
        {"bucket/docs/a.md": b"# One\n", "bucket/docs/b.txt": b"Two", "bucket/x": b"no"}
    )
    assert count_outcomes(pipeline.ingest("s3://bucket/docs")) == (2, 0, 0, 0, 0)
    assert count_outcomes(pipeline.ingest("s3://bucket/docs")) == (0, 0, 2, 0, 0)
    filesystem.pipe("bucket/docs/a.md", b"# One, again\n")
    filesystem.rm("bucket/docs/b.txt")
    assert count_outcomes(pipeline.ingest("s3://bucket/docs")) == (0, 1, 0, 1, 0)
    with pytest.raises(SourceNotFound):
        list_sources(ObjectStore(url="s3://nowhere/x"))


def test_a_missing_extra_is_reported_before_the_ingest_starts(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.object_store.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"citewell\[gs\]"):
        pipeline.ingest(folder, "gs://bucket/x")
    assert not pipeline.index.exists()


# -- mail ----------------------------------------------------------------------------------


@pytest.fixture
def imap(tmp_path: Path) -> Iterator[int]:
    """Port of an IMAP server with three messages in a folder."""
    with socket.socket() as reserved_socket:
        reserved_socket.bind(("127.0.0.1", 0))
        port = reserved_socket.getsockname()[1]
    server = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("pymap")),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "dict",
            "--demo-data",
        ],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        connection = _connect_when_ready(port)
        connection.create("Tea")
        for i in range(3):
            connection.append(
                "Tea",
                "",
                None,
                file_fixtures.make_eml(f"Text {i}.", f"Subject {i}", identity=f"<{i}@x>"),
            )  # type: ignore[arg-type]
        connection.logout()
        yield port
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()


def _connect_when_ready(port: int) -> imaplib.IMAP4:
    for attempt in range(200):
        try:
            connection = imaplib.IMAP4("127.0.0.1", port)
            connection.login("demouser", "demopass")
            return connection
        except OSError:
            if attempt == 199:
                raise
            threading.Event().wait(0.1)
    raise AssertionError


def test_imap_folder_is_read_without_marking_messages(imap: int, pipeline: Pipeline) -> None:
    uri = f"imap://demouser@127.0.0.1:{imap}/Tea"
    mailbox_connector = Mailbox(url=SecretStr(uri), password=SecretStr("demopass"))
    assert count_outcomes(pipeline.ingest(mailbox_connector)) == (3, 0, 0, 0, 0)
    assert count_outcomes(pipeline.ingest(mailbox_connector)) == (0, 0, 3, 0, 0)
    (hit, *_) = pipeline.search("Text 1")
    assert hit.chunk.title == "Subject 1"
    assert hit.chunk.uri.startswith(f"{uri}!/")
    connection = _connect_when_ready(imap)
    connection.select("Tea")
    _, flags = connection.fetch("1:3", "(FLAGS)")
    assert b"Seen" not in b"".join(f for f in flags if isinstance(f, bytes))
    connection.store("1", "+FLAGS", "\\Deleted")
    connection.expunge()
    connection.logout()
    assert count_outcomes(pipeline.ingest(mailbox_connector)) == (0, 0, 2, 1, 0)


def test_a_lost_imap_connection_is_restored(imap: int) -> None:
    uri = f"imap://demouser:demopass@127.0.0.1:{imap}/Tea"
    first, second, _ = list_sources(Mailbox(url=SecretStr(uri))).values()
    assert b"Text 0." in first.read()
    second.read.args[0].func.__self__._server.shutdown()  # type: ignore[attr-defined]
    assert b"Text 1." in second.read()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("imap://demouser:wrong-secret@127.0.0.1:{}/INBOX", "refuses the login"),
        ("imap://demouser:demopass@127.0.0.1:{}/No such", "no such folder"),
        ("imap://a:b@example.org/INBOX", "unencrypted"),
        ("imaps://a:wrong-secret@127.0.0.1:1/INBOX", "cannot be reached"),
    ],
)
def test_imap_errors_are_reported_without_the_password(imap: int, url: str, message: str) -> None:
    with pytest.raises(SourceNotFound, match=message) as caught:
        list_sources(Mailbox(url=SecretStr(url.format(imap))))
    assert "wrong-secret" not in str(caught.value)


def test_mbox_and_maildir_are_ingested(tmp_path: Path, pipeline: Pipeline) -> None:
    messages = [
        file_fixtures.make_eml(
            f"Text {i}.", f"Subject {i}", {"a.txt": b"Attached."}, identity=f"<{i}@x>"
        )
        for i in range(3)
    ]
    (tmp_path / "a.mbox").write_bytes(file_fixtures.make_mbox(messages))
    maildir = mailbox.Maildir(tmp_path / "Mail")
    for message in messages[:2]:
        maildir.add(message)
    maildir.close()
    report = pipeline.ingest(f"mbox://{tmp_path}/a.mbox", f"maildir://{tmp_path}/Mail")
    assert count_outcomes(report) == (10, 0, 0, 0, 0)
    assert pipeline.document(f"mbox://{tmp_path}/a.mbox!/1%40x!/a.txt").text == "Attached."
    # A change of the same length, and a folder in the Maildir.
    (tmp_path / "a.mbox").write_bytes(
        file_fixtures.make_mbox(messages).replace(b"Text 2.", b"Test 2.")
    )
    subfolder = mailbox.Maildir(tmp_path / "Mail").add_folder("Work")
    subfolder.add(file_fixtures.make_eml("An ostrich.", identity="<9@x>"))
    subfolder.close()
    assert count_outcomes(pipeline.ingest(f"mbox://{tmp_path}/a.mbox")) == (0, 1, 5, 0, 0)
    assert count_outcomes(pipeline.ingest(f"maildir://{tmp_path}/Mail")) == (1, 0, 4, 0, 0)
    (tmp_path / "a.mbox").write_bytes(file_fixtures.make_mbox(messages[1:]))
    assert count_outcomes(pipeline.ingest(f"mbox://{tmp_path}/a.mbox")) == (0, 1, 3, 2, 0)
    with pytest.raises(SourceNotFound, match="no mailbox at"):
        list_sources(connect(f"mbox://{tmp_path}/nothing"))


# -- data sets -----------------------------------------------------------------------------


def test_lines_of_a_data_set_are_documents(tmp_path: Path, pipeline: Pipeline) -> None:
    lines = [
        json.dumps(
            {"_id": "a/1", "title": "One", "text": "It is hot.", "metadata": {"year": 2024}}
        ),
        json.dumps({"_id": "2", "text": "It is cold.", "lang": "en"}),
        "not json",
        json.dumps({"_id": "3"}),
        json.dumps({"_id": "2", "text": "Again."}),
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    connector = connect(f"dataset+{tmp_path.as_uri()}")
    assert connector == Dataset(path=tmp_path)
    report = pipeline.ingest(connector)
    assert count_outcomes(report) == (2, 0, 0, 0, 3)
    assert [f.error[:24] for f in report.failed] == [
        f"line {i} is not a document" for i in (3, 4, 5)
    ]
    assert "its _id occurs twice" in report.failed[2].error
    document = pipeline.document(f"{(tmp_path / 'corpus.jsonl').as_uri()}!/a/1")
    assert (document.title, document.text, document.metadata) == (
        "One",
        "It is hot.",
        {"year": 2024},
    )
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines[1:]))
    assert count_outcomes(pipeline.ingest(connector)) == (0, 0, 1, 1, 3)


def test_a_record_without_a_title_has_an_empty_title(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a-1", "text": "It is hot."}\n')
    pipeline.ingest(f"dataset+{tmp_path.as_uri()}")
    assert pipeline.document(f"{(tmp_path / 'corpus.jsonl').as_uri()}!/a-1").title == ""
    (hit,) = pipeline.search("hot")
    assert hit.chunk.embedded_text == "It is hot."


def test_a_record_without_text_is_found_by_its_title(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "1", "title": "On the design of compilers", "text": " "}\n'
        '{"_id": "2", "title": "", "text": ""}\n{"_id": "3", "text": "It is hot."}\n'
    )
    report = pipeline.ingest(f"dataset+{tmp_path.as_uri()}")
    assert count_outcomes(report) == (2, 0, 0, 0, 1)
    hit = pipeline.search("compiler design", k=1)[0]
    assert hit.chunk.uri.endswith("!/1") and hit.chunk.text == "On the design of compilers"
    report = pipeline.ingest(f"dataset+{tmp_path.as_uri()}")
    assert (report.unchanged, report.embedded) == (2, 0)


def test_a_data_set_and_its_file_have_separate_documents(
    tmp_path: Path, pipeline: Pipeline
) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "text": "It is hot."}\n')
    pipeline.ingest(Dataset(path=tmp_path))
    assert count_outcomes(pipeline.ingest(tmp_path / "corpus.jsonl")) == (1, 0, 0, 0, 0)
    assert count_outcomes(pipeline.ingest(Dataset(path=tmp_path))) == (0, 0, 1, 0, 0)


# -- all connectors ---------------------------------------------------------------------------


def test_every_connector_has_unique_schemes_and_examples() -> None:
    connector_classes = connectors()
    assert {connector_class.name for connector_class in connector_classes} >= {
        *("files", "web", "feed", "git", "sql", "objects", "mailbox", "dataset"),
    }
    schemes = [
        scheme for connector_class in connector_classes for scheme in connector_class.schemes
    ]
    assert len(set(schemes)) == len(schemes)
    assert all(connector_class.examples for connector_class in connector_classes)


@pytest.mark.parametrize("source", ["http://[::1", "git+file://", "imaps://", "s3://", "sqlite://"])
def test_invalid_addresses_raise_a_source_error(source: str) -> None:
    with pytest.raises((SourceError, SourceUnreadable)):
        list(connect(source).sources())


def test_a_connector_of_another_package_is_found(tmp_path: Path) -> None:
    """The command line finds it by its entry point."""
    dist_info = tmp_path / "mine-1.0.dist-info"
    dist_info.mkdir()
    (dist_info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (dist_info / "entry_points.txt").write_text("[citewell.connector]\nmine = mine:Mine\n")
    (tmp_path / "mine.py").write_text(
        "from connectors import Connector, Source\n"
        "class Mine(Connector):\n"
        "    name, schemes, examples = 'mine', ('mine',), ('mine://x',)\n"
        "    address: str\n"
        "    @classmethod\n"
        "    def from_uri(cls, uri, **options): return cls(address=uri)\n"
        "    @property\n"
        "    def scope(self): return self.address\n"
        "    def sources(self): yield Source(uri=self.address, version='1', read=lambda: b'Text.')\n"
    )
    rag = str(Path(sys.executable).with_name("rag"))
    completed = subprocess.run(
        [rag, "ingest", "mine://x", "--index", str(tmp_path / "i")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (completed.returncode, "1 added" in completed.stderr + completed.stdout) == (0, True), (
        completed.stderr
    )
