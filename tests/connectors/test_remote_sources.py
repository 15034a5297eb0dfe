"""Repositories, databases, stores, mailboxes, data sets: the real ones, on this machine."""

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


def found(connector: Connector) -> dict[str, Source]:
    return {s.uri.removeprefix(connector.scope): s for s in connector.sources()}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(index=tmp_path / "index", processes=0) as pipeline:
        yield pipeline


def counts(report: Any) -> tuple[int, ...]:
    return (report.added, report.updated, report.unchanged, report.deleted, len(report.failed))


# -- git -----------------------------------------------------------------------------------


def commit(path: Path, files: dict[str, bytes | None], message: str = "change") -> str:
    for name, body in files.items():
        file = path / name
        if body is None:
            file.unlink()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(body)
    porcelain.add(path, [str(path / name) for name, body in files.items() if body is not None])
    removed = [str(path / name) for name, body in files.items() if body is None]
    if removed:
        porcelain.remove(path, removed)
    made = porcelain.commit(path, message.encode(), author=b"A <a@x>", committer=b"A <a@x>")
    return made.decode()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    Repo.init(path, mkdir=True).close()
    commit(
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


def test_a_repository_is_read_at_a_commit(repository: Path, opened: Pipeline) -> None:
    connector = connect(f"git+{repository.as_uri()}")
    assert set(found(connector)) == {"README.md", "docs/a%20b.md", "docs/deep/c.txt", "lfs.bin"}
    report = opened.ingest(connector)
    assert counts(report) == (3, 0, 0, 0, 1)
    assert "Git LFS" in report.failed[0].error
    first = opened.document(f"git+{repository.as_uri()}!/README.md")
    assert len(str(first.metadata["commit"])) == 40
    (repository / "README.md").write_text("# Not committed\n")
    assert counts(opened.ingest(connector)) == (0, 0, 3, 0, 1)
    commit(repository, {"README.md": b"# Read it\n", "docs/deep/c.txt": None})
    assert counts(opened.ingest(connector)) == (0, 1, 1, 1, 1)
    assert opened.document(first.uri).text == "# Read it\n"


def test_a_ref_and_a_folder(repository: Path) -> None:
    porcelain.tag_create(repository, b"v1")
    commit(repository, {"docs/new.md": b"# New\n"})
    uri = f"git+{repository.as_uri()}"
    assert set(found(connect(f"{uri}@v1#docs"))) == {"a%20b.md", "deep/c.txt"}
    assert set(found(connect(f"{uri}#docs"))) == {"a%20b.md", "deep/c.txt", "new.md"}
    assert connect(f"{uri}#docs").owns(f"{uri}!/docs/gone.md")
    assert not connect(f"{uri}#docs").owns(f"{uri}!/README.md")
    with pytest.raises(SourceNotFound, match="no branch, tag or commit 'nothing'"):
        found(connect(f"{uri}@nothing"))
    with pytest.raises(SourceNotFound, match="no git repository"):
        found(GitRepository(url=str(repository.parent)))


def test_a_repository_in_a_folder_with_a_sign_in_its_name(repository: Path) -> None:
    moved = repository.parent / "a@b"
    repository.rename(moved)
    porcelain.branch_create(moved, b"feature/x")
    assert "README.md" in found(connect(f"git+{moved.as_uri().replace('%40', '@')}"))
    assert "README.md" in found(connect(f"git+file://{moved}@feature/x"))


def test_refs_with_signs_in_them() -> None:
    made = connect("git+https://example.org/o/r@react-router@6.4.0#docs")
    assert (made.url, made.ref, made.folder) == (
        "https://example.org/o/r",
        "react-router@6.4.0",
        "docs",
    )


def test_addresses_with_signs_in_them() -> None:
    for url in ("maildir:///mail/user@example.com/Mail", "imaps://host/Shared/user@x"):
        assert Mailbox(url=SecretStr(url)).scope
    scopes = {
        SqlQuery(url=SecretStr(u), query="SELECT 1", fields=Fields(key="id")).scope
        for u in ("postgresql://h1/my@db", "postgresql://h2/x@db")
    }
    assert len(scopes) == 2


def test_links_and_submodules_are_left_out(repository: Path) -> None:
    (repository / "link").symlink_to("/etc/passwd")
    porcelain.add(repository, [str(repository / "link")])
    commit(repository, {"z.txt": b"z"})
    assert "link" not in found(GitRepository(url=str(repository)))


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_a_remote_repository(
    repository: Path, opened: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    served = Repo(str(repository))
    application = make_wsgi_chain(DictBackend({"/r": served}))
    server = make_server("127.0.0.1", 0, application, handler_class=_Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        uri = f"git+http://127.0.0.1:{server.server_port}/r"
        assert counts(opened.ingest(uri)) == (3, 0, 0, 0, 1)
        commit(repository, {"new.md": b"# New\n"})
        assert counts(opened.ingest(uri)) == (1, 0, 3, 0, 1)
        (copy,) = [p for p in (tmp_path / "cache" / "citewell" / "git").iterdir() if p.is_dir()]
        shutil.rmtree(copy / "objects")  # a copy that is broken is made anew, this time or next
        try:
            report = opened.ingest(uri)
        except SourceNotFound:
            report = opened.ingest(uri)
        assert counts(report) == (0, 0, 4, 0, 1)
        with pytest.raises(SourceNotFound, match="no branch or tag 'nothing'"):
            found(connect(f"{uri}@nothing"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        served.close()
    with pytest.raises(SourceNotFound, match="cannot be fetched"):
        found(connect(f"git+http://user:secret@127.0.0.1:{server.server_port}/r"))


def test_no_password_of_a_repository_is_shown(tmp_path: Path) -> None:
    connector = connect("git+https://user:secret@example.org/r@v1")
    assert connector.scope == "git+https://example.org/r@v1!/"
    assert "secret" not in f"{connector!r} {connector.config()} {connector.model_dump()}"


def test_two_refs_of_a_repository_do_not_meet(repository: Path, opened: Pipeline) -> None:
    porcelain.tag_create(repository, b"v1")
    commit(repository, {"README.md": b"# Read it\n"})
    uri = f"git+{repository.as_uri()}"
    assert opened.ingest(uri, f"{uri}@v1").added == 6
    assert opened.document(f"{uri}!/README.md").text == "# Read it\n"
    assert opened.document(f"{uri}@v1!/README.md").text == "# Read me\n"
    with pytest.raises(SourceNotFound, match="no such folder"):
        found(connect(f"{uri}#nothing"))


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


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_rows_of_a_query(database: Path, opened: Pipeline) -> None:
    uri = (
        f"sqlite:///{database}?query=SELECT * FROM notes ORDER BY id&key=id&title=title"
        "&text={title}: {body}&metadata=topic&version=changed&label=notes"
    )
    assert counts(opened.ingest(uri)) == (2, 0, 0, 0, 0)
    name = f"sqlite://{database}!/notes/1"
    document = opened.document(name)
    assert (document.text, document.title) == ("Tea: It is hot.", "Tea")
    assert document.metadata == {"topic": "drinks"}
    assert counts(opened.ingest(uri)) == (0, 0, 2, 0, 0)
    change(database, "UPDATE notes SET body = 'Unseen' WHERE id = 1")
    assert counts(opened.ingest(uri)) == (0, 0, 2, 0, 0)  # its version says that it is the same
    change(database, "UPDATE notes SET changed = 2 WHERE id = 1")
    change(database, "DELETE FROM notes WHERE id = 2")
    assert counts(opened.ingest(uri)) == (0, 1, 0, 1, 0)
    assert opened.document(name).text == "Tea: Unseen"


def test_metadata_alone_is_a_change(database: Path, opened: Pipeline) -> None:
    query = SqlQuery(
        url=SecretStr(f"sqlite:///{database}"),
        query="SELECT id, body, topic FROM notes",
        fields=Fields(key="id", text="{body}"),
    )
    opened.ingest(query)
    change(database, "UPDATE notes SET topic = 'cold' WHERE id = 2")
    assert counts(opened.ingest(query)) == (0, 1, 1, 0, 0)
    assert opened.search("cold", where={"topic": "cold"})


def test_a_query_can_change_nothing(database: Path) -> None:
    for query in (
        "DELETE FROM notes",
        "DROP TABLE notes",
        "SELEC nonsense",
        "SELECT * FROM nothing",
    ):
        with pytest.raises(SourceNotFound):
            found(connect(f"sqlite:///{database}?query={query}&key=id"))
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (2,)


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("", "read by a query and a key"),
        ("?query=SELECT 1", "read by a query and a key"),
        ("?query=SELECT 1&key=id&text={}", "a field of the template has no name"),
    ],
)
def test_a_database_needs_a_query_and_a_key(database: Path, rest: str, message: str) -> None:
    with pytest.raises(SourceNotFound, match=message):
        connect(f"sqlite:///{database}{rest}")


def test_rows_that_are_no_documents_fail_by_themselves(database: Path, opened: Pipeline) -> None:
    report = opened.ingest(f"sqlite:///{database}?query=SELECT * FROM notes&key=topic&label=x")
    assert counts(report) == (1, 0, 0, 0, 1)
    assert "without a value for the key 'topic'" in report.failed[0].error
    with pytest.raises(SourceNotFound, match="no column 'nothing'; there are 'id', 'title'"):
        opened.ingest(f"sqlite:///{database}?query=SELECT * FROM notes&key=nothing&label=x")
    assert opened.stats().documents == 1
    report = opened.ingest(
        f"sqlite:///{database}?query=SELECT 1 AS id, 'a' AS x UNION ALL SELECT 1, 'b'&key=id"
    )
    assert counts(report) == (1, 0, 0, 0, 1)
    assert "a row of the same key" in report.failed[0].error


def test_no_database_is_made(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no database at"):
        found(connect(f"sqlite:///{tmp_path}/nothing.db?query=SELECT 1&key=id"))
    assert not (tmp_path / "nothing.db").exists()


def test_odd_passwords_are_not_shown_either() -> None:
    query = SqlQuery(
        url=SecretStr("postgresql://bob:s3c/r#et@localhost:1/x"),
        query="SELECT 1",
        fields=Fields(key="id"),
    )
    assert query.scope.startswith("postgresql://localhost:1/x!/")
    with pytest.raises(SourceNotFound, match="%2F") as caught:
        connect("imaps://bob:s3c/ret@example.org/INBOX")
    assert "s3c" not in str(caught.value)


def test_no_password_of_a_database_is_shown() -> None:
    url = "postgresql+psycopg://user:secret@localhost:1/db"
    query = SqlQuery(url=SecretStr(url), query="SELECT 1 AS id", fields=Fields(key="id"))
    assert "secret" not in f"{query!r} {query.scope} {query.config()}"
    assert query.scope.startswith("postgresql+psycopg://localhost:1/db!/")
    with pytest.raises(SourceNotFound) as caught:
        found(query)
    assert "secret" not in str(caught.value)


# -- object stores -------------------------------------------------------------------------


def test_objects_in_memory(opened: Pipeline) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe({"/box/a.md": b"# One\n", "/box/b/c d.txt": b"Two", "/other/x.txt": b"no"})
    connector = connect("memory://box")
    assert [s.uri for s in connector.sources()] == ["memory://box/a.md", "memory://box/b/c%20d.txt"]
    assert counts(opened.ingest(connector)) == (2, 0, 0, 0, 0)
    store.pipe("/box/a.md", b"# One, again\n")
    store.rm("/box/b/c d.txt")
    assert counts(opened.ingest(connector)) == (0, 1, 0, 1, 0)
    assert connector.owns("memory://box/x") and not connector.owns("memory://other/x")
    with pytest.raises(SourceNotFound, match="nothing at memory://nowhere"):
        found(ObjectStore(url="memory://nowhere"))
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
@pytest.mark.filterwarnings("ignore")  # of boto's and moto's own
def test_objects_in_s3(s3: str, opened: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    system = s3fs.S3FileSystem(skip_instance_cache=True)
    system.mkdir("bucket")
    system.pipe({"bucket/docs/a.md": b"# One\n", "bucket/docs/b.txt": b"Two", "bucket/x": b"no"})
    assert counts(opened.ingest("s3://bucket/docs")) == (2, 0, 0, 0, 0)
    assert counts(opened.ingest("s3://bucket/docs")) == (0, 0, 2, 0, 0)
    system.pipe("bucket/docs/a.md", b"# One, again\n")
    system.rm("bucket/docs/b.txt")
    assert counts(opened.ingest("s3://bucket/docs")) == (0, 1, 0, 1, 0)
    with pytest.raises(SourceNotFound):
        found(ObjectStore(url="s3://nowhere/x"))


def test_a_store_whose_extra_is_missing_is_told_before_anything_is_done(
    opened: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.object_store.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"citewell\[gs\]"):
        opened.ingest(folder, "gs://bucket/x")
    assert not opened.index.exists()


# -- mail ----------------------------------------------------------------------------------


@pytest.fixture
def imap(tmp_path: Path) -> Iterator[int]:
    """A real IMAP server with three messages in a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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
        connection = _answering(port)
        connection.create("Tea")
        for i in range(3):
            connection.append(
                "Tea",
                "",
                None,
                file_fixtures.eml(f"Text {i}.", f"Subject {i}", identity=f"<{i}@x>"),
            )  # type: ignore[arg-type]
        connection.logout()
        yield port
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()


def _answering(port: int) -> imaplib.IMAP4:
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


def test_a_folder_on_an_imap_server(imap: int, opened: Pipeline) -> None:
    uri = f"imap://demouser@127.0.0.1:{imap}/Tea"
    box = Mailbox(url=SecretStr(uri), password=SecretStr("demopass"))
    assert counts(opened.ingest(box)) == (3, 0, 0, 0, 0)
    assert counts(opened.ingest(box)) == (0, 0, 3, 0, 0)
    (hit, *_) = opened.search("Text 1")
    assert hit.chunk.title == "Subject 1"
    assert hit.chunk.uri.startswith(f"{uri}!/")
    connection = _answering(imap)
    connection.select("Tea")
    _, flags = connection.fetch("1:3", "(FLAGS)")
    assert b"Seen" not in b"".join(f for f in flags if isinstance(f, bytes))
    connection.store("1", "+FLAGS", "\\Deleted")
    connection.expunge()
    connection.logout()
    assert counts(opened.ingest(box)) == (0, 0, 2, 1, 0)


def test_a_connection_that_is_lost_is_made_again(imap: int) -> None:
    uri = f"imap://demouser:demopass@127.0.0.1:{imap}/Tea"
    first, second, _ = found(Mailbox(url=SecretStr(uri))).values()
    assert b"Text 0." in first.read()
    second.read.func.__self__._server.shutdown()  # type: ignore[attr-defined]
    assert b"Text 1." in second.read()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("imap://demouser:wrong-secret@127.0.0.1:{}/INBOX", "does not let us in"),
        ("imap://demouser:demopass@127.0.0.1:{}/No such", "no such folder"),
        ("imap://a:b@example.org/INBOX", "in the clear"),
        ("imaps://a:wrong-secret@127.0.0.1:1/INBOX", "cannot be reached"),
    ],
)
def test_imap_errors(imap: int, url: str, message: str) -> None:
    with pytest.raises(SourceNotFound, match=message) as caught:
        found(Mailbox(url=SecretStr(url.format(imap))))
    assert "wrong-secret" not in str(caught.value)


def test_mbox_and_maildir(tmp_path: Path, opened: Pipeline) -> None:
    messages = [
        file_fixtures.eml(
            f"Text {i}.", f"Subject {i}", {"a.txt": b"Attached."}, identity=f"<{i}@x>"
        )
        for i in range(3)
    ]
    (tmp_path / "a.mbox").write_bytes(file_fixtures.mbox(messages))
    box = mailbox.Maildir(tmp_path / "Mail")
    for message in messages[:2]:
        box.add(message)
    box.close()
    report = opened.ingest(f"mbox://{tmp_path}/a.mbox", f"maildir://{tmp_path}/Mail")
    assert counts(report) == (10, 0, 0, 0, 0)
    assert opened.document(f"mbox://{tmp_path}/a.mbox!/1%40x!/a.txt").text == "Attached."
    # A change of the same length, and a folder in the Maildir.
    (tmp_path / "a.mbox").write_bytes(file_fixtures.mbox(messages).replace(b"Text 2.", b"Test 2."))
    inner = mailbox.Maildir(tmp_path / "Mail").add_folder("Work")
    inner.add(file_fixtures.eml("An ostrich.", identity="<9@x>"))
    inner.close()
    assert counts(opened.ingest(f"mbox://{tmp_path}/a.mbox")) == (0, 1, 5, 0, 0)
    assert counts(opened.ingest(f"maildir://{tmp_path}/Mail")) == (1, 0, 4, 0, 0)
    (tmp_path / "a.mbox").write_bytes(file_fixtures.mbox(messages[1:]))
    assert counts(opened.ingest(f"mbox://{tmp_path}/a.mbox")) == (0, 1, 3, 2, 0)
    with pytest.raises(SourceNotFound, match="no mailbox at"):
        found(connect(f"mbox://{tmp_path}/nothing"))


# -- data sets -----------------------------------------------------------------------------


def test_a_data_set(tmp_path: Path, opened: Pipeline) -> None:
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
    report = opened.ingest(connector)
    assert counts(report) == (2, 0, 0, 0, 3)
    assert [f.error[:26] for f in report.failed] == [
        f"line {i} is no document of a" for i in (3, 4, 5)
    ]
    assert "was there before" in report.failed[2].error
    document = opened.document(f"{(tmp_path / 'corpus.jsonl').as_uri()}!/a/1")
    assert (document.title, document.text, document.metadata) == (
        "One",
        "It is hot.",
        {"year": 2024},
    )
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines[1:]))
    assert counts(opened.ingest(connector)) == (0, 0, 1, 1, 3)


def test_a_record_without_a_title_has_none(opened: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a-1", "text": "It is hot."}\n')
    opened.ingest(f"dataset+{tmp_path.as_uri()}")
    assert opened.document(f"{(tmp_path / 'corpus.jsonl').as_uri()}!/a-1").title == ""
    (hit,) = opened.search("hot")
    assert hit.chunk.embedded_text == "It is hot."


def test_a_data_set_and_the_file_itself_do_not_meet(tmp_path: Path, opened: Pipeline) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "text": "It is hot."}\n')
    opened.ingest(Dataset(path=tmp_path))
    assert counts(opened.ingest(tmp_path / "corpus.jsonl")) == (1, 0, 0, 0, 0)
    assert counts(opened.ingest(Dataset(path=tmp_path))) == (0, 0, 1, 0, 0)


# -- all of them ---------------------------------------------------------------------------


def test_every_connector_can_be_shown_and_says_how_it_is_written() -> None:
    kinds = connectors()
    assert {kind.name for kind in kinds} >= {
        *("files", "web", "feed", "git", "sql", "objects", "mailbox", "dataset"),
    }
    schemes = [scheme for kind in kinds for scheme in kind.schemes]
    assert len(set(schemes)) == len(schemes)
    assert all(kind.examples for kind in kinds)


@pytest.mark.parametrize("source", ["http://[::1", "git+file://", "imaps://", "s3://", "sqlite://"])
def test_odd_addresses_are_told(source: str) -> None:
    with pytest.raises((SourceError, SourceUnreadable)):
        list(connect(source).sources())


def test_a_connector_of_another_package(tmp_path: Path) -> None:
    """Found by its entry point, and understood on the command line."""
    about = tmp_path / "mine-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[citewell.connector]\nmine = mine:Mine\n")
    (tmp_path / "mine.py").write_text(
        "from connectors import Connector, Source\n"
        "class Mine(Connector):\n"
        "    name, schemes, examples = 'mine', ('mine',), ('mine://x',)\n"
        "    place: str\n"
        "    @classmethod\n"
        "    def from_uri(cls, uri, **options): return cls(place=uri)\n"
        "    @property\n"
        "    def scope(self): return self.place\n"
        "    def sources(self): yield Source(uri=self.place, version='1', read=lambda: b'Text.')\n"
    )
    rag = str(Path(sys.executable).with_name("rag"))
    done = subprocess.run(
        [rag, "ingest", "mine://x", "--index", str(tmp_path / "i")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "1 added" in done.stderr + done.stdout) == (0, True), done.stderr
